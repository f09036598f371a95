#include "killswitch/model/packet.hpp"

#include <algorithm>
#include <span>

namespace killswitch::model {
namespace {

constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint8_t protocol_udp = 17;
constexpr std::uint8_t fragment_header = 44;
constexpr std::size_t tcp_header_size = 20;
constexpr std::size_t udp_header_size = 8;
constexpr std::size_t icmp_header_size = 8;

void put(Bytes& bytes, std::size_t offset, std::uint32_t number, std::size_t width) {
  const Bytes wire = wire_number(number, width);
  std::copy(wire.begin(), wire.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
}

void append(Bytes& bytes, std::span<const std::uint8_t> more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

bool is_fragment(const Packet& packet) {
  return packet.fragment_offset != 0 || packet.more_fragments;
}

Bytes ports_header(const Packet& packet) {
  Bytes header(packet.protocol == protocol_tcp ? tcp_header_size : udp_header_size, 0);
  put(header, 0, packet.source_port ? packet.source_port->number : 0, 2);
  put(header, 2, packet.destination_port ? packet.destination_port->number : 0, 2);
  if (packet.protocol == protocol_tcp) {
    header[12] = 0x50;  // five words long
  }
  if (packet.protocol == protocol_udp) {
    put(header, 4, udp_header_size, 2);
  }
  return header;
}

Bytes ipv4_header(const Packet& packet, std::size_t payload) {
  Bytes header(20, 0);
  header[0] = 0x45;  // version 4, five words long
  put(header, 2, static_cast<std::uint32_t>(header.size() + payload), 2);
  put(header, 6, packet.fragment_offset / 8U | (packet.more_fragments ? 0x2000U : 0U), 2);
  header[8] = packet.hop_limit;
  header[9] = packet.protocol;
  std::copy_n(packet.source.bytes.begin(), 4, header.begin() + 12);
  std::copy_n(packet.destination.bytes.begin(), 4, header.begin() + 16);
  return header;
}

Bytes ipv6_header(const Packet& packet, std::size_t payload) {
  Bytes header(40, 0);
  header[0] = 0x60;  // version 6
  header[6] = is_fragment(packet) ? fragment_header : packet.protocol;
  header[7] = packet.hop_limit;
  std::copy_n(packet.source.bytes.begin(), 16, header.begin() + 8);
  std::copy_n(packet.destination.bytes.begin(), 16, header.begin() + 24);
  if (is_fragment(packet)) {
    Bytes extension(8, 0);
    extension[0] = packet.protocol;
    put(extension, 2, packet.fragment_offset | (packet.more_fragments ? 1U : 0U), 2);
    append(header, extension);
  }
  put(header, 4, static_cast<std::uint32_t>(header.size() - 40 + payload), 2);
  return header;
}

}  // namespace

Bytes wire_number(std::uint32_t number, std::size_t width) {
  Bytes wire(width, 0);
  for (std::size_t i = width; i > 0 && number != 0; --i, number >>= 8U) {
    wire[i - 1] = static_cast<std::uint8_t>(number);
  }
  return wire;
}

std::uint32_t number_of(const Bytes& wire) {
  std::uint32_t number = 0;
  for (const auto byte : wire) {
    number = number << 8U | byte;
  }
  return number;
}

Bytes transport_bytes(const Packet& packet) {
  if (packet.ether_type != 0) {
    return {};
  }
  if (!packet.transport.empty() || packet.fragment_offset != 0) {
    return packet.transport;
  }
  if (packet.icmp_type) {
    Bytes header(icmp_header_size, 0);
    header[0] = *packet.icmp_type;
    return header;
  }
  return packet.source_port || packet.destination_port ? ports_header(packet) : Bytes{};
}

Bytes network_bytes(const Packet& packet) {
  if (!packet.network.empty() || packet.ether_type != 0) {
    return packet.network;
  }
  const Bytes transport = transport_bytes(packet);
  const bool ipv4 = packet.destination.family == Family::ipv4;
  Bytes bytes = ipv4 ? ipv4_header(packet, transport.size()) : ipv6_header(packet, transport.size());
  append(bytes, transport);
  return bytes;
}

}  // namespace killswitch::model
