// Addresses, prefixes, ports and interface indexes: values that cannot be mistaken for one another.
// Numbers are in host byte order; bytes of an address stand as on the wire.
#pragma once

#include "killswitch/base/result.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace killswitch::model {

enum class Family : std::uint8_t { ipv4, ipv6 };

struct IpAddress {
  Family family{Family::ipv4};
  std::array<std::uint8_t, 16> bytes{};  ///< IPv4 uses the first four, the rest is zero

  [[nodiscard]] std::size_t size() const { return family == Family::ipv4 ? 4 : 16; }  ///< in bytes
  [[nodiscard]] std::span<const std::uint8_t> octets() const { return std::span{bytes}.first(size()); }
  auto operator<=>(const IpAddress&) const = default;
};

struct Prefix {
  IpAddress address;       ///< host bits are zero in a parsed prefix
  std::uint8_t length{0};  ///< bits, at most 32 or 128

  [[nodiscard]] bool contains(const IpAddress& candidate) const;
  auto operator<=>(const Prefix&) const = default;
};

/// An address of an interface with the length of its subnet; host bits are kept.
struct InterfaceAddress {
  IpAddress address;
  std::uint8_t prefix_length{0};
  auto operator<=>(const InterfaceAddress&) const = default;
};

struct Port {
  std::uint16_t number{0};
  auto operator<=>(const Port&) const = default;
};

struct IfIndex {
  std::uint32_t number{0};
  auto operator<=>(const IfIndex&) const = default;
};

/// The loopback interface has this index in every network namespace.
/// @source Linux, LOOPBACK_IFINDEX in include/net/flow.h
inline constexpr IfIndex loopback_ifindex{1};

/// Numeric text only ("192.0.2.1", "2001:db8::1"); a scope ("%eth0") is refused.
[[nodiscard]] Result<IpAddress> parse_ip_address(std::string_view text);
/// "192.0.2.0/24"; host bits must be zero.
[[nodiscard]] Result<Prefix> parse_prefix(std::string_view text);
/// "192.0.2.7/24"; host bits are kept.
[[nodiscard]] Result<InterfaceAddress> parse_interface_address(std::string_view text);
/// 1 to 65535.
[[nodiscard]] Result<Port> parse_port(std::string_view text);

/// The subnet that the address is in.
[[nodiscard]] Prefix network_of(const InterfaceAddress& address);

[[nodiscard]] IpAddress make_ip_address(Family family, std::span<const std::uint8_t> octets);

/// 169.254.0.0/16 and fe80::/10. @source RFC 3927, RFC 4291
[[nodiscard]] bool is_link_local(const IpAddress& address);

/// 127.0.0.0/8 and ::1. @source RFC 1122, RFC 4291
[[nodiscard]] bool is_loopback(const IpAddress& address);

[[nodiscard]] std::string to_string(const IpAddress& address);
[[nodiscard]] std::string to_string(const Prefix& prefix);
[[nodiscard]] std::string to_string(const InterfaceAddress& address);

}  // namespace killswitch::model
