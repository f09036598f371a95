// The part of the audit that stands right beside what must pass: upkeep, the transport, the tunnel, answers. A rule
// that has lost one of its matches is noticed here.
#include "audit_parts.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/rules.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace killswitch::decide {
namespace {

using namespace model;

constexpr std::uint8_t icmp = 1;
constexpr std::uint8_t icmpv6 = 58;
constexpr std::uint8_t gre = 47;
constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t udp = 17;
constexpr std::uint32_t nobody = 65534;
constexpr std::uint32_t rtn_unicast = 1;  // @source RTN_* in linux/rtnetlink.h
constexpr std::uint32_t rtn_local = 2;

// Documentation addresses (RFC 5737, RFC 3849) stand for "anyone on the internet".
const IpAddress stranger4 = make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{203, 0, 113, 7});
const IpAddress stranger6 = make_ip_address(Family::ipv6, std::array<std::uint8_t, 4>{0x20, 0x01, 0x0d, 0xb8});
const IpAddress everyone4 = make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{255, 255, 255, 255});
const IpAddress neighbour6 = make_ip_address(Family::ipv6, std::array<std::uint8_t, 2>{0xfe, 0x80});
const IpAddress neighbours6 = make_ip_address(Family::ipv6, std::array<std::uint8_t, 2>{0xff, 0x02});

Packet between(const IpAddress& destination, std::uint8_t protocol, std::uint16_t from, std::uint16_t to) {
  Packet packet;
  packet.destination = destination;
  packet.source.family = destination.family;
  packet.protocol = protocol;
  packet.source_port = Port{from};
  packet.destination_port = Port{to};
  packet.uid = nobody;
  return packet;
}

Packet discovery(const IpAddress& destination, std::uint8_t type, std::uint8_t hop_limit) {
  Packet packet;
  packet.destination = destination;
  packet.source.family = Family::ipv6;
  packet.protocol = icmpv6;
  packet.icmp_type = type;
  packet.hop_limit = hop_limit;
  packet.uid = nobody;
  return packet;
}

/// DHCP and neighbour discovery with one thing about them that is not so.
std::vector<Probe> beside_upkeep() {
  std::vector<Probe> probes = {
      {"DHCP to the internet", between(stranger4, udp, 68, 67)},
      {"a packet from no port of DHCP", between(everyone4, udp, 69, 67)},
      {"a packet to no port of DHCP", between(everyone4, udp, 68, 69)},
      {"TCP like DHCP", between(everyone4, tcp, 68, 67)},
      {"DHCP of the other family", between(neighbours6, udp, 68, 67)},
      {"DHCPv6 to the internet", between(stranger6, udp, 546, 547)},
      {"a packet from no port of DHCPv6", between(neighbours6, udp, 545, 547)},
      {"a packet to no port of DHCPv6", between(neighbours6, udp, 546, 548)},
      {"TCP like DHCPv6", between(neighbours6, tcp, 546, 547)},
      {"a router advertisement", discovery(neighbours6, 134, 255)},
      {"an ICMPv6 redirect", discovery(neighbours6, 137, 255)},
  };
  for (const std::uint8_t type : std::array<std::uint8_t, 3>{133, 135, 136}) {
    probes.push_back({fmt::format("ICMPv6 type {} with hop limit 64", type), discovery(neighbours6, type, 64)});
    probes.push_back({fmt::format("ICMPv6 type {} to the internet", type), discovery(stranger6, type, 255)});
    auto other = discovery(neighbours6, type, 255);
    other.protocol = udp;
    other.icmp_type.reset();
    other.transport = {type, 0, 0, 9, 0, 8, 0, 0};
    probes.push_back({fmt::format("UDP that begins like ICMPv6 type {}", type), other});
  }
  return probes;
}

/// With OpenVPN's mark, but not the transport.
std::vector<Probe> beside_transport(const World& world) {
  std::vector<Probe> probes;
  const auto endpoints = transport_endpoints(world);
  for (const auto& address : {stranger4, stranger6}) {
    for (const auto& endpoint : endpoints) {
      const auto protocol = static_cast<std::uint8_t>(protocol_number(endpoint.protocol));
      probes.push_back({"a stranger, marked", between(address, protocol, 40000, endpoint.port.number)});
      break;
    }
    Packet fragment = between(address, udp, 0, 0);
    fragment.source_port.reset();
    fragment.destination_port.reset();
    fragment.fragment_offset = 1480;
    probes.push_back({"a fragment to a stranger, marked", fragment});
  }
  for (auto& probe : probes) {
    probe.packet.mark = transport_mark(world);
  }
  return probes;
}

void place(Packet& packet, const WayOut& way, Hook hook) {
  packet.hook = hook;
  const bool inwards = hook == Hook::prerouting || hook == Hook::input;
  (inwards ? packet.iif : packet.oif) = way.index;
  (inwards ? packet.iifkind : packet.oifkind) = way.kind;
  if (inwards) {
    packet.uid.reset();
    packet.fib_type = rtn_local;
    std::swap(packet.source, packet.destination);
  }
}

void check_out(const Ruleset& ruleset, const World& world, const WayOut& way, const std::vector<Probe>& probes,
               Violations& found) {
  for (const Hook hook : {Hook::output, Hook::postrouting, Hook::egress}) {
    for (const auto& probe : probes) {
      Packet packet = probe.packet;
      place(packet, way, hook);
      packet.oifname = hook == Hook::egress ? way.name : "";
      const bool guarded = hook != Hook::egress || !way.name.empty();
      const auto evaluation = guarded ? evaluate(ruleset, packet) : Evaluation{Verdict::Kind::drop, {}, {}, {}};
      const bool decided = !evaluation.chain.empty();  // no egress table: `status` says so
      if (decided && passes(evaluation) && !may_leave(world, way, packet)) {
        found.push_back(fmt::format("G1: {} may leave ({}: '{}')", probe.leak, evaluation.chain, evaluation.comment));
      }
    }
  }
}

/// What is no IP at all: only ARP and 802.1X pass, as they stand in the frame and not as they are called.
void check_frames(const Ruleset& ruleset, const World& world, const WayOut& way, Violations& found) {
  const auto frame = [&](std::uint32_t called, std::uint8_t high, std::uint8_t low) {
    Packet packet;
    packet.hook = Hook::egress;
    packet.oif = way.index;
    packet.oifname = way.name;
    packet.ether_type = called;
    packet.link = Bytes(14, 0);
    packet.link[12] = high;
    packet.link[13] = low;
    packet.network = Bytes(28, 0);
    return packet;
  };
  const auto refuse = [&](const Packet& packet, std::string_view what) {
    const auto evaluation = evaluate(ruleset, packet);
    if (!evaluation.chain.empty() && passes(evaluation)) {
      found.push_back(fmt::format("G9: {} may leave {} ('{}')", what, way.name, evaluation.comment));
    }
  };
  refuse(frame(0x88b5, 0x88, 0xb5), "a frame of an unknown type");
  refuse(frame(0x0806, 0x08, 0x00), "IP that is called ARP");
  refuse(frame(0x888e, 0x08, 0x00), "IP that is called 802.1X");
  refuse(frame(0x88b5, 0x08, 0x06), "ARP that is called something else");
  refuse(frame(0x88b5, 0x88, 0x8e), "802.1X that is called something else");
  if (!world.trusted) {
    return;
  }
  for (const auto& held : world.trusted->report.addresses) {
    if (held.address.family == Family::ipv4) {
      auto told = frame(0x0806, 0x08, 0x06);
      std::copy_n(held.address.octets().begin(), 4, told.network.begin() + 14);
      refuse(told, "ARP that tells the tunnel's address");
    }
  }
}

/// The tunnel's interface, by a kind that is not its own, and another tunnel: neither is trusted.
void check_kind(const Ruleset& ruleset, const TrustedTunnel& tunnel, Violations& found) {
  const WayOut impostor{tunnel.index, "", "veth", LinkClass::tunnel};
  for (const auto& address : {stranger4, stranger6}) {
    for (const Hook hook : {Hook::output, Hook::postrouting, Hook::input}) {
      for (Packet packet : {between(address, udp, 40000, 9), between(address, gre, 0, 0)}) {
        place(packet, impostor, hook);
        if (passes(evaluate(ruleset, packet))) {
          found.emplace_back("G6: the tunnel's interface is trusted whatever its kind is");
        }
      }
    }
  }
}

/// G11: for the tunnel's addresses nothing comes in by a link, and for no address of the link neither.
void check_arrivals(const Ruleset& ruleset, const World& world, const WayOut& way, Violations& found) {
  const auto arrives_at = [&](const IpAddress& address, std::uint32_t fib) {
    Packet packet = between(address, udp, 40000, 9);
    packet.hook = Hook::prerouting;
    packet.iif = way.index;
    packet.iifkind = way.kind;
    packet.uid.reset();
    packet.fib_type = fib;
    return passes(evaluate(ruleset, packet));
  };
  if (world.trusted) {
    for (const auto& held : world.trusted->report.addresses) {
      if (arrives_at(held.address, rtn_local)) {
        found.push_back(fmt::format("G11: packets for the tunnel's address {} come in by {}", to_string(held.address),
                                    way.name.empty() ? "an unknown interface" : way.name));
      }
    }
  }
  if (world.kernel.fib && way.link_class == LinkClass::link && arrives_at(stranger4, rtn_unicast)) {
    found.emplace_back("G11: packets for somebody else come in by a link");
  }
}

/// An ICMP error from the network that quotes a packet of this host to `endpoint`.
Packet error_about(const Endpoint& endpoint) {
  const bool four = endpoint.address.family == Family::ipv4;
  const std::size_t quoted = 8;  // behind the header of the error
  const std::size_t ports_at = quoted + (four ? 20 : 40);
  const std::size_t protocol_at = quoted + (four ? 9 : 6);
  const std::size_t destination_at = quoted + (four ? 16 : 24);
  Packet packet;
  packet.source = packet.destination = four ? stranger4 : stranger6;
  packet.protocol = four ? icmp : icmpv6;
  packet.icmp_type = four ? 3 : 1;  // destination unreachable
  packet.transport.assign(ports_at + 8, 0);
  packet.transport[0] = *packet.icmp_type;
  packet.transport[protocol_at] = static_cast<std::uint8_t>(protocol_number(endpoint.protocol));
  std::copy(endpoint.address.octets().begin(), endpoint.address.octets().end(),
            packet.transport.begin() + static_cast<std::ptrdiff_t>(destination_at));
  const auto port = wire_number(endpoint.port.number, 2);
  std::copy(port.begin(), port.end(), packet.transport.begin() + static_cast<std::ptrdiff_t>(ports_at + 2));
  return packet;
}

/// Answers and advertisements with one thing about them that is not so.
void check_answers(const Ruleset& ruleset, const World& world, const WayOut& way, Violations& found) {
  std::vector<Probe> probes = {
      {"a packet from DHCP's port to another", between(stranger4, udp, 67, 9)},
      {"a packet to DHCP's port from another", between(stranger4, udp, 66, 68)},
      {"DHCP of the other family", between(stranger6, udp, 67, 68)},
      {"DHCPv6 from far away", between(stranger6, udp, 547, 546)},
      {"a packet from DHCPv6's port to another", between(neighbour6, udp, 547, 9)},
      {"a router advertisement from far away", discovery(stranger6, 134, 255)},
      {"a router advertisement with hop limit 64", discovery(neighbour6, 134, 64)},
      {"a neighbour solicitation with hop limit 64", discovery(neighbour6, 135, 64)},
      {"a neighbour advertisement with hop limit 64", discovery(neighbour6, 136, 64)},
      {"an ICMPv6 redirect", discovery(neighbour6, 137, 255)},
  };
  for (const auto& endpoint : transport_endpoints(world)) {
    const auto protocol = static_cast<std::uint8_t>(protocol_number(endpoint.protocol));
    const auto& stranger = endpoint.address.family == Family::ipv4 ? stranger4 : stranger6;
    auto other = between(stranger, protocol, endpoint.port.number, 9);
    probes.push_back({"an answer of somebody else", other});
    other.socket_mark = transport_mark(world);
    probes.push_back({"an answer of somebody else to a marked socket", other});
    // Anybody on the link can take the server's address and port.
    const auto forged = between(endpoint.address, protocol, endpoint.port.number, 22);
    for (auto packet : {forged, error_about(endpoint)}) {
      probes.push_back({"a packet of the server's address to no socket", packet});
      packet.socket_mark = 0;
      probes.push_back({"a packet of the server's address to an unmarked socket", packet});
    }
  }
  for (const auto& probe : probes) {
    Packet packet = probe.packet;
    place(packet, way, Hook::input);
    if (!may_enter(world, way, packet) && passes(evaluate(ruleset, packet))) {
      found.push_back(fmt::format("G11: {} may come in", probe.leak));
    }
  }
}

}  // namespace

void check_edges(const Ruleset& ruleset, const World& world, const std::vector<WayOut>& ways, Violations& found) {
  const auto is_known = [](const WayOut& way) {
    return way.link_class == LinkClass::link && way.index != unknown_interface && way.kind.empty();
  };
  // One link stands for all: what differs from link to link is what the policy names, and that is asked elsewhere.
  const auto known = std::find_if(ways.begin(), ways.end(), is_known);
  auto probes = beside_upkeep();
  const auto marked = beside_transport(world);
  probes.insert(probes.end(), marked.begin(), marked.end());
  for (const WayOut& way : {ways.front(), known == ways.end() ? ways.front() : *known}) {
    check_out(ruleset, world, way, probes, found);
    check_answers(ruleset, world, way, found);
    check_arrivals(ruleset, world, way, found);
  }
  if (known != ways.end()) {
    check_frames(ruleset, world, *known, found);
  }
  if (world.trusted && match_tunnel(world)) {
    check_kind(ruleset, *world.trusted, found);
  }
}

}  // namespace killswitch::decide
