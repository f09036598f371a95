// What may pass a link: the encrypted transport and what keeps the link itself alive.
#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"

namespace killswitch::decide {

using namespace model;

namespace {

Operand l4() {
  return field(Field::l4proto);
}

// In the netdev family nfproto says "netdev"; what a frame carries stands in its EtherType.
constexpr std::uint32_t ether_type_ipv4 = 0x0800;
constexpr std::uint32_t ether_type_ipv6 = 0x86dd;

Match ipv4(Layer layer) {
  return layer == Layer::packets ? decide::ipv4() : equal(Field::ether_type, ether_type_ipv4);
}

Match ipv6(Layer layer) {
  return layer == Layer::packets ? decide::ipv6() : equal(Field::ether_type, ether_type_ipv6);
}

Rule neighbour_discovery(Layer layer, std::uint32_t type, Matches more, const char* what) {
  // Hop limit 255 proves that the packet did not come through, and will not go beyond, a router (RFC 4861).
  Matches matches = {ipv6(layer), l4proto(ip_protocol::icmpv6), equal(Field::icmpv6_type, type),
                     equal(Field::ip6_hoplimit, 255U)};
  return rule(both(std::move(matches), more), accept(), std::string{"G1: link upkeep, "} + what);
}

}  // namespace

Rules transport_out(const Context& context, Layer layer) {
  const auto mark = equal(Field::mark, transport_mark(context.world));
  const Matches to4 = {ipv4(layer), in_set({field(Field::ip_daddr), l4(), field(Field::th_dport)}, "transport4")};
  const Matches to6 = {ipv6(layer), in_set({field(Field::ip6_daddr), l4(), field(Field::th_dport)}, "transport6")};
  return {rule(both({mark}, to4), accept(), "G1: VPN transport, from a marked socket"),
          rule(both({mark}, to6), accept(), "G1 G8: VPN transport over IPv6, from a marked socket")};
}

namespace {

/// A copy of what is sent to a server goes to the daemon, which looks at whose socket it was; no verdict depends on it.
Rules transport_copies(Matches matches, const char* prefix, std::uint32_t per_second, const char* comment) {
  Rules rules;
  for (const auto& to :
       {Matches{decide::ipv4(), in_set({field(Field::ip_daddr), l4(), field(Field::th_dport)}, "transport4")},
        Matches{decide::ipv6(), in_set({field(Field::ip6_daddr), l4(), field(Field::th_dport)}, "transport6")}}) {
    auto copy = rule(both(matches, to), {}, comment);
    copy.log = {transport_group, prefix, per_second};
    rules.push_back(std::move(copy));
  }
  return rules;
}

}  // namespace

Rules marked_transport_copies(const Context& context) {
  constexpr std::uint32_t most_a_second = 5;
  if (context.tunnel) {
    return {};  // what carries the tunnel is known: no packet pays for it any more
  }
  return transport_copies({equal(Field::mark, transport_mark(context.world))}, marked_prefix, most_a_second,
                          "G6: copy for the daemon: which process has the marked socket");
}

Rules refuse_unmarked_transport() {
  constexpr std::uint32_t most_a_second = 50;
  auto rules =
      transport_copies({}, unmarked_prefix, most_a_second, "G1: copy for the daemon: is the socket OpenVPN's?");
  // Dropped, not rejected: OpenVPN would give the server up before its socket is proven and marked.
  rules.push_back(
      counted({decide::ipv4(), in_set({field(Field::ip_daddr), l4(), field(Field::th_dport)}, "transport4")},
              "impostor", drop(), "G1: to the VPN server, but not from a marked socket"));
  rules.push_back(
      counted({decide::ipv6(), in_set({field(Field::ip6_daddr), l4(), field(Field::th_dport)}, "transport6")},
              "impostor", drop(), "G1: to the VPN server over IPv6, but not from a marked socket"));
  return rules;
}

Rules upkeep_out(const Policy& policy, Layer layer) {
  Rules rules;
  if (policy.dhcp) {
    rules.push_back(rule({ipv4(layer), l4proto(ip_protocol::udp), sport(68), dport(67),
                          in_set({field(Field::ip_daddr)}, "dhcp_servers4")},
                         accept(), "G1: link upkeep, DHCP"));
    rules.push_back(rule({ipv6(layer), l4proto(ip_protocol::udp), sport(546), dport(547),
                          in_set({field(Field::ip6_daddr)}, "link_local6")},
                         accept(), "G1: link upkeep, DHCPv6"));
  }
  if (policy.neighbour_discovery) {
    const auto on_link = in_set({field(Field::ip6_daddr)}, "neighbours6");
    rules.push_back(neighbour_discovery(layer, 135, {on_link}, "neighbour solicitation"));
    rules.push_back(neighbour_discovery(layer, 136, {on_link}, "neighbour advertisement"));
    rules.push_back(neighbour_discovery(layer, 133, {on_link}, "router solicitation"));
  }
  return rules;
}

Rules upkeep_in(const Policy& policy) {
  const auto from_link = in_set({field(Field::ip6_saddr)}, "link_local6");
  Rules rules;
  if (policy.dhcp) {
    rules.push_back(
        rule({decide::ipv4(), l4proto(ip_protocol::udp), sport(67), dport(68)}, accept(), "G11: answer to DHCP"));
    rules.push_back(rule({decide::ipv6(), l4proto(ip_protocol::udp), sport(547), dport(546), from_link}, accept(),
                         "G11: answer to DHCPv6"));
  }
  if (policy.neighbour_discovery) {
    rules.push_back(neighbour_discovery(Layer::packets, 135, {}, "neighbour solicitation from the link"));
    rules.push_back(neighbour_discovery(Layer::packets, 136, {}, "neighbour advertisement from the link"));
    rules.push_back(neighbour_discovery(Layer::packets, 134, {from_link}, "router advertisement"));
  }
  return rules;
}

// No connection tracking: the addresses are exact, and nothing that was open before can ride on an established state.
Rules answers_of(const std::string& set, const std::string& what) {
  constexpr std::uint32_t icmp_unreachable = 3;
  constexpr std::uint32_t icmpv6_informational = 0x80;  // RFC 4443: errors have the high bit clear
  // Offsets count from the ICMP header: 8 bytes of it, then the quoted IPv4 header without options (20 bytes,
  // protocol at 9, destination at 16) or IPv6 header (40 bytes, next header at 6, destination at 24).
  const std::vector<Operand> quoted4 = {transport_bytes(24, 4), transport_bytes(17, 1), transport_bytes(30, 2)};
  const std::vector<Operand> quoted6 = {transport_bytes(32, 16), transport_bytes(14, 1), transport_bytes(50, 2)};
  auto error6 = equal(Field::icmpv6_type, 0U);
  error6.mask = icmpv6_informational;
  return {
      rule({decide::ipv4(), in_set({field(Field::ip_saddr), l4(), field(Field::th_sport)}, set + "4")}, accept(),
           "G11: answer of " + what),
      rule({decide::ipv6(), in_set({field(Field::ip6_saddr), l4(), field(Field::th_sport)}, set + "6")}, accept(),
           "G11: answer of " + what + " over IPv6"),
      rule({decide::ipv4(), l4proto(ip_protocol::icmp), equal(Field::icmp_type, icmp_unreachable),
            in_set(quoted4, "quoted_" + set + "4")},
           accept(), "G11: ICMP error about " + what),
      rule({decide::ipv6(), l4proto(ip_protocol::icmpv6), error6, in_set(quoted6, "quoted_" + set + "6")}, accept(),
           "G11: ICMPv6 error about " + what),
  };
}

Rules transport_in(const Context& context) {
  if (!context.world.kernel.socket) {
    return {};  // answers cannot be told from forged ones: `status` says so
  }
  auto rules = answers_of("transport", "the VPN server");
  // Anybody on the link can take the server's address and port: an answer counts only for a socket that is marked.
  // For an ICMP error the kernel looks up the socket that sent what it quotes.
  for (auto& one : rules) {
    one.matches.push_back(equal(Field::socket_mark, transport_mark(context.world)));
  }
  // IPv6 is put together again behind this hook, so fragments without a port are seen here; IPv4 before it. Without its
  // first fragment, which has to pass the rule above, nothing is put together of them.
  rules.push_back(
      rule(both({decide::ipv6(), in_set({field(Field::ip6_saddr)}, "servers6")}, behind_first_fragment(Family::ipv6)),
           accept(), "G11: fragment of an answer of the VPN server over IPv6"));
  return rules;
}

}  // namespace killswitch::decide
