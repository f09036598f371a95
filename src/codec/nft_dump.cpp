#include "killswitch/codec/nft_dump.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/netlink.hpp"
#include "killswitch/codec/nft_rule_decode.hpp"
#include "nft_objects.hpp"
#include "nft_sieve.hpp"

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

constexpr Known generation_attributes[] = {{NFTA_GEN_ID, Form::u32}};
constexpr Known table_attributes[] = {
    {NFTA_TABLE_NAME, Form::text}, {NFTA_TABLE_FLAGS, Form::u32}, {NFTA_TABLE_OWNER, Form::u32}};
// Devices by a prefix of their name (newer kernels) are left out: their absence is then the difference.
constexpr Known device_attributes[] = {{NFTA_DEVICE_NAME, Form::text}};
constexpr Known hook_attributes[] = {{NFTA_HOOK_HOOKNUM, Form::u32},
                                     {NFTA_HOOK_PRIORITY, Form::u32},
                                     {NFTA_HOOK_DEV, Form::text},
                                     {NFTA_HOOK_DEVS, Form::nest, device_attributes}};
constexpr Known chain_attributes[] = {{NFTA_CHAIN_TABLE, Form::text},
                                      {NFTA_CHAIN_NAME, Form::text},
                                      {NFTA_CHAIN_HOOK, Form::nest, hook_attributes},
                                      {NFTA_CHAIN_POLICY, Form::u32},
                                      {NFTA_CHAIN_TYPE, Form::text}};
constexpr Known set_attributes[] = {{NFTA_SET_TABLE, Form::text},  {NFTA_SET_NAME, Form::text},
                                    {NFTA_SET_FLAGS, Form::u32},   {NFTA_SET_KEY_TYPE, Form::u32},
                                    {NFTA_SET_KEY_LEN, Form::u32}, {NFTA_SET_DATA_TYPE, Form::u32},
                                    {NFTA_SET_DATA_LEN, Form::u32}};
// An element that runs out, or matches only now and then, is not the element that was meant.
constexpr Known element_attributes[] = {{NFTA_SET_ELEM_KEY, Form::nest, value_data},
                                        {NFTA_SET_ELEM_DATA, Form::nest, verdict_data},
                                        {NFTA_SET_ELEM_FLAGS, Form::u32},
                                        {NFTA_SET_ELEM_TIMEOUT, Form::foreign},
                                        {NFTA_SET_ELEM_KEY_END, Form::foreign},
                                        {NFTA_SET_ELEM_EXPR, Form::foreign},
                                        {NFTA_SET_ELEM_EXPRESSIONS, Form::foreign},
                                        {NFTA_SET_ELEM_OBJREF, Form::foreign}};
constexpr Known element_list[] = {{NFTA_LIST_ELEM, Form::nest, element_attributes}};
constexpr Known elements_attributes[] = {{NFTA_SET_ELEM_LIST_TABLE, Form::text},
                                         {NFTA_SET_ELEM_LIST_SET, Form::text},
                                         {NFTA_SET_ELEM_LIST_ELEMENTS, Form::list, element_list}};
constexpr Known counter_values[] = {{NFTA_COUNTER_BYTES, Form::u64}, {NFTA_COUNTER_PACKETS, Form::u64}};
constexpr Known counter_attributes[] = {{NFTA_OBJ_TABLE, Form::text},
                                        {NFTA_OBJ_NAME, Form::text},
                                        {NFTA_OBJ_TYPE, Form::u32},
                                        {NFTA_OBJ_DATA, Form::nest, counter_values}};

/// Reads a message with libnftnl's `parse`, after the sieve. @return false when it breaks the format
template <typename Object, typename Parse>
bool read(const nlmsghdr& message, std::span<const Known> known, const Object& object, Parse parse) {
  Sieve sieve{message};
  return sieve.copy(attributes_of(message), known) == Sieved::whole && parse(sieve.message(), object.get()) >= 0;
}

std::vector<std::string> devices_of(const nftnl_chain* chain) {
  std::vector<std::string> devices;
  const char* const* names = nftnl_chain_get_array(chain, NFTNL_CHAIN_DEVICES);
  for (; names != nullptr && *names != nullptr; ++names) {
    devices.emplace_back(*names);
  }
  if (devices.empty() && nftnl_chain_is_set(chain, NFTNL_CHAIN_DEV)) {
    devices.emplace_back(nftnl_chain_get_str(chain, NFTNL_CHAIN_DEV));
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

std::optional<int> errno_of(Span payload) {
  std::int32_t value = 0;
  if (payload.size() < sizeof value) {
    return std::nullopt;
  }
  std::copy_n(payload.data(), sizeof value, reinterpret_cast<std::uint8_t*>(&value));
  // Errors are small negative numbers; anything else is no error of the kernel.
  return value <= 0 && value > -4096 ? std::optional{-value} : std::nullopt;
}

}  // namespace

Result<DumpProgress> DumpDecoder::feed(Span datagram, std::uint32_t sequence) {
  DumpProgress progress;
  const bool sound = for_each_message(datagram, [&](const nlmsghdr& header) {
    if (header.nlmsg_seq != sequence) {
      return;
    }
    progress.interrupted = progress.interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
      const auto error = errno_of(payload_of(header));
      progress.done = true;
      progress.errno_value = error.value_or(header.nlmsg_type == NLMSG_ERROR ? EPROTO : 0);
      return;
    }
    if (header.nlmsg_type >> 8U == NFNL_SUBSYS_NFTABLES && payload_of(header).size() >= sizeof(nfgenmsg)) {
      message(header);
    }
  });
  if (!sound) {
    return fail("nf_tables: a message that is longer than its datagram");
  }
  return progress;
}

void DumpDecoder::message(const nlmsghdr& message) {
  const std::uint16_t type = message.nlmsg_type & 0xffU;
  if (type == NFT_MSG_NEWGEN) {
    generation_message(message);
    return;
  }
  // nfgen_family is the first byte. Attribute 1 is the name of the table in messages of every kind; other programs'
  // tables are looked at no further.
  const auto family = family_of(payload_of(message).front());
  if (!family || Attributes{attributes_of(message)}.text(NFTA_TABLE_NAME) != model::table_name) {
    return;
  }
  if (type == NFT_MSG_NEWTABLE) {
    table_message(message, *family);
    return;
  }
  const auto& tables = observation_.ruleset.tables;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    if (!same_family(observation_.ruleset, i, *family)) {
      continue;
    }
    switch (type) {
      case NFT_MSG_NEWCHAIN: chain_message(message, i); break;
      case NFT_MSG_NEWSET: set_message(message, i); break;
      case NFT_MSG_NEWSETELEM: elements_message(message, i); break;
      case NFT_MSG_NEWRULE: rule_message(message, i); break;
      case NFT_MSG_NEWOBJ: counter_message(message, i); break;
      default: break;
    }
  }
}

void DumpDecoder::generation_message(const nlmsghdr& message) {
  const GenerationObject object{allocated(nftnl_gen_alloc())};
  const bool sound = read(message, generation_attributes, object, nftnl_gen_nlmsg_parse);
  generation_ = sound ? nftnl_gen_get_u32(object.get(), NFTNL_GEN_ID) : 0;
}

void DumpDecoder::table_message(const nlmsghdr& message, TableFamily family) {
  const TableObject object{allocated(nftnl_table_alloc())};
  if (!read(message, table_attributes, object, nftnl_table_nlmsg_parse)) {
    observation_.differences.emplace_back("a table that breaks the format");
    return;
  }
  for (const HeldTable& one : held_) {
    if (one.family == family) {
      return;
    }
  }
  const std::uint32_t flags = nftnl_table_get_u32(object.get(), NFTNL_TABLE_FLAGS);
  held_.push_back({family, flags, nftnl_table_get_u32(object.get(), NFTNL_TABLE_OWNER)});
  observation_.ruleset.tables.push_back({family, model::table_name, {}, {}, {}});
  if ((flags & table_flag_dormant) != 0) {
    observation_.differences.emplace_back("the table is dormant: it filters nothing");
  }
}

void DumpDecoder::chain_message(const nlmsghdr& message, std::size_t table) {
  const ChainObject object{allocated(nftnl_chain_alloc())};
  if (!read(message, chain_attributes, object, nftnl_chain_nlmsg_parse)) {
    observation_.differences.emplace_back("a chain that breaks the format");
    return;
  }
  model::Chain chain;
  chain.name = text_or_empty(nftnl_chain_get_str(object.get(), NFTNL_CHAIN_NAME));
  if (nftnl_chain_is_set(object.get(), NFTNL_CHAIN_HOOKNUM)) {
    const auto known =
        hook_of(observation_.ruleset.tables[table].family, nftnl_chain_get_u32(object.get(), NFTNL_CHAIN_HOOKNUM));
    const std::string type = text_or_empty(nftnl_chain_get_str(object.get(), NFTNL_CHAIN_TYPE));
    const bool translates = type == "nat";
    if (!known || !(translates || type == "filter")) {
      observation_.differences.push_back(
          fmt::format("chain {} is of a kind that this program never makes", printable(chain.name, 64)));
    }
    if (!nftnl_chain_is_set(object.get(), NFTNL_CHAIN_POLICY) ||
        nftnl_chain_get_u32(object.get(), NFTNL_CHAIN_POLICY) != NF_DROP) {
      observation_.differences.push_back(fmt::format("chain {}: its policy is not drop", printable(chain.name, 64)));
    }
    chain.base =
        model::BaseChain{known.value_or(Hook::egress), nftnl_chain_get_s32(object.get(), NFTNL_CHAIN_PRIO),
                         devices_of(object.get()), translates ? model::ChainType::nat : model::ChainType::filter};
  }
  observation_.ruleset.tables[table].chains.push_back(std::move(chain));
}

void DumpDecoder::set_message(const nlmsghdr& message, std::size_t table) {
  const SetObject object{allocated(nftnl_set_alloc())};
  if (!read(message, set_attributes, object, nftnl_set_nlmsg_parse)) {
    observation_.differences.emplace_back("a set that breaks the format");
    return;
  }
  const std::uint32_t flags = nftnl_set_get_u32(object.get(), NFTNL_SET_FLAGS);
  model::Set set;
  set.name = text_or_empty(nftnl_set_get_str(object.get(), NFTNL_SET_NAME));
  set.key = key_of(nftnl_set_get_u32(object.get(), NFTNL_SET_KEY_TYPE));
  set.verdict_map = (flags & NFT_SET_MAP) != 0;
  set.interval = (flags & NFT_SET_INTERVAL) != 0;
  const std::uint32_t known = std::uint32_t{NFT_SET_MAP} | std::uint32_t{NFT_SET_INTERVAL};
  std::uint32_t width = 0;
  for (const model::KeyType part : set.key) {
    const std::uint32_t own = key_type_info(part).form.width;
    width += set.key.size() == 1 ? own : padded(own);
  }
  const bool foreign = (flags & ~known) != 0 || set.key.empty() ||
                       width != nftnl_set_get_u32(object.get(), NFTNL_SET_KEY_LEN) ||
                       (set.verdict_map && nftnl_set_get_u32(object.get(), NFTNL_SET_DATA_TYPE) != NFT_DATA_VERDICT);
  sets_.push_back({table, set.name, foreign, {}});
  observation_.ruleset.tables[table].sets.push_back(std::move(set));
}

DumpDecoder::RawSet* DumpDecoder::find_set(std::size_t table, std::string_view name) {
  const auto found = std::find_if(sets_.begin(), sets_.end(),
                                  [&](const RawSet& set) { return set.table == table && set.name == name; });
  return found == sets_.end() ? nullptr : &*found;
}

void DumpDecoder::elements_message(const nlmsghdr& message, std::size_t table) {
  RawSet* set = find_set(table, Attributes{attributes_of(message)}.text(NFTA_SET_ELEM_LIST_SET));
  if (set == nullptr) {
    return;
  }
  const SetObject object{allocated(nftnl_set_alloc())};
  if (!read(message, elements_attributes, object, nftnl_set_elems_nlmsg_parse)) {
    set->foreign = true;
    return;
  }
  const auto take = [](nftnl_set_elem* element, void* out) noexcept {
    RawSet& raw = *static_cast<RawSet*>(out);
    const bool flagged = nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_FLAGS);
    const std::uint32_t flags = flagged ? nftnl_set_elem_get_u32(element, NFTNL_SET_ELEM_FLAGS) : 0;
    RawElement one{{}, (flags & NFT_SET_ELEM_INTERVAL_END) != 0, {}};
    std::uint32_t size = 0;
    if (const void* key = nftnl_set_elem_get(element, NFTNL_SET_ELEM_KEY, &size); key != nullptr) {
      one.key.assign(static_cast<const std::uint8_t*>(key), static_cast<const std::uint8_t*>(key) + size);
    }
    if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_VERDICT)) {
      one.verdict = decode_verdict(nftnl_set_elem_get_u32(element, NFTNL_SET_ELEM_VERDICT),
                                   nftnl_set_elem_get_str(element, NFTNL_SET_ELEM_CHAIN));
      raw.foreign = raw.foreign || !one.verdict;
    }
    raw.foreign = raw.foreign || (flags & ~std::uint32_t{NFT_SET_ELEM_INTERVAL_END}) != 0;
    raw.elements.push_back(std::move(one));
    return 0;
  };
  nftnl_set_elem_foreach(object.get(), take, set);
}

void DumpDecoder::rule_message(const nlmsghdr& message, std::size_t table) {
  DecodedRule decoded = decode_rule(message);
  auto& chains = observation_.ruleset.tables[table].chains;
  const auto chain =
      std::find_if(chains.begin(), chains.end(), [&](const auto& one) { return one.name == decoded.chain; });
  if (chain == chains.end()) {
    return;
  }
  if (!decoded.foreign.empty()) {
    observation_.differences.push_back(
        fmt::format("chain {}, rule {}: {}", printable(chain->name, 64), chain->rules.size() + 1, decoded.foreign));
  }
  chain->rules.push_back(std::move(decoded.rule));
}

void DumpDecoder::counter_message(const nlmsghdr& message, std::size_t table) {
  const StatefulObject object{allocated(nftnl_obj_alloc())};
  // Objects of other kinds have other data, which the sieve does not know; libnftnl would read it all the same.
  const Span type = Attributes{attributes_of(message)}.bytes(NFTA_OBJ_TYPE);
  constexpr std::array<std::uint8_t, 4> counter{0, 0, 0, NFT_OBJECT_COUNTER};
  if (!std::equal(type.begin(), type.end(), counter.begin(), counter.end()) ||
      !read(message, counter_attributes, object, nftnl_obj_nlmsg_parse)) {
    return;
  }
  const std::string name = text_or_empty(nftnl_obj_get_str(object.get(), NFTNL_OBJ_NAME));
  observation_.ruleset.tables[table].counters.push_back(name);
  model::CounterValue& value = observation_.counters[name];
  value.packets += nftnl_obj_get_u64(object.get(), NFTNL_OBJ_CTR_PKTS);
  value.bytes += nftnl_obj_get_u64(object.get(), NFTNL_OBJ_CTR_BYTES);
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
  (void)for_each_message(datagram, [&](const nlmsghdr& header) {
    if (header.nlmsg_type == NLMSG_ERROR) {
      replies.push_back({header.nlmsg_seq, errno_of(payload_of(header)).value_or(EPROTO)});
    }
  });
  return replies;
}

}  // namespace killswitch::codec
