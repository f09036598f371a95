#include "killswitch/enforce/firewall.hpp"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <algorithm>
#include <cerrno>

namespace killswitch::enforce {
namespace {

using codec::KernelReply;
using codec::TableAction;
using codec::TablePlan;
using model::TableFamily;

// A batch must fit into the send buffer whole (netlink_sendmsg); ours are some 30 KiB. Answers to a batch in which
// every message is refused must fit into the receive buffer.
constexpr std::size_t send_buffer_bytes = std::size_t{4} << 20U;
constexpr std::size_t receive_buffer_bytes = std::size_t{4} << 20U;
// The kernel has answered by the time sendmsg returns; this is for a kernel that does not.
constexpr int answer_milliseconds = 5000;
// Another program that changes its own tables all the time makes a transaction or a dump start again.
constexpr int most_attempts = 64;
// From this attempt on the transaction goes without the generation: nobody else can change a table that is owned, and
// for any other a refused message or the read-back tells what was wrong.
constexpr int patient_attempts = 8;

constexpr std::uint32_t owned_flags = codec::table_flag_owner | codec::table_flag_persist;

std::string advice(int errno_value) {
  switch (errno_value) {
    case EPERM: return "another killswitchd or program owns the table, or CAP_NET_ADMIN is missing";
    case ENOENT: return "it names what is not there, or the kernel lacks the nf_tables module for it";
    case EOPNOTSUPP: return "this kernel cannot do it at this place";
    case EMSGSIZE:
    case ENOBUFS:
    case ENOMEM: return "the ruleset is too large for the kernel's buffers";
    case ERESTART: return "other programs kept changing the ruleset";
    default: return {};
  }
}

Failure refused(const codec::Batch& batch, const KernelReply& reply) {
  const std::string hint = advice(reply.errno_value);
  return fail(reply.errno_value,
              fmt::format("nft: {}{}", batch.words(reply.sequence), hint.empty() ? "" : ": " + hint));
}

bool has_errno(const std::vector<KernelReply>& replies, int errno_value) {
  return std::any_of(replies.begin(), replies.end(),
                     [&](const KernelReply& reply) { return reply.errno_value == errno_value; });
}

/// Without the devices that do not exist, and without chains that have none left.
model::Ruleset without_absent_devices(model::Ruleset ruleset) {
  for (model::Table& table : ruleset.tables) {
    std::erase_if(table.chains, [](model::Chain& chain) {
      if (!chain.base || chain.base->devices.empty()) {
        return false;
      }
      std::erase_if(chain.base->devices, [](const std::string& name) { return ::if_nametoindex(name.c_str()) == 0; });
      return chain.base->devices.empty();
    });
  }
  return ruleset;
}

}  // namespace

Result<Firewall> Firewall::open(std::optional<model::KernelFeatures> instead) {
  auto firewall = start(os::NetlinkSocket::open(NETLINK_NETFILTER));
  if (firewall && instead) {
    firewall->features_ = *instead;
  }
  return firewall;
}

Result<Firewall> Firewall::adopt(os::Fd socket_from_service_manager) {
  return start(os::NetlinkSocket::adopt(std::move(socket_from_service_manager), NETLINK_NETFILTER));
}

Result<Firewall> Firewall::start(Result<os::NetlinkSocket> socket) {
  if (!socket) {
    return fail(socket.error().within("firewall"));
  }
  for (const auto& prepared : {socket->set_send_buffer(send_buffer_bytes),
                               socket->set_receive_buffer(receive_buffer_bytes), socket->set_nonblocking()}) {
    if (!prepared) {
      return fail(prepared.error().within("firewall: needs CAP_NET_ADMIN"));
    }
  }
  // Answers that the process before us did not live to read.
  while (socket->receive()) {
  }
  Firewall firewall{std::move(*socket)};
  if (const auto probed = firewall.probe(); !probed) {
    return fail(probed.error());
  }
  return firewall;
}

void Firewall::skip_sequences(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    (void)socket_.next_sequence();
  }
}

Outcome Firewall::probe() {
  const codec::ProbeBatch probe = codec::encode_probe(socket_.next_sequence());
  skip_sequences(probe.batch.steps.size());
  const auto replies = transact(probe.batch);
  if (!replies) {
    return fail(replies.error().within("firewall: find out what this kernel can do"));
  }
  const auto accepted = [&](std::uint32_t sequence) {
    return std::none_of(replies->begin(), replies->end(),
                        [&](const KernelReply& reply) { return reply.sequence == sequence; });
  };
  if (replies->empty() || has_errno(*replies, EPERM)) {
    return fail(EPERM, "firewall: nf_tables does not answer this process: it needs CAP_NET_ADMIN");
  }
  features_ = {.owner = accepted(probe.owner),
               .persist = accepted(probe.owner_persist),
               .fib = accepted(probe.fib),
               .socket = accepted(probe.socket),
               .egress = accepted(probe.egress),
               .log = accepted(probe.log),
               .grows = accepted(probe.deviceless) && accepted(probe.grows),
               .ahead = accepted(probe.deviceless) && accepted(probe.grows) && accepted(probe.ahead)};
  return done();
}

Result<std::span<const std::uint8_t>> Firewall::receive() {
  for (;;) {
    auto datagram = socket_.receive();
    if (datagram || datagram.error().code.value() != EAGAIN) {
      return datagram;
    }
    if (const auto ready = socket_.wait_readable(answer_milliseconds); !ready) {
      return fail(ready.error());
    }
  }
}

Result<std::vector<KernelReply>> Firewall::transact(const codec::Batch& batch) {
  if (batch.bytes.empty()) {
    return std::vector<KernelReply>{};
  }
  if (const auto sent = socket_.send(batch.bytes); !sent) {
    const int code = sent.error().code.value();
    return fail(code, fmt::format("nft: send {} bytes: {}", batch.bytes.size(), advice(code)));
  }
  std::vector<KernelReply> refusals;
  bool answered = false;
  for (;;) {
    // The first answer is waited for; the others were queued with it.
    auto datagram = answered ? socket_.receive() : receive();
    if (!datagram) {
      const int code = datagram.error().code.value();
      if (answered && code == EAGAIN) {
        return refusals;
      }
      return fail(datagram.error().within("nft: the answer to a transaction"));
    }
    for (const KernelReply& reply : codec::decode_replies(*datagram)) {
      if (reply.sequence - batch.first_sequence >= batch.steps.size()) {
        continue;  // to an earlier batch
      }
      answered = true;
      if (reply.errno_value != 0) {
        refusals.push_back(reply);
      } else if (refusals.empty() && reply.sequence == batch.acknowledged) {
        return refusals;
      }
    }
  }
}

/// Where a table cannot outlive its socket, the twin is there for that case, and so nobody may own it.
std::uint32_t Firewall::flags_for(std::string_view table) const {
  if (table == model::twin_table_name || !features_.owner) {
    return 0;
  }
  return features_.persist ? owned_flags : codec::table_flag_owner;
}

TablePlan Firewall::plan_for(const codec::HeldTable& held, const model::Observation& seen) const {
  const bool ours = (held.flags & codec::table_flag_owner) != 0 && held.owner == socket_.port_id();
  const bool foreign = (held.flags & codec::table_flag_owner) != 0 && !ours;
  TablePlan plan{held.family, held.name, TableAction::keep, flags_for(held.name), !ours, {}};
  if (foreign) {
    return plan;  // the kernel will refuse, and the error says why
  }
  if (held.flags == codec::table_flag_persist && plan.flags == owned_flags) {
    plan.action = TableAction::adopt;
  } else if ((held.flags & codec::table_flag_dormant) != 0 || (held.flags != plan.flags && plan.flags != 0)) {
    // The kernel changes these flags of no table that exists. The explicit drop at the end of every base chain keeps
    // the exchange closed.
    plan.action = TableAction::recreate;
    plan.counters = held.name == model::table_name ? seen.counters : decltype(seen.counters){};
  }
  return plan;
}

std::vector<TablePlan> Firewall::plans_for(const model::Ruleset& desired) const {
  std::vector<TablePlan> plans;
  for (const model::Table& table : desired.tables) {
    const auto known = std::find_if(picture_->plans.begin(), picture_->plans.end(), [&](const TablePlan& plan) {
      return plan.family == table.family && plan.name == table.name;
    });
    plans.push_back(known != picture_->plans.end()
                        ? *known
                        : TablePlan{table.family, table.name, TableAction::create, flags_for(table.name), false, {}});
  }
  return plans;
}

Outcome Firewall::look() {
  verified_.reset();
  picture_.reset();
  auto seen = snapshot();
  if (!seen) {
    return fail(seen.error());
  }
  Picture picture;
  picture.generation = seen->generation;
  picture.ours = !seen->held.empty();
  for (const codec::HeldTable& held : seen->held) {
    picture.plans.push_back(plan_for(held, seen->observation));
    picture.ours = picture.ours && !picture.plans.back().restate_policies;
  }
  picture.ruleset = std::move(seen->observation.ruleset);
  picture_ = std::move(picture);
  return done();
}

Result<codec::Batch> Firewall::encode(const model::Ruleset& desired, ApplyReport::Kind kind,
                                      std::optional<std::uint32_t> generation) {
  const codec::BatchOptions options{socket_.next_sequence(), generation, &encoded_rules_};
  auto batch = kind == ApplyReport::Kind::elements
                   ? codec::encode_element_update(desired, *verified_, options)
                   : codec::encode_replacement(desired, picture_->ruleset, plans_for(desired), options);
  if (batch) {
    skip_sequences(batch->steps.size());
  }
  return batch;
}

Result<ApplyReport::Kind> Firewall::attempt(const model::Ruleset& desired) {
  bool looked_again = false;
  for (int tries = 1;; ++tries) {
    if (!picture_) {
      if (const auto seen = look(); !seen) {
        return fail(seen.error());
      }
    }
    const bool elements = verified_ && codec::differ_only_in_elements(*verified_, desired);
    const auto kind = elements ? ApplyReport::Kind::elements : ApplyReport::Kind::full;
    const auto expected = tries < patient_attempts ? std::optional{picture_->generation} : std::nullopt;
    const auto batch = encode(desired, kind, expected);
    if (!batch) {
      return fail(batch.error());
    }
    const auto refusals = transact(*batch);
    if (refusals && refusals->empty()) {
      // Every commit counts one up; a wrong guess costs one refused attempt.
      picture_->generation += batch->bytes.empty() ? 0 : 1;
      return kind;
    }
    const bool overtaken = refusals && has_errno(*refusals, ERESTART);
    if (overtaken && picture_->ours && tries < most_attempts) {
      const auto now = generation();
      if (!now) {
        return fail(now.error());
      }
      picture_->generation = *now;
      continue;
    }
    picture_.reset();
    verified_.reset();
    const bool again = overtaken ? tries < most_attempts : !looked_again;
    // What we believed of the kernel may have been wrong, or its answer was lost: look, and try once more.
    if (again && (!refusals || !has_errno(*refusals, EPERM))) {
      looked_again = looked_again || !overtaken;
      continue;
    }
    return refusals ? Result<ApplyReport::Kind>{refused(*batch, refusals->front())} : fail(refusals.error());
  }
}

Result<ApplyReport> Firewall::apply(const model::Ruleset& desired) {
  if (picture_ && verified_ && *verified_ == desired) {
    return ApplyReport{ApplyReport::Kind::unchanged};
  }
  auto report = commit(desired);
  if (report || report.error().code.value() != ENOENT || features_.ahead) {
    return report;
  }
  // A device went away since the facts were taken, and no event has told of it yet.
  const model::Ruleset rest = without_absent_devices(desired);
  return rest == desired ? report : commit(rest);
}

Result<ApplyReport> Firewall::commit(const model::Ruleset& desired) {
  auto kind = attempt(desired);
  if (!kind) {
    return fail(kind.error());
  }
  verified_.reset();
  picture_->ruleset = desired;
  picture_->ours = true;
  picture_->plans.clear();
  for (const model::Table& table : desired.tables) {
    const bool owned = flags_for(table.name) != 0;
    picture_->plans.push_back({table.family, table.name, TableAction::keep, 0, !owned, {}});
    picture_->ours = picture_->ours && owned;
  }
  return ApplyReport{*kind};
}

Outcome Firewall::remove() {
  verified_.reset();
  picture_.reset();
  codec::DumpDecoder decoder;
  bool interrupted = false;
  for (const TableFamily family : {TableFamily::inet, TableFamily::netdev}) {
    if (const auto dumped = dump(decoder, interrupted, {codec::DumpKind::tables, family}); !dumped) {
      return dumped;
    }
  }
  const model::Observation seen = decoder.finish();
  // An orphan needs no adoption first: a table without a living owner is anybody's to delete.
  const codec::Batch batch = codec::encode_removal(seen.ruleset, {socket_.next_sequence(), std::nullopt, nullptr});
  skip_sequences(batch.steps.size());
  const auto refusals = transact(batch);
  if (!refusals) {
    return fail(refusals.error());
  }
  for (const KernelReply& reply : *refusals) {
    if (reply.errno_value != ENOENT) {
      return refused(batch, reply);
    }
  }
  return done();
}

}  // namespace killswitch::enforce
