#include "leak_table.hpp"

#include "support/worlds.hpp"

#include <algorithm>
#include <array>

namespace killswitch::test {
namespace {

using namespace model;

constexpr std::uint8_t icmp = 1, igmp = 2, tcp = 6, udp = 17, gre = 47, icmpv6 = 58, sctp = 132;
constexpr std::uint8_t syn = 0x02, rst = 0x04, ack = 0x10;
constexpr std::uint32_t mark = default_transport_mark;
constexpr std::array<std::uint16_t, 7> name_ports{53, 137, 138, 139, 853, 5353, 5355};
constexpr std::array<std::uint16_t, 2> asked_in_tunnel{53, 853};
constexpr IfIndex lan{11}, lan_port{12}, unknown{99};
constexpr const char* server4 = "198.51.100.49";
constexpr const char* server6 = "2001:db8:b700::220";
constexpr const char* lan_server = "192.168.99.1";
constexpr const char* host4 = "203.0.113.7";
constexpr const char* host6 = "2001:db8:1::7";
constexpr const char* router4 = "192.168.43.1";
constexpr const char* own4 = "192.168.43.10";
constexpr const char* own6 = "2001:db8:43::10";
constexpr const char* neighbour6 = "fe80::1";
constexpr const char* solicited6 = "ff02::1:ff00:1";

Packet plain(const char* to, std::uint8_t protocol, std::uint16_t port = 0) {
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

Packet ports(Packet packet, std::uint16_t from, std::uint16_t to, std::uint8_t flags = syn) {
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

Packet message(const char* to, std::uint8_t type, std::uint8_t hop_limit = 255) {
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

/// The packet in the other direction.
Packet from(const char* source, Packet packet) {
  packet.destination = packet.source;
  packet.source = ip(source);
  packet.uid.reset();
  packet.fib_type = 2;  // RTN_LOCAL
  return packet;
}

/// An ICMP error that quotes a packet to `address` and `port`.
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

/// IPv6, whose bytes at the place of the IPv4 destination are `address`; and the other way round.
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

class Table {
public:
  explicit Table(const World& world) : world_{world}, policy_{world.settings.policy} {}

  std::vector<Row> fill() {
    transport();
    strangers();
    upkeep();
    frames();
    fragments();
    tunnel_and_guests();
    forwarded();
    answers();
    requests();
    prerouting();
    if (!policy_.lan.empty()) {
      local_network();
    }
    if (!policy_.router.lan.empty()) {
      lan_behind();
    }
    return std::move(rows_);
  }

private:
  std::string kind(IfIndex index) const {
    const auto link = world_.links.find(index);
    return link == world_.links.end() ? "" : link->second.kind;
  }

  void at(Hook hook, IfIndex interface, const std::string& name, Packet packet, bool passes, const char* counter = "") {
    packet.hook = hook;
    const bool inwards = hook == Hook::prerouting || hook == Hook::input;
    (inwards ? packet.iif : packet.oif) = interface;
    (inwards ? packet.iifkind : packet.oifkind) = kind(interface);
    if (hook == Hook::egress) {
      packet.oifname = world_.links.at(interface).name;
    }
    rows_.push_back({name, std::move(packet), passes, passes ? "" : counter});
  }

  /// Out by the Wi-Fi, at every hook; by an interface that nobody knows it must be refused unless it is upkeep.
  void out(const std::string& name, const Packet& packet, bool passes, const char* counter = "") {
    at(Hook::output, wifi, name, packet, passes, counter);
    at(Hook::postrouting, wifi, name, packet, passes, policy_.lan.empty() ? "other" : "");
    at(Hook::egress, wifi, name, packet, passes, "raw");
    at(Hook::output, unknown, name + ", unknown interface", packet, passes, counter);
    at(Hook::postrouting, unknown, name + ", unknown interface", packet, passes);
  }

  void transport() {
    const bool users = !world_.reporter && policy_.transport_identity == TransportIdentity::automatic;
    for (const char* server : {server4, server6, lan_server}) {
      const Packet packet = plain(server, udp, 1194);
      out("transport, marked", marked(packet), true);
      out("transport, root", packet, users, "impostor");
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
    const bool users = !world_.reporter && policy_.transport_identity == TransportIdentity::automatic;
    for (const char* server : {server4, server6, lan_server}) {
      if (server == lan_server && !policy_.lan.empty()) {
        continue;  // any program may send fragments there
      }
      const auto later = behind_first(plain(server, udp, 1194));
      at(Hook::egress, wifi, "fragment of the transport, marked", marked(later), true);
      at(Hook::egress, wifi, "fragment of the transport, root", later, users);
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

  void tunnel_and_guests() {
    if (world_.trusted) {
      for (const auto& row : tunnel_traffic()) {
        at(row.packet.hook, tunnel, row.name, row.packet, true);
        Packet impostor = row.packet;
        impostor.oifkind = "veth";
        impostor.oif = tunnel;
        rows_.push_back({row.name + ", not of the tunnel's kind", impostor, false, "other"});
        impostor.oifkind = "tun";
        impostor.oif = IfIndex{8};
        rows_.push_back({row.name + ", another tunnel", impostor, false, ""});
      }
      at(Hook::output, tunnel, "DNS to the tunnel's resolver", plain("192.168.255.1", udp, 53), true);
      at(Hook::output, tunnel, "DNS over TLS to the tunnel's resolver", plain("fd00:0:0:feed::1", tcp, 853), true);
      for (Packet question :
           {plain("192.168.255.1", udp, 53), plain("fd00:0:0:feed::1", udp, 53), behind_first(plain(host4, udp, 9))}) {
        question.hook = Hook::output;
        question.oif = tunnel;
        question.oifkind = "veth";
        rows_.push_back({"to the resolver, not of the tunnel's kind", question, false, ""});
      }
      at(Hook::output, tunnel, "fragment in the tunnel", behind_first(plain(host4, udp, 9)), true);
      for (const char* host : {host4, host6}) {
        for (const auto port : asked_in_tunnel) {
          at(Hook::output, tunnel, "names in the tunnel, UDP", plain(host, udp, port), false, "dns");
          at(Hook::output, tunnel, "names in the tunnel, TCP", plain(host, tcp, port), false, "dns");
        }
      }
      at(Hook::output, tunnel, "DNS like the resolver's in the other family", disguised("192.168.255.1", 53), false);
      at(Hook::output, tunnel, "DNS like the resolver's in the other family", disguised("fd00:0:0:feed::1", 53), false);
      at(Hook::input, tunnel, "from the tunnel", from(host4, plain(host4, tcp, 80)), true);
      Packet impostor = from(host4, plain(host4, tcp, 80));
      impostor.hook = Hook::input;
      impostor.iif = tunnel;
      impostor.iifkind = "veth";
      rows_.push_back({"input, not of the tunnel's kind", impostor, false, "inbound"});
    }
    const bool host = policy_.host_to_internal;
    at(Hook::output, bridge, "to a guest", plain("172.17.0.2", tcp, 80), host);
    at(Hook::postrouting, bridge, "to a guest", plain("172.17.0.2", tcp, 80), host || policy_.internal_to_tunnel);
    at(Hook::input, bridge, "from a guest", from("172.17.0.2", plain("172.17.0.2", tcp, 80)), host);
    at(Hook::input, loopback_ifindex, "loopback, in", from("127.0.0.1", plain("127.0.0.1", tcp, 80)), true);
  }

  void forward(const std::string& name, IfIndex in, IfIndex out, Packet packet, bool passes, const char* counter = "") {
    packet.uid.reset();
    packet.iif = in;
    packet.iifkind = kind(in);
    at(Hook::forward, out, name, std::move(packet), passes, counter);
  }

  void forwarded() {
    const bool guests = policy_.internal_to_tunnel && world_.trusted;
    for (const char* host : {host4, host6}) {
      const auto packet = plain(host, tcp, 443);
      forward("a guest to the tunnel", bridge, tunnel, packet, guests);
      forward("a guest's question to anybody, in the tunnel", bridge, tunnel, plain(host, udp, 53), false);
      forward("a guest to a link", bridge, wifi, packet, false, "forwarded");
      forward("a guest to an unknown interface", bridge, unknown, packet, false, "forwarded");
      forward("a link to the tunnel", wifi, tunnel, packet, false, world_.trusted ? "forwarded" : "");
      forward("an unknown interface to the tunnel", unknown, tunnel, packet, false, world_.trusted ? "forwarded" : "");
      forward("a link to a link", wifi, unknown, packet, false, "forwarded");
      forward("the tunnel to a link", tunnel, wifi, packet, false);
      forward("a link to a guest", wifi, bridge, packet, false, "forwarded");
      forward("the tunnel to a guest", tunnel, bridge, packet, guests);
      forward("a guest to a guest", bridge, bridge, packet, policy_.host_to_internal);
      forward("a LAN to a link", lan, wifi, packet, false);
      forward("a LAN to a guest", lan, bridge, packet, false, "forwarded");
    }
    for (const char* resolver : {"192.168.255.1", "fd00:0:0:feed::1"}) {
      const auto question = plain(resolver, udp, 53);
      forward("a guest's question to the tunnel's resolver", bridge, tunnel, question, guests);
      forward("a link's question to the tunnel's resolver", wifi, tunnel, question, false);
      forward("a question like the resolver's in the other family", bridge, tunnel, disguised(resolver, 53), false);
      auto elsewhere = question;
      elsewhere.hook = Hook::forward;
      elsewhere.uid.reset();
      elsewhere.iif = bridge;
      elsewhere.oif = tunnel;
      elsewhere.oifkind = "veth";
      rows_.push_back({"a guest's question, not of the tunnel's kind", elsewhere, false, ""});
    }
    forward("a link's fragment to the tunnel", wifi, tunnel, behind_first(plain(host4, udp, 9)), false);
    forward("a guest's fragment to the tunnel", bridge, tunnel, behind_first(plain(host4, udp, 9)), guests);
    Packet impostor = plain(host4, udp, 9);
    impostor.hook = Hook::forward;
    impostor.uid.reset();
    impostor.iif = bridge;
    impostor.oif = tunnel;
    impostor.oifkind = "veth";
    rows_.push_back({"a guest to what is not of the tunnel's kind", impostor, false, ""});
    rows_.push_back({"a guest's fragment to what is not of the tunnel's kind",
                     [&] {
                       auto p = behind_first(impostor);
                       p.hook = Hook::forward;
                       return p;
                     }(),
                     false, ""});
    impostor.iif = tunnel;
    impostor.iifkind = "veth";
    impostor.oif = bridge;
    impostor.oifkind = "bridge";
    rows_.push_back({"what is not of the tunnel's kind to a guest", impostor, false, ""});
    impostor.iif = IfIndex{8};
    impostor.iifkind = "tun";
    rows_.push_back({"another tunnel to a guest", impostor, false, ""});
  }

  void in(const std::string& name, const Packet& packet, bool passes) {
    at(Hook::input, wifi, name, packet, passes, "inbound");
  }

  void answers() {
    for (const char* server : {server4, server6, lan_server}) {
      if (server == lan_server && !policy_.lan.empty()) {
        continue;  // answers of its neighbours come in
      }
      const auto answer = from(server, ports(plain(server, udp), 40000, 40000));
      const auto by_port = [&](Packet packet, std::uint16_t port) { return ports(std::move(packet), port, 40000); };
      in("answer of the server", by_port(answer, 1194), true);
      in("from another port of the server", by_port(answer, 1195), false);
      in("from the server by TCP", by_port(from(server, plain(server, tcp)), 1194), false);
      in("from another host, the server's port",
         by_port(from(server == server6 ? host6 : host4, plain(server == server6 ? host6 : host4, udp)), 1194), false);
      const std::uint8_t error = server == server6 ? 2 : 3;
      in("ICMP error about the transport", quoting(server, udp, 1194, error), true);
      in("ICMP error about another port", quoting(server, udp, 1195, error), false);
      in("ICMP error about another protocol", quoting(server, tcp, 1194, error), false);
      in("ICMP error about somebody else", quoting(server == server6 ? host6 : host4, udp, 1194, error), false);
      in("no error, quoting the transport", quoting(server, udp, 1194, server == server6 ? 137 : 5), false);
      auto disguise = quoting(server, udp, 1194, error);
      disguise.protocol = udp;
      disguise.icmp_type.reset();
      in("UDP that looks like an ICMP error", disguise, false);
    }
    for (const char* server : {server4, lan_server}) {
      Packet disguise = from(host6, ports(plain(host6, udp), 1194, 40000));
      const auto meant = ip(server);
      std::copy(meant.octets().begin(), meant.octets().end(), disguise.source.bytes.begin() + 4);
      in("like an answer in the other family", disguise, false);
      auto error = quoting(server, udp, 1194, 3);
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

  void prerouting() {
    const auto arriving = [&](const char* to, std::uint32_t fib, IfIndex interface, bool passes, const char* name) {
      Packet packet = plain(to, udp, 9);
      packet.uid.reset();
      packet.fib_type = fib;
      at(Hook::prerouting, interface, name, packet, passes, "inbound");
    };
    const bool stands = world_.trusted.has_value();
    for (const std::uint32_t fib : {2U, 3U, 4U, 5U}) {
      arriving(own4, fib, wifi, true, "for an address of the link");
      arriving(own6, fib, wifi, true, "for an IPv6 address of the link");
      arriving("192.168.255.2", fib, wifi, !stands, "for the tunnel's address");
      arriving("fd00:0:0:feed::1000", fib, wifi, !stands, "for the tunnel's IPv6 address");
    }
    arriving(host4, 1, wifi, false, "for somebody else");
    arriving(host6, 0, wifi, false, "for somebody unknown");
    arriving(own4, 2, unknown, true, "by an unknown interface, for its address");
    arriving(host4, 1, unknown, false, "by an unknown interface, for somebody else");
    arriving("127.0.0.1", 2, loopback_ifindex, true, "loopback");
    arriving(host4, 1, loopback_ifindex, true, "loopback, redirected");
    arriving(host4, 1, bridge, true, "a guest's packet");
    if (stands) {
      arriving("192.168.255.2", 2, tunnel, true, "from the tunnel");
    }
  }

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

  const World& world_;
  const Policy& policy_;
  std::vector<Row> rows_;
};

}  // namespace

World table_world(const Policy& policy) {
  auto world = laptop_protected();
  world.settings.policy = policy;
  world.settings.remotes.push_back(pinned("lan.example.test", std::nullopt, lan_server));
  world.report->resolvers.push_back(ip("fd00:0:0:feed::1"));
  world.trusted = decide::match_tunnel(world);
  world.links[lan] = link(lan, "br-lan", "bridge");
  world.links[lan_port] = link(lan_port, "eth1", "");
  world.links[lan_port].master = lan;
  return world;
}

World table_world_blocked(const Policy& policy) {
  auto world = table_world(policy);
  world.peers.clear();
  world.links.erase(tunnel);
  world.report.reset();
  world.reporter.reset();
  world.trusted.reset();
  return world;
}

std::vector<Row> leak_table(const World& world) {
  return Table{world}.fill();
}

std::vector<Row> tunnel_traffic() {
  std::vector<Row> rows;
  for (const Hook hook : {Hook::output, Hook::postrouting}) {
    for (const char* host : {host4, host6}) {
      for (Packet packet : {plain(host, tcp, 443), plain(host, udp, 443),
                            message(host, ip(host).family == Family::ipv4 ? 8 : 128, 64), plain(host, sctp, 9)}) {
        packet.hook = hook;
        packet.oif = tunnel;
        packet.oifkind = "tun";
        rows.push_back({"in the tunnel, protocol " + std::to_string(packet.protocol), packet, true, ""});
      }
    }
  }
  return rows;
}

}  // namespace killswitch::test
