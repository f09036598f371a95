#include "leak_table_parts.hpp"

#include <algorithm>

namespace killswitch::test {
namespace {

class LinkRows : public RowWriter {
public:
  using RowWriter::RowWriter;

  std::vector<Row> fill() {
    transport();
    strangers();
    upkeep();
    frames();
    fragments();
    answers();
    requests();
    return take();
  }

private:
  void transport() {
    for (const char* server : {server4, server6, lan_server}) {
      const Packet packet = plain(server, udp, 1194);
      out("transport, marked", marked(packet), true);
      out("transport, root", packet, false, "impostor");
      out("transport, another user", by_user(packet, 1000), false, "impostor");
      Packet forged = packet;
      forged.uid.reset();
      out("transport, no socket", forged, false, "impostor");
      out(
          "transport, another mark",
          [&] {
            auto p = packet;
            p.mark = 7;
            p.uid = 1000;
            return p;
          }(),
          false);
      if (server != lan_server || policy_.lan.empty()) {
        out("server, another port, marked", marked(plain(server, udp, 1195)), false);
        out("server, another protocol, marked", marked(plain(server, tcp, 1194)), false);
      }
    }
    for (const char* other : {host4, host6, "198.51.100.50", "2001:db8:b700::221"}) {
      out("another address, marked", marked(plain(other, udp, 1194)), false);
      out("another address, root", plain(other, udp, 1194), false);
    }
    out("like the transport in the other family", marked(disguised(server4, 1194)), false);
    out("like the transport in the other family", marked(disguised(server6, 1194)), false);
    out("like the transport in the other family, root", disguised(server4, 1194), false);
    out("like the transport in the other family, root", disguised(server6, 1194), false);
  }

  void strangers() {
    for (const char* host : {host4, host6}) {
      const char* counter = host == host6 ? "ipv6" : "other";
      out("UDP", plain(host, udp, 9), false, counter);
      out("TCP", plain(host, tcp, 443), false, counter);
      out("SCTP", plain(host, sctp, 9), false, counter);
      out("GRE", plain(host, gre), false, counter);
      out("echo request", message(host, host == host6 ? 128 : 8), false, counter);
      for (const auto port : name_ports) {
        out("names, UDP " + std::to_string(port), plain(host, udp, port), false, "dns");
        out("names, TCP " + std::to_string(port), plain(host, tcp, port), false, "dns");
      }
      at(Hook::output, guest, "a guest's port", plain(host, udp, 9), false);
      at(Hook::postrouting, guest, "a guest's port", plain(host, udp, 9), false);
    }
    out("DNS to the router", plain(router4, udp, 53), false, "dns");
    out("DNS to the router, marked", marked(plain(router4, udp, 53)), false, "dns");
    out("mDNS", plain("224.0.0.251", udp, 5353), false, "dns");
    out("LLMNR", plain("ff02::1:3", udp, 5355), false, "dns");
    out("IGMP", plain("224.0.0.22", igmp), false, "lan");
    out("SSDP", plain("239.255.255.250", udp, 1900), false, "lan");
    out("broadcast", plain("255.255.255.255", udp, 9), false, "lan");
    for (const char* near : {"10.1.2.3", "172.16.2.3", "169.254.2.3"}) {
      out("a private address", plain(near, tcp, 80), false, "lan");
    }
    if (policy_.lan.empty()) {
      out("local network, UDP", plain(router4, udp, 9), false, "lan");
      out("local network, TCP", plain(router4, tcp, 80), false, "lan");
      out("local network, ping", message(router4, 8), false, "lan");
      out("link-local, UDP", plain(neighbour6, udp, 9), false, "ipv6");
    }
    at(Hook::output, loopback_ifindex, "loopback", plain("127.0.0.1", tcp, 80), true);
    at(Hook::postrouting, loopback_ifindex, "loopback", plain("127.0.0.1", tcp, 80), true);
  }

  void upkeep() {
    const bool dhcp = policy_.dhcp;
    for (const char* server : {"255.255.255.255", "10.0.0.1", "100.64.0.1", "169.254.0.1", "172.16.0.1"}) {
      out("DHCP", ports(plain(server, udp), 68, 67), dhcp);
      out("DHCP, from another port", ports(plain(server, udp), 69, 67), false);
      out("DHCP, to another port", ports(plain(server, udp), 68, 69), false);
      out("DHCP, over TCP", ports(plain(server, tcp), 68, 67), false);
    }
    at(Hook::output, wifi, "DHCP to the router", ports(plain(router4, udp), 68, 67), dhcp);
    at(Hook::egress, wifi, "DHCP to the router", ports(plain(router4, udp), 68, 67), dhcp);
    out("DHCP to the internet", ports(plain(host4, udp), 68, 67), false);
    out("DHCP in the other family", ports(disguised("255.255.255.255", 67), 68, 67), false);
    at(Hook::output, wifi, "DHCPv6 to one server", ports(plain("fe80::2", udp), 546, 547), dhcp);
    at(Hook::egress, wifi, "DHCPv6 to one server", ports(plain("fe80::2", udp), 546, 547), dhcp);
    out("DHCPv6", ports(plain("ff02::1:2", udp), 546, 547), dhcp);
    out("DHCPv6, from another port", ports(plain("ff02::1:2", udp), 545, 547), false);
    out("DHCPv6, to another port", ports(plain("ff02::1:2", udp), 546, 548), false);
    out("DHCPv6, over TCP", ports(plain("ff02::1:2", tcp), 546, 547), false);
    out("DHCPv6 to the internet", ports(plain(host6, udp), 546, 547), false);
    for (const std::uint8_t type : {std::uint8_t{133}, std::uint8_t{135}, std::uint8_t{136}}) {
      const auto name = "ICMPv6 type " + std::to_string(type);
      out(name, message(solicited6, type), policy_.neighbour_discovery);
      out(name + ", hop limit 64", message(solicited6, type, 64), false);
      at(Hook::output, wifi, name + " to a neighbour", message(neighbour6, type), policy_.neighbour_discovery);
      at(Hook::egress, wifi, name + " to a neighbour", message(neighbour6, type), policy_.neighbour_discovery);
      out(name + ", far away", message(host6, type), false);
      auto other = message(solicited6, type);
      other.protocol = icmp;
      other.transport = {type, 0, 0, 0};
      out(name + " as ICMP in IPv6", other, false);
    }
    out("router advertisement", message(solicited6, 134), false, "ipv6");
    out("redirect", message(solicited6, 137), false, "ipv6");
    out("echo request to neighbours", message(solicited6, 128), false, "ipv6");
    out("membership report", message("ff02::16", 143, 1), false, "ipv6");
  }

  void frame(const std::string& name, std::uint32_t type, std::uint32_t written, const Bytes& content, bool passes) {
    Packet packet;
    packet.ether_type = type;
    packet.uid = 0;
    packet.link.assign(14, 0);
    packet.link[12] = static_cast<std::uint8_t>(written >> 8U);
    packet.link[13] = static_cast<std::uint8_t>(written);
    packet.network = content;
    at(Hook::egress, wifi, name, packet, passes, "raw");
  }

  void frames() {
    const auto asks_from = [](const char* sender) {
      Bytes arp(28, 0);
      const auto address = ip(sender);
      std::copy(address.octets().begin(), address.octets().end(), arp.begin() + 14);
      return arp;
    };
    frame("ARP", 0x0806, 0x0806, asks_from(own4), true);
    frame("ARP that tells the tunnel's address", 0x0806, 0x0806, asks_from("192.168.255.2"), !world_.trusted);
    frame("802.1X", 0x888e, 0x888e, Bytes(20, 0), true);
    frame("IP that claims to be ARP", 0x0806, 0x0800, Bytes(40, 0), false);
    frame("IP that claims to be 802.1X", 0x888e, 0x0800, Bytes(40, 0), false);
    frame("802.1X that claims to be unknown", 0x88b5, 0x888e, Bytes(20, 0), false);
    frame("ARP that claims to be unknown", 0x88b5, 0x0806, asks_from(own4), false);
    for (const std::uint32_t type : {0x88b5U, 0x8100U, 0x88a8U, 0x8863U, 0x8864U, 0x88ccU}) {
      frame("unknown frame", type, type, Bytes(40, 0), false);
    }
  }

  void fragments() {
    for (const char* server : {server4, server6, lan_server}) {
      if (server == lan_server && !policy_.lan.empty()) {
        continue;  // any program may send fragments there
      }
      const auto later = behind_first(plain(server, udp, 1194));
      at(Hook::egress, wifi, "fragment of the transport, marked", marked(later), true);
      at(Hook::egress, wifi, "fragment of the transport, root", later, false);
      at(Hook::egress, wifi, "fragment to the server, another user", by_user(later, 1000), false);
      auto first = plain(server, udp, 1195);
      first.more_fragments = true;
      at(Hook::egress, wifi, "first fragment to another port, marked", marked(first), false);
    }
    for (const char* host : {host4, host6}) {
      const auto later = behind_first(plain(host, udp, 9));
      out("fragment", later, false);
      at(Hook::egress, wifi, "fragment, marked", marked(later), false);
      at(Hook::egress, wifi, "whole packet of no port, marked", marked(plain(host, gre)), false);
    }
    at(Hook::egress, wifi, "no fragment, no port, to the server", marked(plain(server4, gre)), false);
    at(Hook::egress, wifi, "no fragment, no port, to the server", marked(plain(server6, gre)), false);
  }

  void answers() {
    for (const char* server : {server4, server6, lan_server}) {
      if (server == lan_server && !policy_.lan.empty()) {
        continue;  // answers of its neighbours come in
      }
      const auto answer = from(server, ports(plain(server, udp), 40000, 40000));
      const auto by_port = [&](Packet packet, std::uint16_t port) {
        packet.socket_mark = default_transport_mark;
        return ports(std::move(packet), port, 40000);
      };
      const auto about = [&](const char* host, std::uint8_t protocol, std::uint16_t port, std::uint8_t type) {
        auto packet = quoting(host, protocol, port, type);
        packet.socket_mark = default_transport_mark;
        return packet;
      };
      const auto for_socket = [](Packet packet, std::optional<std::uint32_t> mark) {
        packet.socket_mark = mark;
        return packet;
      };
      in("answer of the server to a marked socket", by_port(answer, 1194), true);
      in("from the server's address and port to no socket", for_socket(by_port(answer, 1194), {}), false);
      in("from the server's address and port to another socket", for_socket(by_port(answer, 1194), 0), false);
      in("from the server's address and port to a socket of another mark", for_socket(by_port(answer, 1194), 7), false);
      in("from another port of the server", by_port(answer, 1195), false);
      in("from the server by TCP", by_port(from(server, plain(server, tcp)), 1194), false);
      in("from another host, the server's port",
         by_port(from(server == server6 ? host6 : host4, plain(server == server6 ? host6 : host4, udp)), 1194), false);
      const std::uint8_t error = server == server6 ? 2 : 3;
      in("ICMP error about the transport", about(server, udp, 1194, error), true);
      in("ICMP error about another socket's packet to the server", quoting(server, udp, 1194, error), false);
      in("ICMP error about another port", about(server, udp, 1195, error), false);
      in("ICMP error about another protocol", about(server, tcp, 1194, error), false);
      in("ICMP error about another host", about(server == server6 ? host6 : host4, udp, 1194, error), false);
      in("no error, quoting the transport", about(server, udp, 1194, server == server6 ? 137 : 5), false);
      auto disguise = about(server, udp, 1194, error);
      disguise.protocol = udp;
      disguise.icmp_type.reset();
      in("UDP that looks like an ICMP error", disguise, false);
    }
    for (const char* server : {server4, lan_server}) {
      Packet disguise = from(host6, ports(plain(host6, udp), 1194, 40000));
      disguise.socket_mark = default_transport_mark;
      const auto meant = ip(server);
      std::copy(meant.octets().begin(), meant.octets().end(), disguise.source.bytes.begin() + 4);
      in("like an answer in the other family", disguise, false);
      auto error = quoting(server, udp, 1194, 3);
      error.socket_mark = default_transport_mark;
      error.source = ip(host6);
      error.destination = ip(own6);
      in("ICMP in IPv6 about the transport", error, false);
    }
    in("fragment of an answer over IPv6", behind_first(from(server6, plain(server6, udp))), true);
    in("fragment from somebody else over IPv6", behind_first(from(host6, plain(host6, udp))), false);
    auto whole = from(server6, ports(plain(server6, udp), 1195, 40000));
    whole.fragment_offset = 0;
    whole.more_fragments = true;
    in("first fragment from another port of the server", whole, false);
    in("no fragment, no port, from the server", from(server6, plain(server6, gre)), false);
  }

  void requests() {
    const bool dhcp = policy_.dhcp;
    in("answer to DHCP", from("10.0.0.1", ports(plain("10.0.0.1", udp), 67, 68)), dhcp);
    in("to DHCP's port, from another", from("10.0.0.1", ports(plain("10.0.0.1", udp), 66, 68)), false);
    in("from DHCP's port, to another", from("10.0.0.1", ports(plain("10.0.0.1", udp), 67, 22)), false);
    in("like DHCP over IPv6", from(host6, ports(plain(host6, udp), 67, 68)), false);
    in("like DHCP over TCP", from("10.0.0.1", ports(plain("10.0.0.1", tcp), 67, 68)), false);
    in("answer to DHCPv6", from("fe80::2", ports(plain("fe80::2", udp), 547, 546)), dhcp);
    in("answer to DHCPv6 from far away", from(host6, ports(plain(host6, udp), 547, 546)), false);
    in("to DHCPv6's port, from another", from("fe80::2", ports(plain("fe80::2", udp), 546, 546)), false);
    in("from DHCPv6's port, to another", from("fe80::2", ports(plain("fe80::2", udp), 547, 22)), false);
    in("like DHCPv6 over TCP", from("fe80::2", ports(plain("fe80::2", tcp), 547, 546, syn)), false);
    for (const std::uint8_t type : {std::uint8_t{134}, std::uint8_t{135}, std::uint8_t{136}}) {
      const auto name = "ICMPv6 type " + std::to_string(type);
      in(name, from(neighbour6, message(neighbour6, type)), policy_.neighbour_discovery);
      in(name + ", hop limit 64", from(neighbour6, message(neighbour6, type, 64)), false);
      auto other = from(neighbour6, message(neighbour6, type));
      other.protocol = icmp;
      other.transport = {type, 0, 0, 0};
      in(name + " as ICMP in IPv6", other, false);
    }
    in("router advertisement from far away", from(host6, message(host6, 134)), false);
    in("redirect", from(neighbour6, message(neighbour6, 137)), false);
    for (const char* host : {host4, host6, "10.0.0.1"}) {
      in("connection request", from(host, plain(host, tcp, 22)), false);
      in("TCP segment", from(host, ports(plain(host, tcp), 80, 40000, ack)), false);
      in("question", from(host, plain(host, udp, 5353)), false);
      in("datagram to a high port", from(host, ports(plain(host, udp), 9, 40000)), false);
      in("echo request", from(host, message(host, ip(host).family == Family::ipv4 ? 8 : 128, 64)), false);
      in("echo reply", from(host, message(host, ip(host).family == Family::ipv4 ? 0 : 129, 64)), false);
    }
  }
};

}  // namespace

std::vector<Row> link_rows(const World& world) {
  return LinkRows{world}.fill();
}

}  // namespace killswitch::test
