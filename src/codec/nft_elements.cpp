#include "killswitch/codec/nft_batch.hpp"
#include "killswitch/codec/nft_rule.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Operand;
using model::Set;
using model::SetElement;

/// The first key behind `prefix`; empty when the prefix ends at the last key there is.
std::vector<std::uint8_t> key_behind(const model::Prefix& prefix) {
  const auto octets = prefix.address.octets();
  std::vector<std::uint8_t> key{octets.begin(), octets.end()};
  if (prefix.length == 0) {
    return {};
  }
  std::size_t index = (prefix.length - 1U) / 8U;
  auto step = static_cast<unsigned>(0x80U >> ((prefix.length - 1U) % 8U));
  for (;;) {
    const unsigned sum = key[index] + step;
    key[index] = static_cast<std::uint8_t>(sum);
    if (sum <= 0xff) {
      return key;
    }
    if (index == 0) {
      return {};
    }
    --index;
    step = 1;
  }
}

Result<EncodedElement> encode_element(const Set& set, const SetElement& element) {
  EncodedElement encoded;
  encoded.verdict = element.verdict;
  if (element.key.size() != set.key.size() || element.verdict.has_value() != set.verdict_map) {
    return fail(fmt::format("an element does not have the {} parts of the key, or no verdict where it needs one",
                            set.key.size()));
  }
  for (std::size_t i = 0; i < element.key.size(); ++i) {
    const KeyTypeInfo& type = key_type_info(set.key[i]);
    const auto* prefix = std::get_if<model::Prefix>(&element.key[i]);
    const auto value = encode_value(type.form, element.key[i]);
    if (!value || (prefix != nullptr && !set.interval)) {
      return fail(fmt::format("part {} of an element is not of type {}", i + 1, type.name));
    }
    encoded.key.insert(encoded.key.end(), value->bytes.begin(), value->bytes.begin() + padded(value->size));
  }
  if (set.key.size() == 1) {
    encoded.key.resize(key_type_info(set.key.front()).form.width);
  }
  if (set.interval) {
    const auto* prefix = std::get_if<model::Prefix>(&element.key.front());
    const auto* address = std::get_if<model::IpAddress>(&element.key.front());
    if (set.key.size() != 1 || (prefix == nullptr && address == nullptr)) {
      return fail("elements of an interval set must be prefixes");
    }
    const auto whole =
        address != nullptr ? model::Prefix{*address, static_cast<std::uint8_t>(address->size() * 8)} : *prefix;
    encoded.end = key_behind(whole);
  }
  return encoded;
}

bool inside(const EncodedElement& inner, const EncodedElement& outer) {
  if (outer.end.empty()) {
    return true;  // sorted: inner starts behind the start of outer
  }
  return !inner.end.empty() && inner.end <= outer.end;
}

/// Of elements with one start the widest comes first.
bool before(const EncodedElement& left, const EncodedElement& right) {
  if (left.key != right.key) {
    return left.key < right.key;
  }
  if (left.end.empty() != right.end.empty()) {
    return left.end.empty();
  }
  return left.end > right.end;
}

std::vector<Operand> lookup_operands(const model::Rule& rule, const std::string& set) {
  for (const model::Match& match : rule.matches) {
    if (match.set == set && !match.set.empty()) {
      return match.operands;
    }
  }
  return rule.verdict.map == set ? rule.verdict.key : std::vector<Operand>{};
}

bool is_raw(const Operand& operand) {
  return operand.field == model::Field::payload;
}

}  // namespace

Result<std::vector<EncodedElement>> encode_elements(const Set& set) {
  std::vector<EncodedElement> encoded;
  encoded.reserve(set.elements.size());
  for (const SetElement& element : set.elements) {
    auto one = encode_element(set, element);
    if (!one) {
      return fail(one.error().within(fmt::format("set {}", set.name)));
    }
    encoded.push_back(std::move(*one));
  }
  std::stable_sort(encoded.begin(), encoded.end(), before);
  std::vector<EncodedElement> unique;
  unique.reserve(encoded.size());
  for (EncodedElement& element : encoded) {
    if (unique.empty() || !(set.interval ? inside(element, unique.back()) : element.key == unique.back().key)) {
      unique.push_back(std::move(element));
    }
  }
  return unique;
}

std::vector<Operand> raw_operands(const model::Table& table, const Set& set) {
  std::vector<Operand> raw;
  for (const model::Chain& chain : table.chains) {
    for (const model::Rule& rule : chain.rules) {
      const auto operands = lookup_operands(rule, set.name);
      if (operands.empty()) {
        continue;
      }
      if (!std::all_of(operands.begin(), operands.end(), is_raw)) {
        return {};
      }
      raw = operands;
    }
  }
  return raw;
}

}  // namespace killswitch::codec
