#include "leak_table_parts.hpp"

#include <algorithm>

namespace killswitch::test {

Packet plain(const char* to, std::uint8_t protocol, std::uint16_t port) {
  Packet packet;
  packet.destination = ip(to);
  packet.source = ip(packet.destination.family == Family::ipv4 ? own4 : own6);
  packet.protocol = protocol;
  packet.uid = 0;
  if (port != 0) {
    packet.source_port = Port{40000};
    packet.destination_port = Port{port};
  }
  if (protocol == tcp) {
    packet.transport.assign(20, 0);
    packet.transport[0] = 40000 >> 8;
    packet.transport[1] = 40000 & 0xff;
    packet.transport[2] = static_cast<std::uint8_t>(port >> 8U);
    packet.transport[3] = static_cast<std::uint8_t>(port);
    packet.transport[13] = syn;
  }
  return packet;
}

Packet ports(Packet packet, std::uint16_t from, std::uint16_t to, std::uint8_t flags) {
  packet.source_port = Port{from};
  packet.destination_port = Port{to};
  if (packet.protocol == tcp) {
    packet.transport = {static_cast<std::uint8_t>(from >> 8U), static_cast<std::uint8_t>(from),
                        static_cast<std::uint8_t>(to >> 8U), static_cast<std::uint8_t>(to)};
    packet.transport.resize(20, 0);
    packet.transport[13] = flags;
  }
  return packet;
}

Packet message(const char* to, std::uint8_t type, std::uint8_t hop_limit) {
  Packet packet = plain(to, ip(to).family == Family::ipv4 ? icmp : icmpv6);
  packet.icmp_type = type;
  packet.hop_limit = hop_limit;
  return packet;
}

Packet marked(Packet packet) {
  packet.mark = mark;
  return packet;
}

Packet by_user(Packet packet, std::uint32_t uid) {
  packet.uid = uid;
  return packet;
}

Packet behind_first(Packet packet) {
  packet.fragment_offset = 1480;
  packet.source_port.reset();
  packet.destination_port.reset();
  packet.transport.clear();
  return packet;
}

Packet from(const char* source, Packet packet) {
  packet.destination = packet.source;
  packet.source = ip(source);
  packet.uid.reset();
  packet.fib_type = 2;  // RTN_LOCAL
  return packet;
}

Packet quoting(const char* address, std::uint8_t protocol, std::uint16_t port, std::uint8_t type) {
  const auto quoted = ip(address);
  const bool ipv4 = quoted.family == Family::ipv4;
  const char* reporter = ipv4 ? "198.51.100.1" : "2001:db8:b700::1";
  Packet packet = from(reporter, message(reporter, type, 64));
  packet.transport.assign(60, 0);
  packet.transport[0] = type;
  packet.transport[ipv4 ? 17 : 14] = protocol;
  std::copy(quoted.octets().begin(), quoted.octets().end(), packet.transport.begin() + (ipv4 ? 24 : 32));
  packet.transport[ipv4 ? 30 : 50] = static_cast<std::uint8_t>(port >> 8U);
  packet.transport[ipv4 ? 31 : 51] = static_cast<std::uint8_t>(port);
  return packet;
}

Packet disguised(const char* address, std::uint16_t port) {
  const auto meant = ip(address);
  Packet packet = plain(meant.family == Family::ipv4 ? host6 : host4, udp, port);
  if (meant.family == Family::ipv4) {
    std::copy(meant.octets().begin(), meant.octets().end(), packet.source.bytes.begin() + 8);
  } else {
    packet.transport = {0x9c, 0x40, static_cast<std::uint8_t>(port >> 8U), static_cast<std::uint8_t>(port)};
    packet.transport.insert(packet.transport.end(), meant.octets().begin(), meant.octets().end());
  }
  return packet;
}

}  // namespace killswitch::test
