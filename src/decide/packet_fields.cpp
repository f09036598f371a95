#include "packet_fields.hpp"

#include <algorithm>
#include <array>

namespace killswitch::decide {
namespace {

using namespace model;

// @source NFPROTO_* in linux/netfilter.h; numbers of EtherTypes in linux/if_ether.h
constexpr std::uint32_t nfproto_ipv4 = 2;
constexpr std::uint32_t nfproto_netdev = 5;
constexpr std::uint32_t nfproto_ipv6 = 10;
constexpr std::uint32_t ether_type_ipv4 = 0x0800;
constexpr std::uint32_t ether_type_ipv6 = 0x86dd;
constexpr std::uint8_t protocol_icmp = 1;
constexpr std::uint8_t protocol_icmpv6 = 58;

std::optional<Value> number(std::optional<std::uint32_t> value) {
  return value ? std::optional<Value>{*value} : std::nullopt;
}

std::optional<Value> text(const std::string& value) {
  return value.empty() ? std::nullopt : std::optional<Value>{value};
}

/// The kernel loads 0 where there is no such interface.
Value interface_number(const std::optional<IfIndex>& index) {
  return index ? index->number : 0U;
}

bool is_ip(const Packet& packet) {
  return packet.ether_type == 0;
}

bool is_ipv4(const Packet& packet) {
  return is_ip(packet) && packet.destination.family == Family::ipv4;
}

bool is_ipv6(const Packet& packet) {
  return is_ip(packet) && packet.destination.family == Family::ipv6;
}

// --- fields that are bytes of the packet ---------------------------------------------------------------------------

std::uint32_t ether_type_of(const Packet& packet) {
  if (!is_ip(packet)) {
    return packet.ether_type;
  }
  return is_ipv4(packet) ? ether_type_ipv4 : ether_type_ipv6;
}

/// At egress a link header stands before every packet; where it is not known, it is an honest one.
Bytes link_bytes(const Packet& packet) {
  if (!packet.link.empty() || packet.hook != Hook::egress) {
    return packet.link;
  }
  Bytes header(12, 0);  // two hardware addresses
  const Bytes type = wire_number(ether_type_of(packet), 2);
  header.insert(header.end(), type.begin(), type.end());
  return header;
}

/// Loads that the kernel has a short way for.
/// @source nft_payload_select_ops(), net/netfilter/nft_payload.c
bool is_quick(const Operand& operand) {
  const bool small = operand.length == 1 || operand.length == 2 || operand.length == 4;
  return small && operand.offset % operand.length == 0;
}

/// Behind the first fragment stands no transport header. The kernel forgets that on its short way: it reads what is
/// there instead, and for IPv6 what stands at the very beginning of the packet.
/// @source nft_payload_fast_eval(), ipv6_find_hdr(); measured on Linux 6.18
Bytes behind_first_fragment(const Packet& packet, const Operand& operand) {
  if (!is_quick(operand)) {
    return {};
  }
  if (is_ipv4(packet)) {
    return transport_bytes(packet);
  }
  Bytes bytes = packet.hook == Hook::egress ? link_bytes(packet) : Bytes{};
  const Bytes network = network_bytes(packet);
  bytes.insert(bytes.end(), network.begin(), network.end());
  return bytes;
}

Bytes bytes_from_base(const Packet& packet, const Operand& operand) {
  switch (operand.base) {
    case PayloadBase::link: return link_bytes(packet);
    case PayloadBase::network: return network_bytes(packet);
    case PayloadBase::transport: break;
  }
  if (!is_ip(packet)) {
    return {};
  }
  return packet.fragment_offset == 0 ? transport_bytes(packet) : behind_first_fragment(packet, operand);
}

std::optional<Bytes> bytes_at(const Packet& packet, const Operand& operand) {
  const Bytes bytes = bytes_from_base(packet, operand);
  const std::size_t end = std::size_t{operand.offset} + operand.length;
  if (end > bytes.size()) {
    return std::nullopt;
  }
  const auto first = bytes.begin() + operand.offset;
  return Bytes{first, first + operand.length};
}

struct NamedBytes {
  Field field;
  Operand where;
};

constexpr Operand network(std::uint16_t offset, std::uint16_t length) {
  return {Field::payload, PayloadBase::network, offset, length};
}

constexpr Operand transport(std::uint16_t offset, std::uint16_t length) {
  return {Field::payload, PayloadBase::transport, offset, length};
}

constexpr std::array named_bytes{
    NamedBytes{Field::ip_saddr, network(12, 4)},     NamedBytes{Field::ip_daddr, network(16, 4)},
    NamedBytes{Field::ip6_saddr, network(8, 16)},    NamedBytes{Field::ip6_daddr, network(24, 16)},
    NamedBytes{Field::ip6_hoplimit, network(7, 1)},  NamedBytes{Field::icmp_type, transport(0, 1)},
    NamedBytes{Field::icmpv6_type, transport(0, 1)}, NamedBytes{Field::th_sport, transport(0, 2)},
    NamedBytes{Field::th_dport, transport(2, 2)},
};

std::optional<Value> icmp_type_of(const Packet& packet, std::uint8_t protocol) {
  const bool given = packet.protocol == protocol && packet.icmp_type;
  return given ? std::optional<Value>{std::uint32_t{*packet.icmp_type}} : std::nullopt;
}

std::optional<Value> port_of(const std::optional<Port>& port) {
  return port ? std::optional<Value>{std::uint32_t{port->number}} : std::nullopt;
}

/// What the packet says itself, without its bytes.
std::optional<Value> stated(const Packet& packet, Field field) {
  const bool shows_transport = is_ip(packet) && packet.fragment_offset == 0;
  const auto if_that = [](bool condition, const Value& value) {
    return condition ? std::optional<Value>{value} : std::nullopt;
  };
  if (field == Field::ip_saddr || field == Field::ip_daddr) {
    return if_that(is_ipv4(packet), field == Field::ip_saddr ? packet.source : packet.destination);
  }
  if (field == Field::ip6_saddr || field == Field::ip6_daddr) {
    return if_that(is_ipv6(packet), field == Field::ip6_saddr ? packet.source : packet.destination);
  }
  if (field == Field::ip6_hoplimit) {
    return if_that(is_ipv6(packet), std::uint32_t{packet.hop_limit});
  }
  if (!shows_transport) {
    return std::nullopt;
  }
  if (field == Field::th_sport || field == Field::th_dport) {
    return port_of(field == Field::th_sport ? packet.source_port : packet.destination_port);
  }
  return icmp_type_of(packet, field == Field::icmp_type ? protocol_icmp : protocol_icmpv6);
}

std::optional<Value> load_named_bytes(const Packet& packet, Field field) {
  if (auto value = stated(packet, field)) {
    return value;
  }
  const auto named = std::find_if(named_bytes.begin(), named_bytes.end(),
                                  [field](const NamedBytes& candidate) { return candidate.field == field; });
  const auto bytes = named == named_bytes.end() ? std::nullopt : bytes_at(packet, named->where);
  if (!bytes) {
    return std::nullopt;
  }
  switch (bytes->size()) {
    case 4: return Value{make_ip_address(Family::ipv4, *bytes)};
    case 16: return Value{make_ip_address(Family::ipv6, *bytes)};
    default: return Value{number_of(*bytes)};
  }
}

std::uint32_t nfproto_of(const Packet& packet) {
  if (packet.hook == Hook::egress) {
    return nfproto_netdev;
  }
  return is_ipv4(packet) ? nfproto_ipv4 : nfproto_ipv6;
}

std::optional<Bytes> wire_form(const Value& value, std::size_t width) {
  if (const auto* held = std::get_if<std::uint32_t>(&value)) {
    return wire_number(*held, width);
  }
  if (const auto* held = std::get_if<IpAddress>(&value)) {
    return Bytes{held->octets().begin(), held->octets().end()};
  }
  if (const auto* held = std::get_if<Bytes>(&value)) {
    return *held;
  }
  return std::nullopt;
}

std::optional<IpAddress> address_of(const Value& value) {
  if (const auto* held = std::get_if<IpAddress>(&value)) {
    return *held;
  }
  const auto* bytes = std::get_if<Bytes>(&value);
  if (bytes == nullptr || (bytes->size() != 4 && bytes->size() != 16)) {
    return std::nullopt;
  }
  return make_ip_address(bytes->size() == 4 ? Family::ipv4 : Family::ipv6, *bytes);
}

}  // namespace

std::optional<Value> load(const Packet& packet, const Operand& operand) {
  switch (operand.field) {
    case Field::iif: return interface_number(packet.iif);
    case Field::oif: return interface_number(packet.oif);
    case Field::iifkind: return text(packet.iifkind);
    case Field::oifkind: return text(packet.oifkind);
    case Field::nfproto: return Value{nfproto_of(packet)};
    case Field::ether_type: return Value{ether_type_of(packet)};
    case Field::l4proto: return is_ip(packet) ? std::optional<Value>{std::uint32_t{packet.protocol}} : std::nullopt;
    case Field::mark: return Value{packet.mark};
    case Field::skuid: return number(packet.uid);
    case Field::socket_mark: return is_ip(packet) ? number(packet.socket_mark) : std::nullopt;
    case Field::fib_daddr_iif_type: return is_ip(packet) ? std::optional<Value>{packet.fib_type} : std::nullopt;
    case Field::ct_state: return is_ip(packet) ? std::optional<Value>{packet.ct_state} : std::nullopt;
    case Field::ip_saddr:
    case Field::ip_daddr:
    case Field::ip6_saddr:
    case Field::ip6_daddr:
    case Field::ip6_hoplimit:
    case Field::icmp_type:
    case Field::icmpv6_type:
    case Field::th_sport:
    case Field::th_dport: return load_named_bytes(packet, operand.field);
    case Field::payload: {
      auto bytes = bytes_at(packet, operand);
      return bytes ? std::optional<Value>{std::move(*bytes)} : std::nullopt;
    }
  }
  return std::nullopt;
}

void apply_mask(Value& value, const Value& mask) {
  const auto and_bytes = [](std::span<std::uint8_t> bytes, const Bytes& bits) {
    for (std::size_t i = 0; i < std::min(bytes.size(), bits.size()); ++i) {
      bytes[i] = static_cast<std::uint8_t>(bytes[i] & bits[i]);
    }
  };
  if (auto* held = std::get_if<std::uint32_t>(&value)) {
    if (const auto bits = wire_form(mask, sizeof *held)) {
      *held &= number_of(*bits);
    }
  } else if (auto* address = std::get_if<IpAddress>(&value)) {
    if (const auto bits = wire_form(mask, address->size())) {
      and_bytes(address->bytes, *bits);
    }
  } else if (auto* bytes = std::get_if<Bytes>(&value)) {
    if (const auto bits = wire_form(mask, bytes->size())) {
      and_bytes(*bytes, *bits);
    }
  }
}

bool same(const Value& loaded, const Value& element) {
  if (const auto* prefix = std::get_if<Prefix>(&element)) {
    const auto held = address_of(loaded);
    return held && prefix->contains(*held);
  }
  if (loaded.index() == element.index()) {
    return loaded == element;
  }
  const auto* raw = std::get_if<Bytes>(&loaded);
  const auto* given = std::get_if<Bytes>(&element);
  if (raw == nullptr && given == nullptr) {
    return false;
  }
  const std::size_t width = raw != nullptr ? raw->size() : given->size();
  const auto left = wire_form(loaded, width);
  return left && left == wire_form(element, width);
}

}  // namespace killswitch::decide
