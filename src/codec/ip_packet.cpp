#include "killswitch/codec/ip_packet.hpp"

namespace killswitch::codec {
namespace {

using namespace model;
using Span = std::span<const std::uint8_t>;

std::uint16_t two_bytes(Span bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

/// Ports or the type of ICMP, where there is a transport header.
void read_transport(Packet& packet, Span bytes) {
  constexpr std::uint8_t icmp = 1, tcp = 6, udp = 17, icmpv6 = 58, sctp = 132;
  packet.transport.assign(bytes.begin(), bytes.end());
  if (packet.fragment_offset != 0) {
    return;
  }
  const bool ports = packet.protocol == tcp || packet.protocol == udp || packet.protocol == sctp;
  if (ports && bytes.size() >= 4) {
    packet.source_port = Port{two_bytes(bytes, 0)};
    packet.destination_port = Port{two_bytes(bytes, 2)};
  } else if ((packet.protocol == icmp || packet.protocol == icmpv6) && !bytes.empty()) {
    packet.icmp_type = bytes[0];
  }
}

bool read_ipv4(Packet& packet, Span bytes) {
  const std::size_t header = bytes.size() < 20 ? 0 : (bytes[0] & 0x0fU) * std::size_t{4};
  if (header < 20 || header > bytes.size()) {
    return false;
  }
  packet.protocol = bytes[9];
  packet.hop_limit = bytes[8];
  packet.fragment_offset = static_cast<std::uint16_t>((two_bytes(bytes, 6) & 0x1fffU) * 8);
  packet.more_fragments = (bytes[6] & 0x20U) != 0;
  packet.source = make_ip_address(Family::ipv4, bytes.subspan(12, 4));
  packet.destination = make_ip_address(Family::ipv4, bytes.subspan(16, 4));
  read_transport(packet, bytes.subspan(header));
  return true;
}

bool read_ipv6(Packet& packet, Span bytes) {
  constexpr std::uint8_t hop_by_hop = 0, routing = 43, fragment = 44, destination = 60;
  if (bytes.size() < 40) {
    return false;
  }
  packet.protocol = bytes[6];
  packet.hop_limit = bytes[7];
  packet.source = make_ip_address(Family::ipv6, bytes.subspan(8, 16));
  packet.destination = make_ip_address(Family::ipv6, bytes.subspan(24, 16));
  std::size_t at = 40;
  const auto is_extension = [](std::uint8_t number) {
    return number == hop_by_hop || number == routing || number == fragment || number == destination;
  };
  while (is_extension(packet.protocol) && at + 8 <= bytes.size() && packet.fragment_offset == 0) {
    const bool is_fragment = packet.protocol == fragment;
    if (is_fragment) {
      packet.fragment_offset = static_cast<std::uint16_t>(two_bytes(bytes, at + 2) & 0xfff8U);
      packet.more_fragments = (bytes[at + 3] & 1U) != 0;
    }
    packet.protocol = bytes[at];
    at += is_fragment ? 8 : (bytes[at + 1] + std::size_t{1}) * 8;
  }
  read_transport(packet, at < bytes.size() ? bytes.subspan(at) : Span{});
  return true;
}

}  // namespace

std::optional<Packet> parse_ip_packet(Span bytes) {
  Packet packet;
  packet.network.assign(bytes.begin(), bytes.end());
  const bool read = bytes.empty()         ? false
                    : bytes[0] >> 4U == 4 ? read_ipv4(packet, bytes)
                    : bytes[0] >> 4U == 6 ? read_ipv6(packet, bytes)
                                          : false;
  return read ? std::optional{std::move(packet)} : std::nullopt;
}

}  // namespace killswitch::codec
