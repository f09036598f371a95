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

/// Fragments behind the first show no port. To the server's address, from OpenVPN, they belong to its packets.
Rules fragments_out(const Context& context) {
  const auto behind4 = both({equal(Field::ether_type, ether_type_ipv4), in_set({field(Field::ip_daddr)}, "servers4")},
                            behind_first_fragment(Family::ipv4));
  const auto behind6 = both({equal(Field::ether_type, ether_type_ipv6), in_set({field(Field::ip6_daddr)}, "servers6")},
                            behind_first_fragment(Family::ipv6));
  const Matches marked = {equal(Field::mark, transport_mark(context.world))};
  Rules rules = {
      rule(both(marked, behind4), accept(), "G1: fragment of the VPN transport, marked by OpenVPN"),
      rule(both(marked, behind6), accept(), "G1 G8: fragment of the VPN transport over IPv6, marked by OpenVPN"),
  };
  if (!context.users.empty()) {
    const Matches users = {in_set({field(Field::skuid)}, "transport_users")};
    rules.push_back(rule(both(users, behind4), accept(), "G1: fragment of the VPN transport, by OpenVPN's user"));
    rules.push_back(
        rule(both(users, behind6), accept(), "G1 G8: fragment of the VPN transport over IPv6, by OpenVPN's user"));
  }
  return rules;
}

/// A packet socket may claim any type for a frame: what counts is what stands in it as well.
Matches frame_of_type(std::uint8_t high, std::uint8_t low) {
  Match on_the_wire;
  on_the_wire.operands = {Operand{Field::payload, PayloadBase::link, 12, 2}};
  on_the_wire.value = Bytes{high, low};
  return {equal(Field::ether_type, std::uint32_t{high} << 8U | low), on_the_wire};
}

Rules upkeep_frames() {
  const auto arp = frame_of_type(0x08, 0x06);
  const auto sender = network_bytes(14, 4);  // the sender's IPv4 address in ARP for Ethernet (RFC 826)
  return {
      counted(both(arp, {in_set({sender}, "untold_addresses4")}), "raw", drop(),
              "G11: ARP does not tell the tunnel's addresses"),
      rule(arp, accept(), "G1: link upkeep, ARP"),
      rule(frame_of_type(0x88, 0x8e), accept(), "G1: link upkeep, 802.1X"),
  };
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
    return table;  // the kernel wants a device for the chain
  }
  Rules rules = transport_out(context, Layer::frames);
  for (auto& more : {fragments_out(context), upkeep_out(context.policy, Layer::frames),
                     endpoints_out(context, Layer::frames), services_out(context, Layer::frames)}) {
    append(rules, more);
  }
  append(rules, upkeep_frames());
  append(rules, lan_guards(context, Layer::frames));
  append(rules, lan_out(context, Layer::frames));
  append(rules, lan_fragments_out(context));
  rules.push_back(counted({}, "raw", drop(), "G9: any other frame, whoever made it"));
  table.chains.push_back(Chain{"egress", BaseChain{Hook::egress, 0, context.egress_devices}, std::move(rules)});
  return table;
}

}  // namespace killswitch::decide
