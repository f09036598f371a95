// The table of ways out, class by class.
#include "killswitch/codec/leak_probe.hpp"

namespace killswitch::codec {
namespace {

using enum ProbeWay;
using enum ProbeTarget;
using Tie = ProbeTie;

constexpr std::uint16_t discard = 9;
constexpr std::uint16_t dns = 53;
constexpr std::uint16_t dns_over_tls = 853;
constexpr std::uint16_t sctp = 132;
constexpr std::uint16_t experimental = 253;  // RFC 3692

constexpr std::string_view plain = "programs reach the internet past the VPN, with your own address";
constexpr std::string_view tied =
    "a program that ties its socket to the link reaches the internet past the VPN; no root is needed for it";
constexpr std::string_view names = "whoever runs the local network or the resolver sees the names that you look up";
constexpr std::string_view neighbours = "everybody on the local network sees this computer's name and services";
constexpr std::string_view raw = "scanners, tunnels and other programs with raw sockets get past the VPN";
constexpr std::string_view below =
    "packet sockets (DHCP clients, virtual machines, scanners) send below the IP firewall, past the VPN";
constexpr std::string_view impostor =
    "a program that is not OpenVPN talks to the VPN server's address outside the tunnel: a hostile network can make "
    "that any site that you visit (TunnelCrack, CVE-2023-36671)";

// One class a row, or two.
// clang-format off
constexpr ProbeClass classes[] = {
    {"udp", "UDP", datagram, Tie::source, documentation, false, discard, {}, plain},
    {"tcp", "TCP", connection, Tie::source, documentation, false, 443, {}, plain},
    {"icmp", "ICMP echo", echo, Tie::source, documentation, false, 0, {}, plain},
    {"device-udp", "UDP, bound to the device", datagram, Tie::device, documentation, false, discard, {}, tied},
    {"device-tcp", "TCP, bound to the device", connection, Tie::device, documentation, false, 80, {}, tied},
    {"unicast-if", "UDP, IP_UNICAST_IF", datagram, Tie::unicast_interface, documentation, false, discard, {}, tied},
    {"pktinfo", "UDP, IP_PKTINFO", datagram, Tie::packet_info, documentation, false, discard, {}, tied},
    {"mark", "UDP, socket with a mark", datagram, Tie::mark, documentation, false, discard, {},
     "a program that marks its packets goes where OpenVPN's go"},
    {"lan", "UDP to the gateway, MSG_DONTROUTE", datagram, Tie::dont_route, gateway, false, discard, {},
     "programs talk to the local network; a hostile one can call any address of the internet local (TunnelCrack, "
     "CVE-2023-36672)"},
    {"dns-gateway", "DNS to the gateway", question, Tie::device, gateway, false, dns, {}, names},
    {"dns-gateway-tcp", "DNS over TCP to the gateway", connection, Tie::device, gateway, false, dns, {}, names},
    {"dns-public", "DNS to a public resolver", question, Tie::device, documentation, false, dns, {}, names},
    {"dns-public-tcp", "DNS over TCP to a public resolver", connection, Tie::device, documentation, false, dns, {},
     names},
    {"dot", "DNS over TLS", connection, Tie::device, documentation, false, dns_over_tls, {},
     "the resolver sees the names that you look up, and your own address"},
    {"mdns", "mDNS", datagram, Tie::device, group, false, 5353, {"224.0.0.251", "ff02::fb"}, neighbours},
    {"llmnr", "LLMNR", datagram, Tie::device, group, false, 5355, {"224.0.0.252", "ff02::1:3"}, neighbours},
    {"netbios", "NetBIOS", datagram, Tie::device, subnet_broadcast, false, 137, {}, neighbours},
    {"ssdp", "SSDP", datagram, Tie::device, group, false, 1900, {"239.255.255.250", "ff02::c"}, neighbours},
    {"broadcast", "broadcast to everyone", datagram, Tie::device, group, false, discard, {"255.255.255.255", ""},
     neighbours},
    {"header", "raw socket with its own IP header", header, Tie::device, documentation, false, discard, {}, raw},
    {"sctp", "SCTP", protocol, Tie::device, documentation, false, sctp, {}, raw},
    {"protocol", "any other IP protocol", protocol, Tie::device, documentation, false, experimental, {}, raw},
    {"fragments", "fragments", fragments, Tie::device, documentation, false, discard, {},
     "fragments show no port: a rule that looks for ports lets them pass"},
    {"packet", "packet socket", frame, Tie::device, documentation, false, discard, {}, below},
    {"packet-dgram", "packet socket, kernel's link header", cooked_frame, Tie::device, documentation, false, discard, {},
     below},
    {"packet-bypass", "packet socket past the queues", direct_frame, Tie::device, documentation, false, discard, {},
     below},
    {"packet-unknown", "frame of an unknown type", unknown_frame, Tie::device, documentation, false, 0, {}, below},
    {"packet-vlan", "frame with a VLAN tag", tagged_frame, Tie::device, documentation, false, discard, {}, below},
    {"server-port", "to the VPN server, another port", datagram, Tie::device, server_other_port, false, 0, {},
     impostor},
    {"server-protocol", "to the VPN server, another protocol", datagram, Tie::device, server_other_protocol, false, 0, {},
     impostor},
    {"server-icmp", "to the VPN server, ICMP echo", echo, Tie::device, server, false, 0, {}, impostor},
    {"server-user", "to the VPN server's port, by another user", datagram, Tie::device, server, true, 0, {}, impostor},
    {"server-packet", "to the VPN server's port, packet socket", frame, Tie::device, server, false, 0, {}, impostor},
};
// clang-format on

}  // namespace

std::span<const ProbeClass> probe_classes() {
  return classes;
}

bool is_frame(ProbeWay way) {
  return way >= frame;
}

bool exists_in(const ProbeClass& probe, model::Family family) {
  if (family == model::Family::ipv4) {
    return true;
  }
  return probe.way != unknown_frame && probe.target != subnet_broadcast &&
         (probe.target != group || !probe.groups[1].empty());
}

}  // namespace killswitch::codec
