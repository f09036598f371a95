#include "nft_limits.hpp"

#include "killswitch/codec/nft_fields.hpp"

#include <linux/netfilter/nf_tables.h>
#include <net/if.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Chain;
using model::Set;
using model::Table;

// @source NFT_NETDEVICE_MAX, Linux include/net/netfilter/nf_tables.h
constexpr std::size_t most_devices = 256;

bool fits_map(const model::SetElement& element) {
  return !element.verdict ||
         (verdict_code(element.verdict->kind) && element.verdict->chain.size() < NFT_CHAIN_MAXNAMELEN);
}

Outcome check_names(const Table& table) {
  std::vector<std::string_view> names{table.name};
  for (const Chain& chain : table.chains) {
    names.emplace_back(chain.name);
  }
  names.insert(names.end(), table.counters.begin(), table.counters.end());
  for (const std::string_view name : names) {
    if (const auto problem = name_problem(name)) {
      return fail(fmt::format("nft: '{}': {}", name, *problem));
    }
  }
  return done();
}

/// @return what keeps the kernel from hooking a chain to its devices, in words
Problem check_devices(const Chain& chain) {
  if (!chain.base) {
    return {};
  }
  const auto& devices = chain.base->devices;
  if (devices.size() > most_devices) {
    return fmt::format("it has {} devices, {} are possible", devices.size(), most_devices);
  }
  const auto impossible = [](const std::string& name) { return name.empty() || name.size() >= IFNAMSIZ; };
  return std::any_of(devices.begin(), devices.end(), impossible) ? "a device's name has 1 to 15 characters" : "";
}

Outcome check_chains(const Table& table) {
  for (const Chain& chain : table.chains) {
    if (const Problem problem = check_devices(chain); !problem.empty()) {
      return fail(fmt::format("nft: chain '{}': {}", chain.name, problem));
    }
  }
  return done();
}

}  // namespace

Problem check_set(const Set& set) {
  if (set.key.empty()) {
    return "it has no key";
  }
  std::uint32_t width = 0;
  for (const model::KeyType part : set.key) {
    width += padded(key_type_info(part).form.width);
  }
  if (width > NFT_DATA_VALUE_MAXLEN) {
    return fmt::format("its key has {} bytes, {} are possible", width, NFT_DATA_VALUE_MAXLEN);
  }
  if (!std::all_of(set.elements.begin(), set.elements.end(), fits_map)) {
    return "a verdict of another kind than accept, drop, jump, goto and return cannot stand in a map";
  }
  return name_problem(set.name).value_or("");
}

Outcome check_table(const Table& table) {
  if (const auto named = check_names(table); !named) {
    return named;
  }
  return check_chains(table);
}

}  // namespace killswitch::codec
