// The vocabulary of the ruleset as nf_tables knows it: one table of fields and one of key types.
//
// The netlink batch, the decoder of the kernel's dumps and the nft(8) text all read these two tables, so that a field
// has one width, one byte order and one name. Numbers of the model are in host byte order; here alone they are swapped.
// @source Linux include/uapi/linux/netfilter/nf_tables.h; nftables src/{meta,proto,datatype}.c
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace killswitch::codec {

enum class Source : std::uint8_t { meta, payload, ct, fib, socket };
enum class ValueKind : std::uint8_t { number, ipv4, ipv6, text, bytes };
enum class ByteOrder : std::uint8_t { host, network };
/// What an earlier match of the same rule must have stated for the field to mean anything; nothing adds it by itself.
enum class Dependency : std::uint8_t { none, ipv4, ipv6, icmp, icmpv6, transport };

/// How a value stands in a register or in the key of a set.
struct ValueForm {
  ValueKind kind{ValueKind::number};
  ByteOrder order{ByteOrder::host};
  std::uint8_t width{4};  ///< bytes
  bool operator==(const ValueForm&) const = default;
};

struct FieldInfo {
  model::Field field;
  std::string_view name;  ///< nft(8)
  Source source;
  std::uint32_t key;        ///< NFT_META_*, NFT_CT_*, or the flags of fib; for payload the base (NFT_PAYLOAD_*)
  std::uint16_t offset{0};  ///< payload: bytes
  ValueForm form;
  Dependency needs{Dependency::none};
};

struct KeyTypeInfo {
  model::KeyType type;
  std::string_view name;  ///< nft(8)
  std::uint32_t number;   ///< nft's data type, which the kernel only keeps for nft
  ValueForm form;
};

[[nodiscard]] std::span<const FieldInfo> all_fields();
[[nodiscard]] const FieldInfo& field_info(model::Field field);
[[nodiscard]] std::span<const KeyTypeInfo> all_key_types();
[[nodiscard]] const KeyTypeInfo& key_type_info(model::KeyType type);

/// The form of what `operand` loads: a raw payload has the width that the operand says.
[[nodiscard]] ValueForm form_of(const model::Operand& operand);
/// NFT_PAYLOAD_*_HEADER
[[nodiscard]] std::uint32_t payload_base_number(model::PayloadBase base);
[[nodiscard]] std::optional<model::PayloadBase> payload_base_of(std::uint32_t number);

/// Bytes as they stand in registers; no data of nf_tables is longer.
/// @source NFT_DATA_VALUE_MAXLEN, nf_tables.h
struct EncodedValue {
  std::array<std::uint8_t, 64> bytes{};
  std::uint8_t size{0};
  [[nodiscard]] std::span<const std::uint8_t> view() const { return std::span{bytes}.first(size); }
};

/// @return nothing when `value` is of another kind or does not fit. A prefix gives its address.
[[nodiscard]] std::optional<EncodedValue> encode_value(const ValueForm& form, const model::Value& value);
/// @return nothing when `bytes` is not as wide as `form` says, or is a text with bytes behind its end.
[[nodiscard]] std::optional<model::Value> decode_value(const ValueForm& form, std::span<const std::uint8_t> bytes);

/// The mask of a prefix length.
[[nodiscard]] EncodedValue encode_prefix_mask(std::uint8_t length, std::uint8_t width);
/// @return the length when `mask` is ones followed by zeros.
[[nodiscard]] std::optional<std::uint8_t> prefix_length_of(std::span<const std::uint8_t> mask);

/// Parts of a concatenation start at multiples of 4 bytes.
[[nodiscard]] constexpr std::uint32_t padded(std::uint32_t width) {
  return (width + 3U) & ~3U;
}

/// What nft(8) can hold between quotes: no quotes, backslashes or control characters, at most 127 bytes.
/// @source NFTNL_UDATA_COMMENT_MAXLEN, libnftnl udata.h
[[nodiscard]] std::string safe_comment(std::string_view comment);

/// @return in words what keeps `name` from being the name of a table, chain, set or counter in nft(8).
[[nodiscard]] std::optional<std::string> name_problem(std::string_view name);

/// NFT_TABLE_F_*: newer kernels' flags that older headers lack.
inline constexpr std::uint32_t table_flag_dormant = 0x1;
inline constexpr std::uint32_t table_flag_owner = 0x2;
inline constexpr std::uint32_t table_flag_persist = 0x4;

}  // namespace killswitch::codec
