#include "killswitch/codec/nft_dump.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/nft_rule_decode.hpp"
#include "killswitch/codec/nft_wire.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Hook;
using model::TableFamily;

std::optional<TableFamily> family_of(std::uint8_t number) {
  switch (number) {
    case NFPROTO_INET: return TableFamily::inet;
    case NFPROTO_NETDEV: return TableFamily::netdev;
    default: return std::nullopt;
  }
}

std::optional<Hook> hook_of(TableFamily family, std::uint32_t number) {
  if (family == TableFamily::netdev) {
    return number == NF_NETDEV_EGRESS ? std::optional{Hook::egress} : std::nullopt;
  }
  switch (number) {
    case NF_INET_PRE_ROUTING: return Hook::prerouting;
    case NF_INET_LOCAL_IN: return Hook::input;
    case NF_INET_FORWARD: return Hook::forward;
    case NF_INET_LOCAL_OUT: return Hook::output;
    case NF_INET_POST_ROUTING: return Hook::postrouting;
    default: return std::nullopt;
  }
}

/// nft(8)'s number for a concatenation: 6 bits a part, the last one lowest. @source TYPE_BITS, nftables datatype.h
std::vector<model::KeyType> key_of(std::uint32_t number) {
  std::vector<model::KeyType> key;
  for (; number != 0; number >>= 6U) {
    const auto all = all_key_types();
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const KeyTypeInfo& info) { return info.number == (number & 0x3fU); });
    if (found == all.end()) {
      return {};
    }
    key.insert(key.begin(), found->type);
  }
  return key;
}

std::vector<std::string> devices_of(const Attributes& hook) {
  std::vector<std::string> devices;
  (void)for_each_attribute(hook.bytes(NFTA_HOOK_DEVS), [&](std::uint16_t type, Span name) {
    if (type == NFTA_DEVICE_NAME) {
      const std::string_view text{reinterpret_cast<const char*>(name.data()), name.size()};
      devices.emplace_back(text.substr(0, text.find('\0')));
    }
  });
  if (devices.empty() && hook.has(NFTA_HOOK_DEV)) {
    devices.emplace_back(hook.text(NFTA_HOOK_DEV));
  }
  return devices;
}

std::optional<std::vector<model::Value>> key_values(const model::Set& set, Span bytes) {
  std::vector<model::Value> values;
  for (const model::KeyType part : set.key) {
    const ValueForm form = key_type_info(part).form;
    const std::size_t step = set.key.size() == 1 ? form.width : padded(form.width);
    if (bytes.size() < step) {
      return std::nullopt;
    }
    const auto value = decode_value(form, bytes.first(form.width));
    if (!value) {
      return std::nullopt;
    }
    values.push_back(*value);
    bytes = bytes.subspan(step);
  }
  return bytes.empty() ? std::optional{values} : std::nullopt;
}

/// The prefix that starts at `start` and whose next key is `end` (empty: it reaches the last key).
std::optional<model::Prefix> prefix_of(const model::IpAddress& start, Span end) {
  const std::size_t bits = start.size() * 8;
  for (std::size_t length = 0; length <= bits; ++length) {
    const EncodedValue mask =
        encode_prefix_mask(static_cast<std::uint8_t>(length), static_cast<std::uint8_t>(start.size()));
    unsigned carry = 1;
    std::array<std::uint8_t, 16> behind{};
    bool host_bits = false;
    for (std::size_t i = start.size(); i-- > 0;) {
      const unsigned inverse = 0xffU ^ mask.bytes[i];
      host_bits = host_bits || (start.bytes[i] & inverse) != 0;
      const unsigned sum = (start.bytes[i] | inverse) + carry;
      behind[i] = static_cast<std::uint8_t>(sum);
      carry = sum >> 8U;
    }
    const Span next = carry != 0 ? Span{} : Span{behind}.first(start.size());
    if (!host_bits && std::equal(next.begin(), next.end(), end.begin(), end.end())) {
      return model::Prefix{start, static_cast<std::uint8_t>(length)};
    }
  }
  return std::nullopt;
}

bool same_family(const model::Ruleset& ruleset, std::size_t table, TableFamily family) {
  return ruleset.tables[table].family == family;
}

/// Calls `use(header, payload)` for each whole message. @return false when lengths do not add up.
template <typename Use>
bool for_each_message(Span datagram, Use use) {
  while (datagram.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header{};
    std::memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) {
      return false;
    }
    use(header, datagram.first(header.nlmsg_len).subspan(sizeof header));
    datagram = datagram.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), datagram.size()));
  }
  return datagram.empty();
}

std::optional<int> errno_of(Span payload) {
  std::int32_t value = 0;
  if (payload.size() < sizeof value) {
    return std::nullopt;
  }
  std::memcpy(&value, payload.data(), sizeof value);
  // Errors are small negative numbers; anything else is no error of the kernel.
  return value <= 0 && value > -4096 ? std::optional{-value} : std::nullopt;
}

}  // namespace

Result<DumpProgress> DumpDecoder::feed(Span datagram, std::uint32_t sequence) {
  DumpProgress progress;
  bool sound = true;
  sound = for_each_message(datagram,
                           [&](const nlmsghdr& header, Span payload) {
                             if (header.nlmsg_seq != sequence) {
                               return;
                             }
                             progress.interrupted = progress.interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
                             if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
                               const auto error = errno_of(payload);
                               progress.done = true;
                               progress.errno_value = error.value_or(header.nlmsg_type == NLMSG_ERROR ? EPROTO : 0);
                               return;
                             }
                             if (header.nlmsg_type >> 8U != NFNL_SUBSYS_NFTABLES || payload.size() < sizeof(nfgenmsg)) {
                               return;
                             }
                             message(header.nlmsg_type & 0xffU, payload[0], payload.subspan(sizeof(nfgenmsg)));
                           }) &&
          sound;
  if (!sound) {
    return fail("nf_tables: a message that is longer than its datagram");
  }
  return progress;
}

void DumpDecoder::message(std::uint16_t type, std::uint8_t family, Span attributes) {
  if (type == NFT_MSG_NEWGEN) {
    generation_ = Attributes{attributes}.be32_or(NFTA_GEN_ID, 0);
    return;
  }
  if (type == NFT_MSG_NEWTABLE) {
    table_message(family, attributes);
    return;
  }
  // Attribute 1 is the name of the table in all other messages.
  const auto wanted = family_of(family);
  if (!wanted || Attributes{attributes}.text(NFTA_TABLE_NAME) != model::table_name) {
    return;
  }
  const auto& tables = observation_.ruleset.tables;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    if (!same_family(observation_.ruleset, i, *wanted)) {
      continue;
    }
    switch (type) {
      case NFT_MSG_NEWCHAIN: chain_message(i, attributes); break;
      case NFT_MSG_NEWSET: set_message(i, attributes); break;
      case NFT_MSG_NEWSETELEM: elements_message(i, attributes); break;
      case NFT_MSG_NEWRULE: rule_message(i, attributes); break;
      case NFT_MSG_NEWOBJ: object_message(i, attributes); break;
      default: break;
    }
  }
}

void DumpDecoder::table_message(std::uint8_t family, Span attributes) {
  const Attributes table{attributes};
  const auto known = family_of(family);
  if (!known || table.text(NFTA_TABLE_NAME) != model::table_name) {
    return;
  }
  for (const HeldTable& one : held_) {
    if (one.family == *known) {
      return;
    }
  }
  const std::uint32_t flags = table.be32_or(NFTA_TABLE_FLAGS, 0);
  held_.push_back({*known, flags, table.be32_or(NFTA_TABLE_OWNER, 0)});
  observation_.ruleset.tables.push_back({*known, model::table_name, {}, {}, {}});
  if ((flags & table_flag_dormant) != 0) {
    observation_.differences.emplace_back("the table is dormant: it filters nothing");
  }
}

void DumpDecoder::chain_message(std::size_t table, Span attributes) {
  const Attributes message{attributes};
  auto& chains = observation_.ruleset.tables[table].chains;
  model::Chain chain;
  chain.name = message.text(NFTA_CHAIN_NAME);
  if (message.has(NFTA_CHAIN_HOOK)) {
    const Attributes hook = message.nest(NFTA_CHAIN_HOOK);
    const auto known = hook_of(observation_.ruleset.tables[table].family, hook.be32_or(NFTA_HOOK_HOOKNUM, UINT32_MAX));
    const bool translates = message.text(NFTA_CHAIN_TYPE) == "nat";
    if (!known || !(translates || message.text(NFTA_CHAIN_TYPE) == "filter")) {
      observation_.differences.push_back(
          fmt::format("chain {} is of a kind that this program never makes", printable(chain.name, 64)));
    }
    if (message.be32_or(NFTA_CHAIN_POLICY, UINT32_MAX) != NF_DROP) {
      observation_.differences.push_back(fmt::format("chain {}: its policy is not drop", printable(chain.name, 64)));
    }
    chain.base =
        model::BaseChain{known.value_or(Hook::egress), static_cast<std::int32_t>(hook.be32_or(NFTA_HOOK_PRIORITY, 0)),
                         devices_of(hook), translates ? model::ChainType::nat : model::ChainType::filter};
  }
  chains.push_back(std::move(chain));
}

void DumpDecoder::set_message(std::size_t table, Span attributes) {
  const Attributes message{attributes};
  const std::uint32_t flags = message.be32_or(NFTA_SET_FLAGS, 0);
  model::Set set;
  set.name = message.text(NFTA_SET_NAME);
  set.key = key_of(message.be32_or(NFTA_SET_KEY_TYPE, 0));
  set.verdict_map = (flags & NFT_SET_MAP) != 0;
  set.interval = (flags & NFT_SET_INTERVAL) != 0;
  const std::uint32_t known = std::uint32_t{NFT_SET_MAP} | std::uint32_t{NFT_SET_INTERVAL};
  std::uint32_t width = 0;
  for (const model::KeyType part : set.key) {
    const std::uint32_t own = key_type_info(part).form.width;
    width += set.key.size() == 1 ? own : padded(own);
  }
  const bool foreign = (flags & ~known) != 0 || set.key.empty() || width != message.be32_or(NFTA_SET_KEY_LEN, 0) ||
                       (set.verdict_map && message.be32_or(NFTA_SET_DATA_TYPE, 0) != NFT_DATA_VERDICT);
  sets_.push_back({table, set.name, foreign, {}});
  observation_.ruleset.tables[table].sets.push_back(std::move(set));
}

DumpDecoder::RawSet* DumpDecoder::find_set(std::size_t table, std::string_view name) {
  const auto found = std::find_if(sets_.begin(), sets_.end(),
                                  [&](const RawSet& set) { return set.table == table && set.name == name; });
  return found == sets_.end() ? nullptr : &*found;
}

void DumpDecoder::elements_message(std::size_t table, Span attributes) {
  const Attributes message{attributes};
  RawSet* set = find_set(table, message.text(NFTA_SET_ELEM_LIST_SET));
  if (set == nullptr) {
    return;
  }
  const bool sound = for_each_attribute(message.bytes(NFTA_SET_ELEM_LIST_ELEMENTS), [&](std::uint16_t, Span bytes) {
    const Attributes element{bytes};
    const Span key = element.nest(NFTA_SET_ELEM_KEY).bytes(NFTA_DATA_VALUE);
    const std::uint32_t flags = element.be32_or(NFTA_SET_ELEM_FLAGS, 0);
    RawElement raw{{key.begin(), key.end()}, (flags & NFT_SET_ELEM_INTERVAL_END) != 0, {}};
    if (element.has(NFTA_SET_ELEM_DATA)) {
      raw.verdict = decode_verdict(element.nest(NFTA_SET_ELEM_DATA));
      set->foreign = set->foreign || !raw.verdict;
    }
    set->foreign = set->foreign || !element.valid() || (flags & ~std::uint32_t{NFT_SET_ELEM_INTERVAL_END}) != 0 ||
                   element.has(NFTA_SET_ELEM_TIMEOUT) || element.has(NFTA_SET_ELEM_KEY_END);
    set->elements.push_back(std::move(raw));
  });
  set->foreign = set->foreign || !sound;
}

void DumpDecoder::rule_message(std::size_t table, Span attributes) {
  const Attributes message{attributes};
  const std::string_view name = message.text(NFTA_RULE_CHAIN);
  auto& chains = observation_.ruleset.tables[table].chains;
  const auto chain = std::find_if(chains.begin(), chains.end(), [&](const auto& one) { return one.name == name; });
  if (chain == chains.end()) {
    return;
  }
  DecodedRule decoded = decode_rule(message);
  if (!decoded.foreign.empty()) {
    observation_.differences.push_back(
        fmt::format("chain {}, rule {}: {}", printable(name, 64), chain->rules.size() + 1, decoded.foreign));
  }
  chain->rules.push_back(std::move(decoded.rule));
}

void DumpDecoder::object_message(std::size_t table, Span attributes) {
  const Attributes message{attributes};
  if (message.be32_or(NFTA_OBJ_TYPE, 0) != NFT_OBJECT_COUNTER) {
    return;
  }
  const std::string name{message.text(NFTA_OBJ_NAME)};
  const Attributes data = message.nest(NFTA_OBJ_DATA);
  observation_.ruleset.tables[table].counters.push_back(name);
  model::CounterValue& value = observation_.counters[name];
  value.packets += data.be64_or_zero(NFTA_COUNTER_PACKETS);
  value.bytes += data.be64_or_zero(NFTA_COUNTER_BYTES);
}

void DumpDecoder::finish_set(RawSet& raw) {
  auto& sets = observation_.ruleset.tables[raw.table].sets;
  model::Set& set = *std::find_if(sets.begin(), sets.end(), [&](const auto& one) { return one.name == raw.name; });
  raw.foreign = raw.foreign || set.key.empty();
  // By key, and at one key the end of an interval before the start of the next.
  std::sort(raw.elements.begin(), raw.elements.end(), [](const RawElement& left, const RawElement& right) {
    // Three ways by hand: g++ 12 sees an overflow in the comparison of two vectors of bytes at -O3.
    const auto order =
        std::lexicographical_compare_three_way(left.key.begin(), left.key.end(), right.key.begin(), right.key.end());
    return order != 0 ? order < 0 : left.end && !right.end;
  });
  for (std::size_t i = 0; i < raw.elements.size() && !raw.foreign; ++i) {
    const RawElement& start = raw.elements[i];
    if (start.end) {
      continue;  // the gap before the first interval, or the end of the one before
    }
    auto values = key_values(set, start.key);
    if (!values) {
      raw.foreign = true;
    } else if (set.interval) {
      const bool open = i + 1 == raw.elements.size();
      const auto* address = std::get_if<model::IpAddress>(&values->front());
      const auto prefix = address != nullptr && (open || raw.elements[i + 1].end)
                              ? prefix_of(*address, open ? Span{} : Span{raw.elements[i + 1].key})
                              : std::nullopt;
      raw.foreign = !prefix;
      values->front() = prefix ? model::Value{*prefix} : values->front();
    }
    if (values) {
      set.elements.push_back({std::move(*values), start.verdict});
    }
  }
  if (raw.foreign) {
    // Without a key it is equal to nothing that is wanted, and so will be made anew.
    set.key.clear();
    set.elements.clear();
    observation_.differences.push_back(
        fmt::format("set {} is not as this program makes sets", printable(set.name, 64)));
  }
}

std::vector<std::string> DumpDecoder::set_names(TableFamily family) const {
  std::vector<std::string> names;
  for (const RawSet& set : sets_) {
    if (same_family(observation_.ruleset, set.table, family)) {
      names.push_back(set.name);
    }
  }
  return names;
}

model::Observation DumpDecoder::finish() {
  for (RawSet& set : sets_) {
    finish_set(set);
  }
  observation_.present = !held_.empty();
  observation_.ownership = observation_.present ? model::Ownership::owner_persist : model::Ownership::none;
  for (const HeldTable& table : held_) {
    const bool owned = (table.flags & table_flag_owner) != 0;
    const bool persistent = (table.flags & table_flag_persist) != 0;
    const auto own =
        !owned ? model::Ownership::plain : (persistent ? model::Ownership::owner_persist : model::Ownership::owner);
    observation_.ownership = std::min(observation_.ownership, own);  // the weakest of them
  }
  return std::move(observation_);
}

std::vector<KernelReply> decode_replies(Span datagram) {
  std::vector<KernelReply> replies;
  (void)for_each_message(datagram, [&](const nlmsghdr& header, Span payload) {
    if (header.nlmsg_type == NLMSG_ERROR) {
      replies.push_back({header.nlmsg_seq, errno_of(payload).value_or(EPROTO)});
    }
  });
  return replies;
}

}  // namespace killswitch::codec
