// Frames that are no IP packets of their own: ARP, 802.1X, and IP inside of PPPoE; bare, or with the tag of a VLAN.
//
// A VLAN device hands its frames to its carrier with the tag beside them, and the kernel's rules for IP see what is
// inside; only what is told by the bytes of the link header must know of the tag. A PPPoE frame is judged by what it
// carries, by offset: behind the network header come 6 bytes of PPPoE, 2 of PPP, then IP.
// @source Linux net/8021q/vlan_dev.c, net/netfilter/nft_payload.c (nft_payload_copy_vlan), drivers/net/ppp/pppoe.c
#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {

using namespace model;

namespace {

constexpr std::uint16_t type_arp = 0x0806;
constexpr std::uint16_t type_802_1x = 0x888e;
constexpr std::uint16_t type_pppoe_discovery = 0x8863;  // RFC 2516
constexpr std::uint16_t type_pppoe_session = 0x8864;

Bytes two_bytes(std::uint16_t number) {
  return {static_cast<std::uint8_t>(number >> 8U), static_cast<std::uint8_t>(number & 0xffU)};
}

Match bytes_are(PayloadBase base, std::uint16_t offset, Bytes value) {
  Match match;
  match.operands = {Operand{Field::payload, base, offset, static_cast<std::uint16_t>(value.size())}};
  match.value = std::move(value);
  return match;
}

Match masked(Match match, Bytes mask) {
  match.mask = std::move(mask);
  return match;
}

Match link_bytes(std::uint16_t offset, std::uint16_t value) {
  return bytes_are(PayloadBase::link, offset, two_bytes(value));
}

/// How a frame with something in it is put up: bare, or in a VLAN.
struct Envelope {
  Matches matches;
  std::string words;
};

Matches tagged(const Vlan& vlan) {
  constexpr std::uint16_t tag_at = 12;  // behind the two hardware addresses
  return {equal(Field::oif, vlan.carrier.number), link_bytes(tag_at, vlan.protocol),
          masked(link_bytes(tag_at + 2, vlan.id), {0x0f, 0xff})};
}

/// A packet socket may claim any type for a frame: what counts is what stands in it as well.
std::vector<Envelope> envelopes(const Context& context, std::uint16_t type) {
  constexpr std::uint16_t type_at = 12;
  const auto claimed = equal(Field::ether_type, std::uint32_t{type});
  std::vector<Envelope> all = {{{claimed, link_bytes(type_at, type)}, {}}};
  for (const auto& one : context.vlans) {
    if (one.judged) {
      all.push_back({both(both({claimed}, tagged(one.vlan)), {link_bytes(type_at + 4, type)}),
                     fmt::format(", VLAN {} of {}", one.vlan.id, one.carrier)});
    }
  }
  return all;
}

/// A session that is up, or was and will be dialled anew, needs no word of the policy.
bool uses_pppoe(const Context& context) {
  const auto& links = context.world.links;
  const auto& past = context.world.past_links;
  return context.policy.pppoe ||
         std::any_of(links.begin(), links.end(), [](const auto& entry) { return entry.second.kind == "ppp"; }) ||
         std::any_of(past.begin(), past.end(), [](const std::string& name) { return name.starts_with("ppp"); });
}

// --- inside of PPPoE -----------------------------------------------------------------------------------------------

constexpr std::uint16_t ip_at = 8;  // from the network header on: PPPoE 6, PPP 2

Operand inner(std::uint16_t offset, std::uint16_t length) {
  return {Field::payload, PayloadBase::network, static_cast<std::uint16_t>(ip_at + offset), length};
}

Match inner_is(std::uint16_t offset, Bytes value) {
  return bytes_are(PayloadBase::network, static_cast<std::uint16_t>(ip_at + offset), std::move(value));
}

Match inner_is_not(std::uint16_t offset, Bytes mask) {
  auto match = inner_is(offset, Bytes(mask.size(), 0));
  match.mask = std::move(mask);
  match.relation = Match::Relation::not_equal;
  return match;
}

/// What a family looks like inside: where the header has what is asked for.
struct Inside {
  const char* suffix;
  std::uint16_t ppp_protocol;
  Match header;  ///< of fixed size, so that the ports are where they are looked for
  std::uint16_t protocol_at;
  std::uint16_t destination_at;
  std::uint16_t destination_bytes;
  std::uint16_t ports_at;
  Matches whole;            ///< it is no fragment behind the first
  Matches behind_fragment;  ///< it is one
};

std::vector<Inside> insides() {
  constexpr std::uint8_t fragment_header = 44;
  return {
      {"4",
       0x0021,
       inner_is(0, {0x45}),
       9,
       16,
       4,
       20,
       {masked(inner_is(6, {0, 0}), {0x1f, 0xff})},
       {inner_is_not(6, {0x1f, 0xff})}},
      {"6",
       0x0057,
       masked(inner_is(0, {0x60}), {0xf0}),
       6,
       24,
       16,
       40,
       {},
       {inner_is(6, {fragment_header}), inner_is_not(42, {0xff, 0xf8})}},
  };
}

/// What stands side by side is compared as one: nft(8) would write it so.
Matches of_inside(const Inside& inside) {
  constexpr std::uint16_t ppp_at = 6;
  Bytes start = two_bytes(inside.ppp_protocol);
  if (inside.header.mask) {
    return {bytes_are(PayloadBase::network, ppp_at, std::move(start)), inside.header};
  }
  const auto& header = std::get<Bytes>(inside.header.value);
  start.insert(start.end(), header.begin(), header.end());
  return {bytes_are(PayloadBase::network, ppp_at, std::move(start))};
}

std::vector<Operand> service_of(const Inside& inside) {
  return {inner(inside.destination_at, inside.destination_bytes), inner(inside.protocol_at, 1),
          inner(static_cast<std::uint16_t>(inside.ports_at + 2), 2)};
}

/// To the destinations in `set`, and in `hosts` those of fragments that show no port.
void append_flows(Rules& rules, const Matches& who, const char* set, const char* hosts, const std::string& words) {
  for (const auto& inside : insides()) {
    const auto base = both(who, of_inside(inside));
    auto whole = both(base, inside.whole);
    whole.push_back(in_set(service_of(inside), std::string{set} + inside.suffix));
    rules.push_back(rule(std::move(whole), accept(), words));
    auto fragment = both(base, inside.behind_fragment);
    fragment.push_back(
        in_set({inner(inside.destination_at, inside.destination_bytes)}, std::string{hosts} + inside.suffix));
    rules.push_back(rule(std::move(fragment), accept(), words + ", fragment"));
  }
}

/// What an IPv6 host asks its link for: a router, and a lease.
void append_upkeep(Rules& rules, const Policy& policy) {
  const auto ipv6 = of_inside(insides().back());
  const Bytes all_routers = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
  const Bytes dhcp_servers = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2};
  if (policy.neighbour_discovery) {
    rules.push_back(rule(both(ipv6, {inner_is(6, {58, 255}), inner_is(24, all_routers), inner_is(40, {133})}), accept(),
                         "G1: link upkeep in PPPoE, router solicitation"));
  }
  if (policy.dhcp) {
    rules.push_back(
        rule(both(ipv6, {inner_is(6, {17}), inner_is(24, dhcp_servers), inner_is(40, {0x02, 0x22, 0x02, 0x23})}),
             accept(), "G1: link upkeep in PPPoE, DHCPv6"));
  }
}

Chain pppoe_chain(const Context& context) {
  Rules rules = {rule({in_set({Operand{Field::payload, PayloadBase::network, 6, 2}}, "ppp_upkeep")}, accept(),
                      "G1: link upkeep, PPP negotiates its session")};
  append_flows(rules, {equal(Field::mark, transport_mark(context.world))}, "pppoe_transport", "pppoe_servers",
               "G1: VPN transport in PPPoE, from a marked socket");
  if (!context.policy.endpoints.empty()) {
    append_flows(rules, {}, "pppoe_endpoints", "pppoe_endpoint_hosts", "G1: server named by the policy, in PPPoE");
  }
  append_upkeep(rules, context.policy);
  rules.push_back(final_drop("raw", "G9: anything else in PPPoE"));
  return chain("pppoe_frames", std::move(rules));
}

Chain arp_chain() {
  const Operand sender{Field::payload, PayloadBase::network, 14, 4};  // its IPv4 address, RFC 826
  return chain("arp_frames", {counted({in_set({sender}, "untold_addresses4")}, "raw", drop(),
                                      "G11: ARP does not tell the tunnel's addresses"),
                              rule({}, accept(), "G1: link upkeep, ARP"), final_drop("raw", "G9: end of the chain")});
}

}  // namespace

Rules frames_out(const Context& context) {
  Rules rules;
  for (const auto& one : context.vlans) {
    if (!one.judged) {
      rules.push_back(rule(tagged(one.vlan), accept(),
                           fmt::format("G9: VLAN {} of {}, where nothing is refused", one.vlan.id, one.carrier)));
    }
  }
  // For Ethernet and IPv4, told by the bytes where the packet starts: not behind a tag that a program wrote into the
  // frame.
  const auto starts_as_arp = bytes_are(PayloadBase::network, 0, {0x00, 0x01, 0x08, 0x00});
  for (auto& one : envelopes(context, type_arp)) {
    if (!one.words.empty()) {
      one.matches.push_back(starts_as_arp);
    }
    rules.push_back(rule(std::move(one.matches), go_to("arp_frames"), "G1: ARP" + one.words));
  }
  for (auto& one : envelopes(context, type_802_1x)) {
    rules.push_back(rule(std::move(one.matches), accept(), "G1: link upkeep, 802.1X" + one.words));
  }
  if (!uses_pppoe(context)) {
    return rules;
  }
  for (auto& one : envelopes(context, type_pppoe_discovery)) {
    rules.push_back(rule(std::move(one.matches), accept(), "G1: link upkeep, PPPoE looks for its server" + one.words));
  }
  for (auto& one : envelopes(context, type_pppoe_session)) {
    one.matches.push_back(bytes_are(PayloadBase::network, 0, {0x11, 0x00}));  // version, type; code: session
    rules.push_back(rule(std::move(one.matches), go_to("pppoe_frames"), "G1: PPPoE session" + one.words));
  }
  return rules;
}

std::vector<Chain> frame_chains(const Context& context) {
  std::vector<Chain> chains = {arp_chain()};
  if (uses_pppoe(context)) {
    chains.push_back(pppoe_chain(context));
  }
  return chains;
}

std::vector<Set> frame_sets_of(const Context& context) {
  if (!uses_pppoe(context)) {
    return {};
  }
  // LCP, PAP, CHAP, EAP, IPCP, IPV6CP, CCP. @source IANA, PPP DLL protocol numbers
  Set upkeep;
  upkeep.name = "ppp_upkeep";
  upkeep.key = {KeyType::inet_service};
  for (const std::uint32_t protocol : {0xc021U, 0xc023U, 0xc223U, 0xc227U, 0x8021U, 0x8057U, 0x80fdU}) {
    upkeep.elements.push_back({{protocol}, {}});
  }
  std::vector<Set> sets = {std::move(upkeep)};
  const auto add = [&sets](const std::string& name, const std::string& hosts, const std::vector<Endpoint>& endpoints) {
    for (const auto& [family, suffix] : {std::pair{Family::ipv4, "4"}, std::pair{Family::ipv6, "6"}}) {
      sets.push_back(endpoint_set(name + suffix, family, endpoints));
      sets.push_back(host_set(hosts + suffix, family, endpoints));
    }
  };
  // Sets of their own: nft(8) wants one for what is looked up by raw payload.
  add("pppoe_transport", "pppoe_servers", context.endpoints);
  if (!context.policy.endpoints.empty()) {
    add("pppoe_endpoints", "pppoe_endpoint_hosts", context.policy.endpoints);
  }
  return sets;
}

}  // namespace killswitch::decide
