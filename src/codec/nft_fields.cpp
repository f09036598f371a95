#include "killswitch/codec/nft_fields.hpp"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>

#include <fmt/format.h>
#include <algorithm>
#include <cstring>

namespace killswitch::codec {
namespace {

using model::Field;
using model::KeyType;

constexpr ValueForm host8{ValueKind::number, ByteOrder::host, 1};
constexpr ValueForm host32{ValueKind::number, ByteOrder::host, 4};
constexpr ValueForm net16{ValueKind::number, ByteOrder::network, 2};
constexpr ValueForm address4{ValueKind::ipv4, ByteOrder::network, 4};
constexpr ValueForm address6{ValueKind::ipv6, ByteOrder::network, 16};
constexpr ValueForm link_kind{ValueKind::text, ByteOrder::host, IFNAMSIZ};

constexpr auto network_header = NFT_PAYLOAD_NETWORK_HEADER;
constexpr auto transport_header = NFT_PAYLOAD_TRANSPORT_HEADER;
constexpr auto fib_daddr_iif = NFTA_FIB_F_DADDR | NFTA_FIB_F_IIF;

// In the order of model::Field.
constexpr std::array fields{
    FieldInfo{Field::iif, "iif", Source::meta, NFT_META_IIF, 0, host32, Dependency::none},
    FieldInfo{Field::oif, "oif", Source::meta, NFT_META_OIF, 0, host32, Dependency::none},
    FieldInfo{Field::iifkind, "meta iifkind", Source::meta, NFT_META_IIFKIND, 0, link_kind, Dependency::none},
    FieldInfo{Field::oifkind, "meta oifkind", Source::meta, NFT_META_OIFKIND, 0, link_kind, Dependency::none},
    FieldInfo{Field::nfproto, "meta nfproto", Source::meta, NFT_META_NFPROTO, 0, host8, Dependency::none},
    FieldInfo{Field::l4proto, "meta l4proto", Source::meta, NFT_META_L4PROTO, 0, host8, Dependency::none},
    FieldInfo{Field::mark, "meta mark", Source::meta, NFT_META_MARK, 0, host32, Dependency::none},
    FieldInfo{Field::skuid, "meta skuid", Source::meta, NFT_META_SKUID, 0, host32, Dependency::none},
    FieldInfo{Field::ether_type, "meta protocol", Source::meta, NFT_META_PROTOCOL, 0, net16, Dependency::none},
    FieldInfo{Field::ip_saddr, "ip saddr", Source::payload, network_header, 12, address4, Dependency::ipv4},
    FieldInfo{Field::ip_daddr, "ip daddr", Source::payload, network_header, 16, address4, Dependency::ipv4},
    FieldInfo{Field::ip6_saddr, "ip6 saddr", Source::payload, network_header, 8, address6, Dependency::ipv6},
    FieldInfo{Field::ip6_daddr, "ip6 daddr", Source::payload, network_header, 24, address6, Dependency::ipv6},
    FieldInfo{Field::ip6_hoplimit, "ip6 hoplimit", Source::payload, network_header, 7, host8, Dependency::ipv6},
    FieldInfo{Field::icmp_type, "icmp type", Source::payload, transport_header, 0, host8, Dependency::icmp},
    FieldInfo{Field::icmpv6_type, "icmpv6 type", Source::payload, transport_header, 0, host8, Dependency::icmpv6},
    FieldInfo{Field::th_sport, "th sport", Source::payload, transport_header, 0, net16, Dependency::transport},
    FieldInfo{Field::th_dport, "th dport", Source::payload, transport_header, 2, net16, Dependency::transport},
    FieldInfo{Field::fib_daddr_iif_type, "fib daddr . iif type", Source::fib, fib_daddr_iif, 0, host32,
              Dependency::none},
    FieldInfo{Field::ct_state, "ct state", Source::ct, NFT_CT_STATE, 0, host32, Dependency::none},
    FieldInfo{Field::socket_mark, "socket mark", Source::socket, NFT_SOCKET_MARK, 0, host32, Dependency::none},
    FieldInfo{Field::payload, "@", Source::payload, transport_header, 0,
              ValueForm{ValueKind::bytes, ByteOrder::network, 0}, Dependency::none},
};

// Numbers: enum datatypes, nftables include/datatype.h.
constexpr std::array key_types{
    KeyTypeInfo{KeyType::ifindex, "iface_index", 20, host32},
    KeyTypeInfo{KeyType::ipv4_addr, "ipv4_addr", 7, address4},
    KeyTypeInfo{KeyType::ipv6_addr, "ipv6_addr", 8, address6},
    KeyTypeInfo{KeyType::inet_proto, "inet_proto", 12, host8},
    KeyTypeInfo{KeyType::inet_service, "inet_service", 13, net16},
    KeyTypeInfo{KeyType::mark, "mark", 19, host32},
    KeyTypeInfo{KeyType::uid, "uid", 24, host32},
};

// Words that nft's scanner would not read as a name, of those that a chain or set could plausibly be called.
// @source nftables src/scanner.l
constexpr std::array reserved{
    "accept",   "add",     "all",      "chain",   "comment", "continue", "counter",  "counters",   "ct",    "delete",
    "device",   "drop",    "dst",      "element", "eth",     "ether",    "fib",      "flow",       "flush", "fwd",
    "goto",     "hook",    "icmp",     "icmpv6",  "iif",     "in",       "inet",     "insert",     "ip",    "ip6",
    "jump",     "last",    "limit",    "list",    "log",     "map",      "mark",     "masquerade", "meta",  "meter",
    "netdev",   "notrack", "numgen",   "osf",     "out",     "policy",   "position", "priority",   "queue", "quota",
    "redirect", "reject",  "rename",   "replace", "reset",   "return",   "rt",       "rule",       "set",   "size",
    "snat",     "socket",  "synproxy", "table",   "tcp",     "th",       "timeout",  "tproxy",     "type",  "typeof",
    "udp",      "update",  "vlan",     "vmap",    "with",    "xt",       "arp",      "dnat",       "dup",   "flags",
    "saddr",    "daddr",   "sport",    "dport",   "state",   "exists",   "missing",
};

std::optional<EncodedValue> encode_number(const ValueForm& form, std::uint32_t number) {
  const std::size_t width = form.width;
  if (width == 0 || width > 4 || (width < 4 && (number >> (8 * width)) != 0)) {
    return std::nullopt;
  }
  EncodedValue encoded;
  encoded.size = form.width;
  for (std::size_t i = 0; i < width; ++i) {
    const std::size_t shift = 8 * (width - 1 - i);
    encoded.bytes[i] = static_cast<std::uint8_t>(number >> shift);
  }
  if (form.order == ByteOrder::host && htonl(1) != 1) {
    std::reverse(encoded.bytes.begin(), encoded.bytes.begin() + form.width);
  }
  return encoded;
}

std::uint32_t decode_number(const ValueForm& form, std::span<const std::uint8_t> bytes) {
  std::uint32_t number = 0;
  const bool little = form.order == ByteOrder::host && htonl(1) != 1;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    number = (number << 8U) | bytes[little ? bytes.size() - 1 - i : i];
  }
  return number;
}

std::optional<EncodedValue> encode_bytes(std::span<const std::uint8_t> bytes, std::size_t width) {
  EncodedValue encoded;
  if (bytes.size() != width || width == 0 || width > encoded.bytes.size()) {
    return std::nullopt;
  }
  std::copy(bytes.begin(), bytes.end(), encoded.bytes.begin());
  encoded.size = static_cast<std::uint8_t>(width);
  return encoded;
}

std::optional<EncodedValue> encode_address(const ValueForm& form, const model::IpAddress& address) {
  const auto wanted = address.family == model::Family::ipv4 ? ValueKind::ipv4 : ValueKind::ipv6;
  if (form.kind != wanted) {
    return std::nullopt;
  }
  return encode_bytes(address.octets(), form.width);
}

std::optional<EncodedValue> encode_text(const ValueForm& form, const std::string& text) {
  if (form.kind != ValueKind::text || text.empty() || text.size() >= form.width ||
      text.find('\0') != std::string::npos) {
    return std::nullopt;
  }
  EncodedValue encoded;
  std::copy(text.begin(), text.end(), encoded.bytes.begin());
  encoded.size = form.width;
  return encoded;
}

std::optional<model::Value> decode_text(std::span<const std::uint8_t> bytes) {
  const auto end = std::find(bytes.begin(), bytes.end(), std::uint8_t{0});
  if (std::any_of(end, bytes.end(), [](std::uint8_t byte) { return byte != 0; })) {
    return std::nullopt;
  }
  return std::string{bytes.begin(), end};
}

}  // namespace

std::span<const FieldInfo> all_fields() {
  return fields;
}

const FieldInfo& field_info(model::Field field) {
  return fields.at(static_cast<std::size_t>(field));
}

std::span<const KeyTypeInfo> all_key_types() {
  return key_types;
}

const KeyTypeInfo& key_type_info(model::KeyType type) {
  return key_types.at(static_cast<std::size_t>(type));
}

ValueForm form_of(const model::Operand& operand) {
  ValueForm form = field_info(operand.field).form;
  if (operand.field == Field::payload) {
    form.width = static_cast<std::uint8_t>(std::min<std::uint16_t>(operand.length, 255));
  }
  return form;
}

std::uint32_t payload_base_number(model::PayloadBase base) {
  switch (base) {
    case model::PayloadBase::link: return NFT_PAYLOAD_LL_HEADER;
    case model::PayloadBase::network: return network_header;
    case model::PayloadBase::transport: break;
  }
  return transport_header;
}

std::optional<model::PayloadBase> payload_base_of(std::uint32_t number) {
  switch (number) {
    case NFT_PAYLOAD_LL_HEADER: return model::PayloadBase::link;
    case network_header: return model::PayloadBase::network;
    case transport_header: return model::PayloadBase::transport;
    default: return std::nullopt;
  }
}

std::optional<EncodedValue> encode_value(const ValueForm& form, const model::Value& value) {
  if (const auto* number = std::get_if<std::uint32_t>(&value)) {
    // Raw bytes may be given as a number too: it then stands as on the wire.
    const bool fits = form.kind == ValueKind::number || form.kind == ValueKind::bytes;
    return fits ? encode_number(form, *number) : std::nullopt;
  }
  if (const auto* address = std::get_if<model::IpAddress>(&value)) {
    return encode_address(form, *address);
  }
  if (const auto* prefix = std::get_if<model::Prefix>(&value)) {
    return encode_address(form, prefix->address);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return encode_text(form, *text);
  }
  return encode_bytes(std::get<model::Bytes>(value), form.width);
}

std::optional<model::Value> decode_value(const ValueForm& form, std::span<const std::uint8_t> bytes) {
  if (bytes.size() != form.width) {
    return std::nullopt;
  }
  switch (form.kind) {
    case ValueKind::number: return decode_number(form, bytes);
    case ValueKind::ipv4: return model::make_ip_address(model::Family::ipv4, bytes);
    case ValueKind::ipv6: return model::make_ip_address(model::Family::ipv6, bytes);
    case ValueKind::text: return decode_text(bytes);
    case ValueKind::bytes: break;
  }
  return model::Bytes{bytes.begin(), bytes.end()};
}

EncodedValue encode_prefix_mask(std::uint8_t length, std::uint8_t width) {
  EncodedValue mask;
  mask.size = width;
  for (std::size_t bit = 0; bit < length && bit < std::size_t{width} * 8; ++bit) {
    mask.bytes[bit / 8] = static_cast<std::uint8_t>(mask.bytes[bit / 8] | (0x80U >> (bit % 8)));
  }
  return mask;
}

std::optional<std::uint8_t> prefix_length_of(std::span<const std::uint8_t> mask) {
  std::size_t length = 0;
  while (length < mask.size() * 8 && (mask[length / 8] & (0x80U >> (length % 8))) != 0) {
    ++length;
  }
  for (std::size_t bit = length; bit < mask.size() * 8; ++bit) {
    if ((mask[bit / 8] & (0x80U >> (bit % 8))) != 0) {
      return std::nullopt;
    }
  }
  return static_cast<std::uint8_t>(length);
}

std::string safe_comment(std::string_view comment) {
  std::string safe{comment.substr(0, 127)};
  for (char& character : safe) {
    if (character < ' ' || character > '~' || character == '"' || character == '\\') {
      character = '?';
    }
  }
  return safe;
}

std::optional<std::string> name_problem(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto inner = [letter](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  };
  if (name.empty() || name.size() > 63) {
    return "a name must have 1 to 63 characters";
  }
  if (!letter(name.front()) || !std::all_of(name.begin(), name.end(), inner)) {
    return "a name must be letters, digits and '_-.', a letter first";
  }
  if (std::find(reserved.begin(), reserved.end(), name) != reserved.end()) {
    return "the name is a reserved word of nft(8)";
  }
  return std::nullopt;
}

}  // namespace killswitch::codec
