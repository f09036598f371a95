// IP packets as bytes, from the network header on.
#pragma once

#include "killswitch/model/packet.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace killswitch::codec {

/// Addresses, protocol behind all extension headers, fragment, ports or ICMP type; `network` and `transport` hold the
/// bytes. Checksums and lengths inside the headers are not looked at.
/// @return nothing for what is no IPv4 or IPv6 packet
[[nodiscard]] std::optional<model::Packet> parse_ip_packet(std::span<const std::uint8_t> bytes);

}  // namespace killswitch::codec
