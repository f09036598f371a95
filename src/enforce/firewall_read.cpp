// The reading half of the firewall: dumps, repeated until one was not interrupted.
#include "killswitch/enforce/firewall.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <cerrno>

namespace killswitch::enforce {
namespace {

using codec::DumpKind;
using model::TableFamily;

// Each try takes less than a millisecond; only a program that changes the ruleset all the time needs more than two.
constexpr int most_dumps = 64;

}  // namespace

Outcome Firewall::dump(codec::DumpDecoder& decoder, bool& interrupted, const codec::DumpScope& scope) {
  const std::uint32_t sequence = socket_.next_sequence();
  const auto sent = socket_.send(codec::encode_dump_request(scope, sequence));
  if (!sent) {
    return fail(sent.error().within("nft: ask for a dump"));
  }
  for (;;) {
    const auto datagram = receive();
    if (!datagram) {
      return fail(datagram.error().within("nft: read a dump"));
    }
    const auto progress = decoder.feed(*datagram, sequence);
    if (!progress) {
      return fail(progress.error());
    }
    interrupted = interrupted || progress->interrupted;
    if (!progress->done) {
      continue;
    }
    if (progress->errno_value == ENOENT || progress->errno_value == EINTR) {
      interrupted = true;  // what was asked for went away meanwhile
    } else if (progress->errno_value != 0) {
      return fail(progress->errno_value, "nft: read a dump");
    }
    return done();
  }
}

Result<std::uint32_t> Firewall::generation() {
  const std::uint32_t sequence = socket_.next_sequence();
  if (const auto sent = socket_.send(codec::encode_generation_request(sequence)); !sent) {
    return fail(sent.error().within("nft: ask for the generation"));
  }
  codec::DumpDecoder decoder;
  while (decoder.generation() == 0) {
    const auto datagram = receive();
    if (!datagram) {
      return fail(datagram.error().within("nft: read the generation"));
    }
    const auto progress = decoder.feed(*datagram, sequence);
    if (!progress) {
      return fail(progress.error());
    }
    if (progress->done && progress->errno_value != 0) {
      return fail(progress->errno_value, "nft: read the generation");
    }
  }
  return decoder.generation();
}

/// @return nothing when the ruleset changed while it was read
Result<std::optional<Firewall::Snapshot>> Firewall::try_snapshot() {
  const auto before = generation();
  if (!before) {
    return fail(before.error());
  }
  codec::DumpDecoder decoder;
  bool interrupted = false;
  for (const TableFamily family : {TableFamily::inet, TableFamily::netdev}) {
    if (const auto dumped = dump(decoder, interrupted, {DumpKind::tables, family}); !dumped) {
      return fail(dumped.error());
    }
    const auto& held = decoder.held();
    const bool ours = std::any_of(held.begin(), held.end(), [&](const auto& table) { return table.family == family; });
    if (const auto dumped = ours ? dump(decoder, interrupted, {DumpKind::chains, family}) : done(); !dumped) {
      return fail(dumped.error());
    }
  }
  for (const codec::HeldTable& table : std::vector{decoder.held()}) {
    // Sets before their elements, chains before their rules.
    for (const DumpKind kind : {DumpKind::sets, DumpKind::rules, DumpKind::counters}) {
      if (const auto dumped = dump(decoder, interrupted, {kind, table.family, table.name}); !dumped) {
        return fail(dumped.error());
      }
    }
    for (const std::string& set : decoder.set_names(table)) {
      const auto dumped = dump(decoder, interrupted, {DumpKind::elements, table.family, table.name, set});
      if (!dumped) {
        return fail(dumped.error());
      }
    }
  }
  const auto after = generation();
  if (!after) {
    return fail(after.error());
  }
  // Between two dumps another program can have changed our tables, unless they are owned by this very socket.
  const auto owned = [this](const codec::HeldTable& table) { return table.owner == socket_.port_id(); };
  const auto& tables = decoder.held();
  const bool safe = !tables.empty() && std::all_of(tables.begin(), tables.end(), owned);
  if (interrupted || (*before != *after && !safe)) {
    return std::optional<Snapshot>{};
  }
  auto held = decoder.held();
  return std::optional{Snapshot{decoder.finish(), std::move(held), *after}};
}

Result<Firewall::Snapshot> Firewall::snapshot() {
  for (int tries = 0; tries < most_dumps; ++tries) {
    auto seen = try_snapshot();
    if (!seen) {
      return fail(seen.error());
    }
    if (*seen) {
      return std::move(**seen);
    }
  }
  return fail(EAGAIN, "nft: the ruleset kept changing while it was read");
}

Result<model::Observation> Firewall::read() {
  auto seen = snapshot();
  if (!seen) {
    return fail(seen.error());
  }
  return std::move(seen->observation);
}

Result<model::Observation> Firewall::read_back(const model::Ruleset& wanted) {
  auto seen = snapshot();
  if (!seen) {
    verified_.reset();
    return fail(seen.error());
  }
  model::Observation observation = std::move(seen->observation);
  for (std::string& difference : codec::differences(wanted, observation.ruleset)) {
    observation.differences.push_back(std::move(difference));
  }
  const bool applied = picture_ && picture_->ruleset == wanted;
  if (!observation.differences.empty()) {
    picture_.reset();  // what we believed is wrong: the next apply looks first
    verified_.reset();
  } else if (applied) {
    picture_->generation = seen->generation;
    verified_ = wanted;
  }
  return observation;
}

Result<std::map<std::string, model::CounterValue>> Firewall::read_counters() {
  codec::DumpDecoder decoder;
  bool interrupted = false;  // the values of counters are moving anyway
  for (const TableFamily family : {TableFamily::inet, TableFamily::netdev}) {
    for (const DumpKind kind : {DumpKind::tables, DumpKind::counters}) {
      if (const auto dumped = dump(decoder, interrupted, {kind, family}); !dumped) {
        return fail(dumped.error());
      }
    }
  }
  return std::move(decoder.finish().counters);
}

Result<std::optional<std::uint32_t>> Firewall::foreign_owner() {
  const auto seen = snapshot();
  if (!seen) {
    return fail(seen.error());
  }
  for (const codec::HeldTable& held : seen->held) {
    if ((held.flags & codec::table_flag_owner) != 0 && held.owner != socket_.port_id()) {
      return std::optional{held.owner};
    }
  }
  return std::optional<std::uint32_t>{};
}

}  // namespace killswitch::enforce
