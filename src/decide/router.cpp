// A router's LAN: its computers reach the tunnel through this host and nothing else, and this host serves them.
//
// Their class of links has chains of its own, so that nothing here can widen what passes another link. There is no
// egress table on them: what the tunnel brings for a computer on the LAN may come from any address.
#include "compile_parts.hpp"

namespace killswitch::decide {

using namespace model;

namespace {

constexpr std::int32_t priority_srcnat = 100;
constexpr std::uint32_t router_solicitation = 133;
constexpr std::uint32_t router_advertisement = 134;
constexpr std::uint32_t neighbour_solicitation = 135;
constexpr std::uint32_t neighbour_advertisement = 136;

Rule neighbours(std::uint32_t type, const std::string& comment) {
  return rule({ipv6(), l4proto(ip_protocol::icmpv6), equal(Field::icmpv6_type, type), equal(Field::ip6_hoplimit, 255U)},
              accept(), comment);
}

Rules from_tunnel(const Context& context) {
  if (!context.tunnel) {
    return {};
  }
  return {rule({equal(Field::iif, context.tunnel->index.number), equal(Field::iifkind, context.tunnel_kind)}, accept(),
               "G9: from the tunnel to the LAN")};
}

/// What the computers on the LAN ask of this host.
Rules asked_of_host(const Router& router) {
  const auto is_udp = l4proto(ip_protocol::udp);
  Rules rules = {
      neighbours(router_solicitation, "G11: router solicitation from the LAN"),
      neighbours(neighbour_solicitation, "G11: neighbour solicitation from the LAN"),
      neighbours(neighbour_advertisement, "G11: neighbour advertisement from the LAN"),
  };
  if (router.dhcp) {
    rules.push_back(rule({ipv4(), is_udp, sport(68), dport(67)}, accept(), "G11: DHCP from the LAN"));
    rules.push_back(rule({ipv6(), is_udp, sport(546), dport(547), in_set({field(Field::ip6_saddr)}, "link_local6")},
                         accept(), "G11: DHCPv6 from the LAN"));
  }
  if (router.dns) {
    rules.push_back(rule({is_udp, dport(53)}, accept(), "G11: DNS from the LAN"));
    rules.push_back(rule({l4proto(ip_protocol::tcp), dport(53)}, accept(), "G11: DNS over TCP from the LAN"));
  }
  return rules;
}

/// What this host says to the LAN: answers, advertisements, and that something was refused (a reset, an ICMP error).
Rules said_by_host(const Router& router) {
  constexpr std::uint16_t flags_offset = 13;
  constexpr std::uint8_t rst = 0x04;
  const auto is_udp = l4proto(ip_protocol::udp);
  const auto is_tcp = l4proto(ip_protocol::tcp);
  Match reset;
  reset.operands = {transport_bytes(flags_offset, 1)};
  reset.mask = Bytes{rst};
  reset.value = Bytes{rst};
  Rules rules = {
      neighbours(router_advertisement, "G1: router advertisement to the LAN"),
      neighbours(neighbour_solicitation, "G1: neighbour solicitation to the LAN"),
      neighbours(neighbour_advertisement, "G1: neighbour advertisement to the LAN"),
      rule({is_tcp, reset}, accept(), "G8: TCP reset to the LAN, so that programs need not wait"),
  };
  append(rules, icmp_errors("G8: to the LAN"));
  if (router.dhcp) {
    rules.push_back(rule({ipv4(), is_udp, sport(67), dport(68)}, accept(), "G1: DHCP answer to the LAN"));
    rules.push_back(rule({ipv6(), is_udp, sport(547), dport(546), in_set({field(Field::ip6_daddr)}, "link_local6")},
                         accept(), "G1: DHCPv6 answer to the LAN"));
  }
  if (router.dns) {
    rules.push_back(rule({is_udp, sport(53)}, accept(), "G7: DNS answer to the LAN"));
    rules.push_back(rule({is_tcp, sport(53), no_connection_request()}, accept(), "G7: DNS answer over TCP to the LAN"));
  }
  return rules;
}

Chain source_nat(const Context& context) {
  Rules rules;
  if (context.policy.router.masquerade && context.tunnel) {
    Verdict masquerade;
    masquerade.kind = Verdict::Kind::masquerade;
    rules.push_back(rule({in_set({field(Field::iif)}, "lan_interfaces"),
                          equal(Field::oif, context.tunnel->index.number), equal(Field::oifkind, context.tunnel_kind)},
                         masquerade, "G9: the LAN, with this host's address in the tunnel"));
  }
  rules.push_back(rule({}, accept(), "G1: not translated; what passes is decided later"));
  return Chain{"srcnat", BaseChain{Hook::postrouting, priority_srcnat, {}, ChainType::nat}, std::move(rules)};
}

Chain prerouting_chain() {
  return chain("prerouting_lan", {
                                     counted({ipv4(), in_set({field(Field::ip_daddr)}, "tunnel_addresses4")}, "inbound",
                                             drop(), "G11: for the tunnel's address, but from the LAN"),
                                     counted({ipv6(), in_set({field(Field::ip6_daddr)}, "tunnel_addresses6")},
                                             "inbound", drop(), "G11: for the tunnel's IPv6 address, but from the LAN"),
                                     rule({}, accept(), "G9: from the LAN; input and forward decide"),
                                 });
}

}  // namespace

bool is_router(const Context& context) {
  return !context.policy.router.lan.empty();
}

std::vector<Chain> router_chains(const Context& context) {
  if (!is_router(context)) {
    return {};
  }
  const auto& router = context.policy.router;
  Rules input = asked_of_host(router);
  append(input, services_in(context));
  append(input, lan_in(context));
  input.push_back(final_drop("inbound", "G11: nothing else comes in from the LAN"));

  Rules output = said_by_host(router);
  append(output, services_out(context, Layer::packets));
  append(output, lan_guards(context, Layer::packets));
  append(output, lan_out(context, Layer::packets));
  Rules postrouting = from_tunnel(context);
  append(postrouting, output);
  output.push_back(counted({}, "lan", go_to("refuse"), "G1: to the LAN without leave"));
  postrouting.push_back(final_drop("other", "G1: to the LAN, final verdict"));

  Rules forward = from_tunnel(context);
  forward.push_back(counted({}, "forwarded", go_to("refuse"), "G9: forwarded to the LAN, but not from the tunnel"));
  std::vector<Chain> chains = {prerouting_chain(), chain("input_lan", std::move(input)),
                               chain("forward_lan", std::move(forward)), chain("output_lan", std::move(output)),
                               chain("postrouting_lan", std::move(postrouting))};
  if (router.masquerade) {
    chains.push_back(source_nat(context));
  }
  return chains;
}

}  // namespace killswitch::decide
