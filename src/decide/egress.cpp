// The egress of every link, below all sockets: the last place that a frame passes, whoever made it.
#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"

namespace killswitch::decide {

using namespace model;

namespace {

constexpr std::uint32_t ether_type_ipv4 = 0x0800;
constexpr std::uint32_t ether_type_ipv6 = 0x86dd;

Operand network_bytes(std::uint16_t offset, std::uint16_t length) {
  return Operand{Field::payload, PayloadBase::network, offset, length};
}

Match masked_not_zero(Operand bytes, Bytes mask) {
  Match match;
  match.operands = {bytes};
  match.relation = Match::Relation::not_equal;
  match.mask = std::move(mask);
  match.value = Bytes(bytes.length, 0);
  return match;
}

/// Fragments behind the first show no port. To the server's address, from a marked socket, they belong to its packets.
Rules fragments_out(const Context& context) {
  const auto behind4 = both({equal(Field::ether_type, ether_type_ipv4), in_set({field(Field::ip_daddr)}, "servers4")},
                            behind_first_fragment(Family::ipv4));
  const auto behind6 = both({equal(Field::ether_type, ether_type_ipv6), in_set({field(Field::ip6_daddr)}, "servers6")},
                            behind_first_fragment(Family::ipv6));
  const Matches marked = {equal(Field::mark, transport_mark(context.world))};
  Rules rules = {
      rule(both(marked, behind4), accept(), "G1: fragment of the VPN transport, from a marked socket"),
      rule(both(marked, behind6), accept(), "G1 G8: fragment of the VPN transport over IPv6, from a marked socket"),
  };
  if (!context.policy.endpoints.empty()) {
    const Matches host4 = {equal(Field::ether_type, ether_type_ipv4), in_set({field(Field::ip_daddr)}, "hosts4")};
    const Matches host6 = {equal(Field::ether_type, ether_type_ipv6), in_set({field(Field::ip6_daddr)}, "hosts6")};
    rules.push_back(rule(both(host4, behind_first_fragment(Family::ipv4)), accept(),
                         "G1: fragment for a server named by the policy"));
    rules.push_back(rule(both(host6, behind_first_fragment(Family::ipv6)), accept(),
                         "G1: fragment for a server named by the policy, over IPv6"));
  }
  return rules;
}

}  // namespace

Matches behind_first_fragment(Family family) {
  if (family == Family::ipv4) {
    return {masked_not_zero(network_bytes(6, 2), {0x1f, 0xff})};
  }
  const std::uint8_t fragment_header = 44;
  Match next_header;
  next_header.operands = {network_bytes(6, 1)};
  next_header.value = Bytes{fragment_header};
  return {next_header, masked_not_zero(network_bytes(42, 2), {0xff, 0xf8})};
}

Table egress_table(const Context& context) {
  Table table;
  table.family = TableFamily::netdev;
  table.name = table_name;
  table.counters = {"raw"};
  table.sets = egress_sets_of(context);
  if (context.egress_devices.empty()) {
    return table;  // older kernels want a device for a chain
  }
  Rules rules = transport_out(context, Layer::frames);
  for (auto& more :
       {fragments_out(context), upkeep_out(context.policy, Layer::frames), server_names_out(context, Layer::frames),
        endpoints_out(context, Layer::frames), services_out(context, Layer::frames)}) {
    append(rules, more);
  }
  append(rules, frames_out(context));
  append(rules, lan_guards(context, Layer::frames));
  append(rules, lan_out(context, Layer::frames));
  append(rules, lan_fragments_out(context));
  rules.push_back(counted({}, "raw", drop(), "G9: any other frame, whoever made it"));
  table.chains = frame_chains(context);
  table.chains.push_back(chain("frames", std::move(rules)));
  for (auto& one : server_name_chains(context, Layer::frames)) {
    table.chains.push_back(std::move(one));
  }
  for (auto& one : egress_chains(context.world.kernel, context.egress_devices)) {
    table.chains.push_back(std::move(one));
  }
  return table;
}

}  // namespace killswitch::decide
