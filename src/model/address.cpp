#include "killswitch/model/address.hpp"

#include "killswitch/base/text.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <algorithm>

namespace killswitch::model {
namespace {

int to_af(Family family) {
  return family == Family::ipv4 ? AF_INET : AF_INET6;
}

struct Slashed {
  IpAddress address;
  std::uint8_t length{0};
};

Result<Slashed> parse_slashed(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) {
    return fail(fmt::format("'{}' has no /LENGTH", printable(text)));
  }
  auto address = parse_ip_address(text.substr(0, slash));
  if (!address) {
    return fail(address.error());
  }
  const auto bits = static_cast<std::uint32_t>(address->size() * 8);
  const auto length = parse_number(text.substr(slash + 1), bits);
  if (!length) {
    return fail(fmt::format("'{}': the prefix length must be 0 to {}", printable(text), bits));
  }
  return Slashed{*address, static_cast<std::uint8_t>(*length)};
}

bool bit(const IpAddress& address, std::size_t index) {
  return ((address.bytes[index / 8] >> (7U - index % 8)) & 1U) != 0;
}

}  // namespace

bool Prefix::contains(const IpAddress& candidate) const {
  if (candidate.family != address.family) {
    return false;
  }
  for (std::size_t i = 0; i < length; ++i) {
    if (bit(candidate, i) != bit(address, i)) {
      return false;
    }
  }
  return true;
}

Prefix network_of(const InterfaceAddress& address) {
  Prefix network{address.address, address.prefix_length};
  for (std::size_t i = address.prefix_length; i < address.address.size() * 8; ++i) {
    auto& byte = network.address.bytes[i / 8];
    byte = static_cast<std::uint8_t>(byte & ~(1U << (7U - i % 8)));
  }
  return network;
}

IpAddress make_ip_address(Family family, std::span<const std::uint8_t> octets) {
  IpAddress address{family, {}};
  std::copy_n(octets.begin(), std::min(octets.size(), address.size()), address.bytes.begin());
  return address;
}

Result<IpAddress> parse_ip_address(std::string_view text) {
  const std::string copy{text};  // inet_pton wants a terminated string
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    IpAddress address{family, {}};
    if (copy.size() == text.size() && copy.find('\0') == std::string::npos &&
        ::inet_pton(to_af(family), copy.c_str(), address.bytes.data()) == 1) {
      return address;
    }
  }
  return fail(fmt::format("'{}' is not an IPv4 or IPv6 address", printable(text)));
}

Result<Prefix> parse_prefix(std::string_view text) {
  auto slashed = parse_slashed(text);
  if (!slashed) {
    return fail(slashed.error());
  }
  for (std::size_t i = slashed->length; i < slashed->address.size() * 8; ++i) {
    if (bit(slashed->address, i)) {
      return fail(fmt::format("'{}' has bits set behind its length of {}", printable(text), slashed->length));
    }
  }
  return Prefix{slashed->address, slashed->length};
}

Result<InterfaceAddress> parse_interface_address(std::string_view text) {
  auto slashed = parse_slashed(text);
  if (!slashed) {
    return fail(slashed.error());
  }
  return InterfaceAddress{slashed->address, slashed->length};
}

bool is_loopback(const IpAddress& address) {
  constexpr std::uint8_t loopback_network = 127;
  if (address.family == Family::ipv4) {
    return address.bytes[0] == loopback_network;
  }
  IpAddress loopback{Family::ipv6, {}};
  loopback.bytes[15] = 1;
  return address == loopback;
}

bool is_link_local(const IpAddress& address) {
  const auto& bytes = address.bytes;
  return address.family == Family::ipv4 ? bytes[0] == 169 && bytes[1] == 254
                                        : bytes[0] == 0xfe && (bytes[1] & 0xc0U) == 0x80U;
}

Result<Port> parse_port(std::string_view text) {
  const auto number = parse_number(text, 65535);
  if (!number || *number == 0) {
    return fail(fmt::format("'{}' is not a port (1 to 65535)", printable(text)));
  }
  return Port{static_cast<std::uint16_t>(*number)};
}

std::string to_string(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (::inet_ntop(to_af(address.family), address.bytes.data(), text.data(), text.size()) == nullptr) {
    return {};  // cannot happen: the family is one of two and the buffer fits both
  }
  return text.data();
}

std::string to_string(const Prefix& prefix) {
  return fmt::format("{}/{}", to_string(prefix.address), prefix.length);
}

std::string to_string(const InterfaceAddress& address) {
  return fmt::format("{}/{}", to_string(address.address), address.prefix_length);
}

}  // namespace killswitch::model
