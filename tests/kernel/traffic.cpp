#include "traffic.hpp"

#include "killswitch/model/server_name.hpp"

#include "support/worlds.hpp"

namespace killswitch::testing {

using namespace model;
using decide::Journey;
using decide::Way;

namespace {

constexpr std::uint8_t icmp = 1;
constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t udp = 17;
constexpr std::uint8_t icmpv6 = 58;

bool is_ipv4(const Packet& packet) {
  return packet.destination.family == Family::ipv4;
}

}  // namespace

IpAddress Traffic::pick_address(std::initializer_list<const char*> texts) {
  return test::ip(pick(texts));
}

void Traffic::draw_ports(Packet& packet) {
  struct Pair {
    std::uint16_t from;
    std::uint16_t to;
  };
  const auto pair = pick<Pair>({{40000, 1194}, {40000, 1195}, {68, 67},      {67, 68},      {546, 547},
                                {547, 546},    {40000, 53},   {40000, 853},  {5353, 5353},  {40000, 5355},
                                {137, 137},    {1194, 40000}, {1194, 40000}, {1194, 40001}, {53, 40000},
                                {40000, 443},  {68, 68},      {1194, 1194},  {40000, 22},   {123, 123}});
  packet.source_port = Port{pair.from};
  packet.destination_port = Port{pair.to};
}

void Traffic::draw_icmp(Packet& packet) {
  packet.protocol = is_ipv4(packet) ? icmp : icmpv6;
  if (is_ipv4(packet)) {
    packet.icmp_type = pick<std::uint8_t>({0, 3, 8, 11, 13});
  } else {
    packet.icmp_type = pick<std::uint8_t>({1, 2, 3, 128, 129, 133, 134, 135, 136, 143});
    packet.hop_limit = pick<std::uint8_t>({255, 255, 255, 254, 64, 1});
  }
  if (one_in(12)) {
    packet.protocol = is_ipv4(packet) ? icmpv6 : icmp;  // the protocol of the other family
  }
}

void Traffic::draw_protocol(Packet& packet) {
  switch (up_to(10)) {
    case 0:
    case 1:
    case 2: draw_icmp(packet); break;
    case 3:
    case 4: packet.protocol = tcp; break;
    case 5: packet.protocol = pick<std::uint8_t>({2, 41, 47, 132}); break;
    default: packet.protocol = udp;
  }
  const bool has_ports = packet.protocol == tcp || packet.protocol == udp || packet.protocol == 132;
  if (has_ports) {
    draw_ports(packet);
  }
  if (one_in(16) && packet.protocol != icmpv6 && packet.protocol != icmp) {
    packet.source_port.reset();  // too short for a header: the sequence number stands where the ports would
    packet.destination_port.reset();
  }
}

void Traffic::draw_fragment(Packet& packet) {
  if (one_in(8)) {
    packet.fragment_offset = pick<std::uint16_t>({0, 8, 1480});
    packet.more_fragments = packet.fragment_offset == 0 || one_in(2);
  }
}

Journey Traffic::sent() {
  Journey journey{Way::sent, {}};
  Packet& packet = journey.packet;
  packet.oif = pick({test::wifi, test::wifi, test::wifi, test::tunnel, test::bridge, loopback_ifindex});
  const bool ipv4 = one_in(2);
  if (packet.oif == loopback_ifindex) {
    packet.destination = ipv4 ? test::ip("127.0.0.1") : test::ip("::1");
    packet.source = packet.destination;
  } else if (ipv4) {
    packet.destination =
        pick_address({"198.51.100.49", "198.51.100.49", "198.51.100.49", "198.51.100.50", "203.0.113.7", "192.168.43.1",
                      "10.1.2.3", "169.254.7.7", "224.0.0.251", "239.255.255.250", "255.255.255.255", "192.168.255.1",
                      "203.0.113.53", "172.17.0.2", "8.8.8.8"});
    packet.source = pick_address({"192.168.43.10", "192.168.43.10", "192.168.255.2", "172.17.0.1", "203.0.113.99"});
  } else {
    packet.destination = pick_address({"2001:db8:b700::220", "2001:db8:b700::220", "2001:db8:b700::220",
                                       "2001:db8:1::7", "fe80::1", "fe80::1", "ff02::1", "ff02::2", "ff02::1:2",
                                       "ff02::fb", "fd00:17::2", "2001:db8:43::1", "ff02::1:ff00:1"});
    packet.source = pick_address({"2001:db8:43::10", "fe80::2", "fd00:0:0:feed::1000", "2001:db8:ffff::99"});
  }
  if (packet.oif != loopback_ifindex && one_in(6)) {
    draw_question(packet);
  } else {
    draw_protocol(packet);
    // One that never becomes whole is not delivered by loopback. Of a later fragment to a group the kernel's short way
    // reads the group's hardware address, which is not stated.
    const bool to_group = packet.destination.family == Family::ipv6 && packet.destination.bytes[0] == 0xff;
    if (packet.oif != loopback_ifindex && !to_group) {
      draw_fragment(packet);
    }
  }
  packet.mark = pick<std::uint32_t>({0, 0, default_transport_mark, default_transport_mark, 1, 0x80006b73});
  packet.uid = pick<std::uint32_t>({0, 0, 1000, 65534});
  return journey;
}

Journey Traffic::frame() {
  Journey journey = sent();
  journey.way = Way::packet_socket;
  Packet& packet = journey.packet;
  packet.oif = test::wifi;
  packet.uid = 0;
  if (one_in(3)) {
    packet.ether_type = pick<std::uint32_t>({0x0806, 0x888e, 0x88b5, 0x8100, 0x86de, 0x88cc});
  }
  return journey;
}

Journey Traffic::forwarded() {
  Journey journey{Way::forwarded, {}};
  Packet& packet = journey.packet;
  packet.iif = pick({test::bridge, test::bridge, test::wifi, test::tunnel});
  do {
    packet.oif = pick({test::wifi, test::tunnel, test::bridge});
  } while (packet.oif == packet.iif);
  const bool ipv4 = one_in(2);
  const auto address = [&](const char* four, const char* six) { return test::ip(ipv4 ? four : six); };
  if (packet.oif == test::wifi) {
    packet.destination =
        one_in(2) ? address("198.51.100.49", "2001:db8:b700::220") : address("8.8.8.8", "2001:db8:1::7");
  } else if (packet.oif == test::tunnel) {
    packet.destination =
        one_in(2) ? address("192.168.255.1", "fd00:0:0:feed::1") : address("198.18.1.1", "2001:db8:7::1");
  } else {
    packet.destination = one_in(2) ? address("172.17.0.2", "fd00:17::2") : address("172.31.0.9", "2001:db8:17::9");
  }
  if (packet.iif == test::bridge && !one_in(4)) {
    packet.source = address("172.17.0.2", "fd00:17::2");
  } else {
    packet.source = address("203.0.113.99", "2001:db8:ffff::99");
  }
  draw_protocol(packet);
  draw_fragment(packet);
  packet.hop_limit = 64;
  return journey;
}

void Traffic::draw_question(Packet& packet) {
  const Bytes record{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0};
  const Bytes cookie{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
  const auto* name = pick({"vpn.example.test", "vpn.example.test", "VPN.Example.TEST", "vpm.example.test",
                           "a.vpn.example.test", "vpn.example.tesu"});
  Bytes wire = wire_name(name);
  if (one_in(3) && std::string_view{name} == "VPN.Example.TEST") {
    wire[1] = 'V';
  }
  packet.protocol = udp;
  packet.source_port = Port{40000};
  packet.destination_port = Port{53};
  packet.transport =
      dns_question(wire, pick<std::uint8_t>({1, 1, 28, 28, 16}), pick({Bytes{}, Bytes{}, record, cookie}));
  if (one_in(5)) {
    packet.transport[8 + up_to(packet.transport.size() - 8)] ^= 1U;  // behind the ports, so that they stay as stated
  }
}

void Traffic::quote(Packet& packet) {
  Packet quoted;
  const bool ipv4 = is_ipv4(packet);
  quoted.source = packet.destination;
  quoted.destination = ipv4 ? pick_address({"198.51.100.49", "198.51.100.50"})
                            : pick_address({"2001:db8:b700::220", "2001:db8:b700::221"});
  quoted.protocol = pick<std::uint8_t>({udp, udp, udp, tcp});
  quoted.source_port = pick({Port{40000}, Port{40000}, Port{40001}, Port{1194}});
  quoted.destination_port = pick({Port{1194}, Port{1194}, Port{1195}});
  packet.protocol = ipv4 ? icmp : icmpv6;
  packet.source_port.reset();
  packet.destination_port.reset();
  packet.icmp_type = ipv4 ? pick<std::uint8_t>({3, 3, 11}) : pick<std::uint8_t>({1, 2, 3, 4, 129});
  packet.transport.assign(8, 0);
  packet.transport[0] = *packet.icmp_type;
  packet.transport[1] = ipv4 ? 4 : 0;  // of type 3: fragmentation needed
  append(packet.transport, network_bytes(quoted));
}

Journey Traffic::received() {
  Journey journey{Way::received, {}};
  Packet& packet = journey.packet;
  packet.iif = pick({test::wifi, test::wifi, test::wifi, test::bridge, test::tunnel});
  if (one_in(2)) {
    packet.destination = pick_address({"192.168.43.10", "192.168.43.10", "192.168.43.10", "192.168.255.2", "172.17.0.1",
                                       "255.255.255.255", "192.168.43.255", "224.0.0.1"});
    packet.source = pick_address({"198.51.100.49", "198.51.100.49", "192.168.43.1", "203.0.113.7", "192.168.255.1",
                                  "172.17.0.2", "192.168.43.10"});
  } else {
    packet.destination = pick_address(
        {"2001:db8:43::10", "2001:db8:43::10", "fe80::2", "fe80::2", "fd00:0:0:feed::1000", "fd00:17::1", "ff02::1"});
    packet.source =
        pick_address({"2001:db8:b700::220", "2001:db8:b700::220", "fe80::1", "fe80::1", "2001:db8:1::7", "fd00:17::2"});
  }
  draw_protocol(packet);
  if (packet.iif != test::wifi && !is_ipv4(packet) && packet.destination.bytes[0] == 0xfe) {
    packet.destination = test::ip(packet.iif == test::bridge ? "fe80::9" : "fe80::7");
  }
  if (one_in(6)) {
    quote(packet);
  }
  return journey;
}

Journey Traffic::any() {
  switch (up_to(4)) {
    case 0: return forwarded();
    case 1: return received();
    case 2: return frame();
    default: return sent();
  }
}

}  // namespace killswitch::testing
