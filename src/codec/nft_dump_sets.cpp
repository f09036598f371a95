// Sets and maps of a dump: their definitions, their elements, and intervals back into prefixes.
#include "killswitch/base/text.hpp"
#include "killswitch/codec/nft_dump.hpp"
#include "killswitch/codec/nft_rule_decode.hpp"
#include "nft_objects.hpp"
#include "nft_read.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

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

}  // namespace

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

std::vector<std::string> DumpDecoder::set_names(const HeldTable& table) const {
  std::vector<std::string> names;
  for (const RawSet& set : sets_) {
    if (is(observation_.ruleset.tables[set.table], table.family, table.name)) {
      names.push_back(set.name);
    }
  }
  return names;
}

}  // namespace killswitch::codec
