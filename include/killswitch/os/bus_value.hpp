// What D-Bus messages carry, as values: a signature of one complete type and what belongs to it.
// @source D-Bus specification, "Type System"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace killswitch::os {

struct BusValue {
  std::string signature;  ///< "s", "a{sv}", "(iay)", …
  /// Containers hold their members: an array its elements, a struct its fields, a dict entry key and value, a variant
  /// the one value in it.
  std::variant<bool, std::uint8_t, std::int16_t, std::uint16_t, std::int32_t, std::uint32_t, std::int64_t,
               std::uint64_t, double, std::string, std::vector<BusValue>>
      content;
  bool operator==(const BusValue&) const = default;
};

using BusValues = std::vector<BusValue>;

[[nodiscard]] inline BusValue bus_boolean(bool value) {
  return {"b", value};
}
[[nodiscard]] inline BusValue bus_byte(std::uint8_t value) {
  return {"y", value};
}
[[nodiscard]] inline BusValue bus_int32(std::int32_t value) {
  return {"i", value};
}
[[nodiscard]] inline BusValue bus_uint32(std::uint32_t value) {
  return {"u", value};
}
[[nodiscard]] inline BusValue bus_uint64(std::uint64_t value) {
  return {"t", value};
}
[[nodiscard]] inline BusValue bus_string(std::string value) {
  return {"s", std::move(value)};
}
[[nodiscard]] inline BusValue bus_path(std::string value) {
  return {"o", std::move(value)};
}
/// @param element the signature of the elements, which an empty array needs too
[[nodiscard]] inline BusValue bus_array(const std::string& element, BusValues elements) {
  return {"a" + element, std::move(elements)};
}
[[nodiscard]] inline BusValue bus_variant(BusValue value) {
  return {"v", BusValues{std::move(value)}};
}

/// The signatures of `values`, one after the other.
[[nodiscard]] inline std::string signature_of(const BusValues& values) {
  std::string signature;
  for (const BusValue& value : values) {
    signature += value.signature;
  }
  return signature;
}
[[nodiscard]] inline BusValue bus_struct(BusValues fields) {
  std::string signature = "(" + signature_of(fields) + ")";
  return {std::move(signature), std::move(fields)};
}
[[nodiscard]] inline BusValue bus_entry(BusValue key, BusValue value) {
  BusValues members{std::move(key), std::move(value)};
  std::string signature = "{" + signature_of(members) + "}";
  return {std::move(signature), std::move(members)};
}

/// How much of `signature` its first complete type takes; 0 when it is none.
[[nodiscard]] std::size_t complete_type_length(std::string_view signature);

}  // namespace killswitch::os
