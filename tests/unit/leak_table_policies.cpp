#include "leak_table_parts.hpp"

#include <algorithm>

namespace killswitch::test {
namespace {

class PolicyRows : public RowWriter {
public:
  using RowWriter::RowWriter;

  std::vector<Row> fill() {
    if (!policy_.lan.empty()) {
      local_network();
    }
    if (!policy_.router.lan.empty()) {
      lan_behind();
    }
    return take();
  }

private:
  /// laptop-lan: 192.168.0.0/16 and fe80::/10 on every link that is known.
  void local_network() {
    const auto known = [&](const std::string& name, const Packet& packet, bool passes, const char* counter = "") {
      at(Hook::output, wifi, name, packet, passes, counter);
      at(Hook::postrouting, wifi, name, packet, passes);
      at(Hook::egress, wifi, name, packet, passes);
      at(Hook::output, unknown, name + ", unknown interface", packet, false);
      at(Hook::postrouting, unknown, name + ", unknown interface", packet, false);
    };
    for (const char* near : {router4, neighbour6}) {
      const bool ipv4 = near == router4;
      known("local network, TCP", plain(near, tcp, 631), true);
      known("local network, UDP", plain(near, udp, 9), true);
      known("local network, ping", message(near, ipv4 ? 8 : 128, 64), true);
      for (const auto port : name_ports) {
        known("names in the local network", plain(near, udp, port), false, "dns");
        known("names in the local network", plain(near, tcp, port), false, "dns");
      }
      at(Hook::egress, wifi, "fragment for the local network", behind_first(plain(near, udp, 9)), true);
      in("answer, TCP", from(near, ports(plain(near, tcp), 631, 40000, ack)), true);
      in("connection request", from(near, ports(plain(near, tcp), 40000, 22)), false);
      in("answer, UDP", from(near, ports(plain(near, udp), 9, 40000)), true);
      in("datagram to a low port", from(near, ports(plain(near, udp), 9, 5353)), false);
      in("SCTP to a high port", from(near, ports(plain(near, sctp), 9, 40000)), false);
      in("echo reply", from(near, message(near, ipv4 ? 0 : 129, 64)), true);
      in("unreachable", from(near, message(near, ipv4 ? 3 : 1, 64)), true);
      in("time exceeded", from(near, message(near, ipv4 ? 11 : 3, 64)), true);
      in("echo request", from(near, message(near, ipv4 ? 8 : 128, 64)), false);
      in("redirect", from(near, message(near, ipv4 ? 5 : 137, 64)), false);
    }
    at(Hook::output, wifi, "server in the local network, another port", plain(lan_server, udp, 9), true);
    at(Hook::egress, wifi, "fragment for somebody else", behind_first(plain(host4, udp, 9)), false);
    known("a public address", plain(host4, tcp, 631), false);
    known("like the local network in the other family", disguised(router4, 9), false);
    known("like the local network in the other family", disguised(neighbour6, 9), false);
  }

  void lan_behind() {
    for (const char* host : {host4, host6}) {
      forward("the LAN to the tunnel", lan, tunnel, plain(host, tcp, 443), world_.trusted.has_value());
      forward("the LAN's question to anybody", lan, tunnel, plain(host, udp, 53), false);
      forward("the tunnel to the LAN", tunnel, lan, plain(host, tcp, 443), world_.trusted.has_value());
      forward("a link to the LAN", wifi, lan, plain(host, tcp, 443), false);
      forward("a guest to the LAN", bridge, lan, plain(host, tcp, 443), false);
      at(Hook::output, lan, "to the LAN, TCP", plain(host, tcp, 443), false, "lan");
      at(Hook::output, lan, "to the LAN, UDP", plain(host, udp, 9), false, "lan");
      at(Hook::postrouting, lan, "to the LAN, UDP", plain(host, udp, 9), false, "other");
    }
    const char* client = "10.7.0.100";
    lan_asks(client);
    lan_is_told(client);
    Packet told = plain("192.168.255.2", udp, 9);
    told.uid.reset();
    at(Hook::prerouting, lan, "for the tunnel's address, from the LAN", told, !world_.trusted, "inbound");
    told.destination = ip("fd00:0:0:feed::1000");
    at(Hook::prerouting, lan, "for the tunnel's address, from the LAN", told, !world_.trusted, "inbound");
    at(Hook::prerouting, lan, "from the LAN", plain(host4, udp, 9), true);
  }

  void lan_asks(const char* client) {
    const auto asks = [&](const std::string& name, const Packet& packet, bool passes) {
      at(Hook::input, lan, name, packet, passes, "inbound");
    };
    asks("DHCP of the LAN", from(client, ports(plain(client, udp), 68, 67)), true);
    asks("to DHCP's port, from another", from(client, ports(plain(client, udp), 69, 67)), false);
    asks("DHCP over TCP", from(client, ports(plain(client, tcp), 68, 67)), false);
    asks("DHCPv6 of the LAN", from("fe80::9", ports(plain("fe80::9", udp), 546, 547)), true);
    asks("DHCPv6 from far away", from(host6, ports(plain(host6, udp), 546, 547)), false);
    asks("to DHCPv6's port, from another", from("fe80::9", ports(plain("fe80::9", udp), 545, 547)), false);
    asks("from DHCP's port, to another", from(client, ports(plain(client, udp), 68, 22)), false);
    asks("from DHCPv6's port, to another", from("fe80::9", ports(plain("fe80::9", udp), 546, 22)), false);
    asks("DHCPv6 over TCP", from("fe80::9", ports(plain("fe80::9", tcp), 546, 547)), false);
    asks("DNS of the LAN", from(client, plain(client, udp, 53)), true);
    asks("DNS of the LAN over TCP", from(client, plain(client, tcp, 53)), true);
    asks("SCTP to DNS's port", from(client, plain(client, sctp, 53)), false);
    asks("connection request", from(client, plain(client, tcp, 22)), false);
    asks("echo request", from(client, message(client, 8)), false);
    for (const std::uint8_t type : {std::uint8_t{133}, std::uint8_t{135}, std::uint8_t{136}}) {
      asks("ICMPv6 of the LAN", from("fe80::9", message("fe80::9", type)), true);
      asks("ICMPv6 of the LAN, hop limit 64", from("fe80::9", message("fe80::9", type, 64)), false);
    }
    asks("router advertisement of the LAN", from("fe80::9", message("fe80::9", 134)), false);
  }

  void lan_is_told(const char* client) {
    const auto told = [&](const std::string& name, const Packet& packet, bool passes) {
      at(Hook::output, lan, name, packet, passes);
      at(Hook::postrouting, lan, name, packet, passes);
    };
    told("DHCP answer", ports(plain(client, udp), 67, 68), true);
    told("from DHCP's port, to another", ports(plain(client, udp), 67, 69), false);
    told("to DHCP's client port, from another", ports(plain(client, udp), 69, 68), false);
    told("DHCP answer over TCP", ports(plain(client, tcp), 67, 68), false);
    told("DHCPv6 answer", ports(plain("fe80::9", udp), 547, 546), true);
    told("DHCPv6 answer to far away", ports(plain(host6, udp), 547, 546), false);
    told("from DHCPv6's port, to another", ports(plain("fe80::9", udp), 547, 545), false);
    told("to DHCPv6's client port, from another", ports(plain("fe80::9", udp), 545, 546), false);
    told("DHCPv6 answer over TCP", ports(plain("fe80::9", tcp), 547, 546), false);
    told("DNS answer", ports(plain(client, udp), 53, 40000), true);
    told("DNS answer over TCP", ports(plain(client, tcp), 53, 40000, ack), true);
    told("connection request from DNS's port", ports(plain(client, tcp), 53, 40000, syn), false);
    told("SCTP from DNS's port", ports(plain(client, sctp), 53, 40000), false);
    told("TCP reset", ports(plain(client, tcp), 40000, 40000, rst), true);
    told("TCP segment", ports(plain(client, tcp), 40000, 40000, ack), false);
    told("unreachable", message(client, 3), true);
    told("time exceeded", message(client, 11), true);
    told("echo request", message(client, 8), false);
    told("ICMPv6 error", message("fe80::9", 1), true);
    told("ICMPv6 echo request", message("fe80::9", 128), false);
    for (const std::uint8_t type : {std::uint8_t{134}, std::uint8_t{135}, std::uint8_t{136}}) {
      told("ICMPv6 to the LAN", message("fe80::9", type), true);
      told("ICMPv6 to the LAN, hop limit 64", message("fe80::9", type, 64), false);
    }
  }
};

}  // namespace

std::vector<Row> policy_rows(const World& world) {
  return PolicyRows{world}.fill();
}

}  // namespace killswitch::test
