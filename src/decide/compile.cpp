#include "killswitch/decide/compile.hpp"

#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"

#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

// Output and forward come after destination NAT (-100), so that they see where a packet really goes; the final verdict
// in postrouting comes after source NAT (100) and after every re-route. Prerouting comes before connection tracking
// (-200), so that a refused packet leaves no trace there.
constexpr std::int32_t priority_prerouting = -350;
constexpr std::int32_t priority_filter = 0;
constexpr std::int32_t priority_postrouting = 300;

Context context_of(const World& world) {
  Context context{world, world.settings.policy, transport_endpoints(world), {}, {}, {}, {}, {}, {}, {}};
  if (world.trusted) {
    // Trust is only as good as the link that is there now.
    const auto link = world.links.find(world.trusted->index);
    if (link != world.links.end() && is_tunnel_kind(link->second.kind)) {
      context.tunnel = world.trusted;
      context.tunnel_kind = link->second.kind;
    }
  }
  const auto tunnel_index = context.tunnel ? std::optional{context.tunnel->index} : std::nullopt;
  for (const auto& [index, link] : world.links) {
    switch (class_of(link, world, tunnel_index)) {
      case LinkClass::internal: context.internal.push_back(index); break;
      case LinkClass::link:
        if (!is_guest_port(link, world, tunnel_index)) {
          context.egress_devices.push_back(link.name);
        }
        break;
      case LinkClass::trusted: context.trusted.push_back(index); break;
      case LinkClass::lan: context.lan.push_back(index); break;
      case LinkClass::loopback:
      case LinkClass::tunnel: break;
    }
  }
  for (const auto& [index, link] : world.links) {
    const auto carrier = link.vlan ? world.links.find(link.vlan->carrier) : world.links.end();
    if (carrier != world.links.end()) {
      const bool judged =
          class_of(link, world, tunnel_index) == LinkClass::link && !is_guest_port(link, world, tunnel_index);
      context.vlans.push_back({*link.vlan, carrier->second.name, judged});
    }
  }
  if (world.kernel.ahead) {
    const auto expected = expected_devices(world);
    context.egress_devices.insert(context.egress_devices.end(), expected.begin(), expected.end());
  }
  std::sort(context.egress_devices.begin(), context.egress_devices.end());
  return context;
}

// --- what may pass the tunnel -------------------------------------------------------------------------------------

Matches from_any_of(const char* interfaces) {
  return {in_set({field(Field::iif)}, interfaces)};
}

/// Into the tunnel goes everything but DNS to others than its resolvers. The first rule is the one that nearly every
/// packet meets; the last one takes what has no ports to look at (fragments behind the first).
Rules into_tunnel(const Context& context, const Matches& from) {
  Rules rules;
  if (!context.tunnel) {
    return rules;
  }
  const Matches is_tunnel = both(from, {equal(Field::oifkind, context.tunnel_kind)});
  const std::vector<Operand> service = {field(Field::l4proto), field(Field::th_dport)};
  rules.push_back(
      rule(both(is_tunnel, {not_in_set(service, "dns_ports")}), accept(), "G1 G6: the tunnel, by index and kind"));
  const auto dns = both(is_tunnel, {in_set(service, "dns_ports")});
  if (context.policy.any_tunnel_resolver) {
    rules.push_back(rule(dns, accept(), "G7: DNS in the tunnel, to anyone by policy"));
  } else {
    rules.push_back(rule(both(dns, {ipv4(), in_set({field(Field::ip_daddr)}, "tunnel_resolvers4")}), accept(),
                         "G7: DNS in the tunnel, to its resolvers"));
    rules.push_back(rule(both(dns, {ipv6(), in_set({field(Field::ip6_daddr)}, "tunnel_resolvers6")}), accept(),
                         "G7: DNS in the tunnel, to its IPv6 resolvers"));
    rules.push_back(
        counted({in_set(service, "dns_ports")}, "dns", go_to("refuse"), "G7: DNS in the tunnel to anyone else"));
  }
  rules.push_back(rule(is_tunnel, accept(), "G1 G6: the tunnel, packets without ports"));
  return rules;
}

// --- refusing -----------------------------------------------------------------------------------------------------

Rules refuse_rules(const Policy& policy) {
  Rules rules;
  if (policy.refusal == Refusal::reject) {
    Verdict reset;
    reset.kind = Verdict::Kind::reject_with_tcp_reset;
    Verdict prohibited;
    prohibited.kind = Verdict::Kind::reject_admin_prohibited;
    rules.push_back(rule({l4proto(ip_protocol::tcp)}, reset, "G8: refused at once, so that programs need not wait"));
    rules.push_back(rule({}, prohibited, "G8: refused at once, so that programs need not wait"));
  }
  rules.push_back(rule({}, drop(), "G1: refused"));
  return rules;
}

/// Why a packet of this host is refused on a link: the class is for the counters, the verdict is the same. First what
/// is refused in the local network as well.
Rules refuse_everywhere() {
  const std::vector<Operand> service = {field(Field::l4proto), field(Field::th_dport)};
  auto rules = refuse_unmarked_transport();
  rules.push_back(counted({in_set(service, "name_ports")}, "dns", go_to("refuse"),
                          "G7: DNS, DoT, mDNS, LLMNR or NetBIOS on a link"));
  return rules;
}

Rules refuse_the_rest() {
  return {
      counted({ipv6()}, "ipv6", go_to("refuse"), "G8: IPv6 outside the tunnel"),
      counted({ipv4(), in_set({field(Field::ip_daddr)}, "local4")}, "lan", go_to("refuse"), "G1: the local network"),
      counted({}, "other", go_to("refuse"), "G1: anything else on a link"),
  };
}

// --- chains -------------------------------------------------------------------------------------------------------

Rule dispatch_rule(Field interface, const char* map) {
  return rule({}, look_up(interface, map), "G1: by interface: loopback, tunnel, guests; everything else is a link");
}

Chain prerouting_chain(const Context& context) {
  // @source RTN_* in linux/rtnetlink.h
  constexpr std::uint32_t rtn_local = 2;
  constexpr std::uint32_t rtn_broadcast = 3;
  constexpr std::uint32_t rtn_anycast = 4;
  constexpr std::uint32_t rtn_multicast = 5;
  Rules rules = {
      dispatch_rule(Field::iif, "prerouting_by_interface"),
      counted({ipv4(), in_set({field(Field::ip_daddr)}, "tunnel_addresses4")}, "inbound", drop(),
              "G11: for the tunnel's address, but from a link"),
      counted({ipv6(), in_set({field(Field::ip6_daddr)}, "tunnel_addresses6")}, "inbound", drop(),
              "G11: for the tunnel's IPv6 address, but from a link"),
  };
  if (context.world.kernel.fib) {
    for (const auto type : {rtn_local, rtn_broadcast, rtn_multicast, rtn_anycast}) {
      rules.push_back(
          rule({equal(Field::fib_daddr_iif_type, type)}, accept(), "G11: for an address of the link it came from"));
    }
  } else {
    rules.push_back(rule({}, accept(), "G11: no fib in this kernel: input and forward decide alone"));
  }
  rules.push_back(final_drop("inbound", "G11: for no address of the link it came from"));
  return base_chain("prerouting", Hook::prerouting, priority_prerouting, std::move(rules));
}

Chain input_chain(const Context& context) {
  Rules rules = {dispatch_rule(Field::iif, "input_by_interface")};
  append(rules, transport_in(context));
  append(rules, upkeep_in(context.policy));
  append(rules, server_names_in(context));
  append(rules, endpoints_in(context.policy));
  append(rules, services_in(context));
  append(rules, lan_in(context));
  rules.push_back(final_drop("inbound", "G11: nothing else comes in from a link"));
  return base_chain("input", Hook::input, priority_filter, std::move(rules));
}

Chain output_chain(const Context& context) {
  Rules rules = {dispatch_rule(Field::oif, "output_by_interface")};
  append(rules, marked_transport_copies(context));
  append(rules, transport_out(context, Layer::packets));
  append(rules, upkeep_out(context.policy, Layer::packets));
  append(rules, server_names_out(context, Layer::packets));
  append(rules, endpoints_out(context, Layer::packets));
  append(rules, services_out(context, Layer::packets));
  append(rules, refuse_everywhere());
  append(rules, lan_out(context, Layer::packets));
  append(rules, refuse_the_rest());
  rules.push_back(final_drop("other", "G1: end of the chain"));
  return base_chain("output", Hook::output, priority_filter, std::move(rules));
}

Chain forward_chain() {
  return base_chain("forward", Hook::forward, priority_filter,
                    {dispatch_rule(Field::oif, "forward_by_interface"),
                     counted({}, "forwarded", go_to("refuse"), "G9: forwarded to a link"),
                     final_drop("forwarded", "G9: end of the chain")});
}

Chain postrouting_chain(const Context& context) {
  Rules rules = {dispatch_rule(Field::oif, "postrouting_by_interface")};
  append(rules, transport_out(context, Layer::packets));
  append(rules, upkeep_out(context.policy, Layer::packets));
  append(rules, server_names_out(context, Layer::packets));
  append(rules, endpoints_out(context, Layer::packets));
  append(rules, services_out(context, Layer::packets));
  append(rules, lan_guards(context, Layer::packets));
  append(rules, lan_out(context, Layer::packets));
  rules.push_back(final_drop("other", "G1: final verdict, after NAT and re-routing"));
  return base_chain("postrouting", Hook::postrouting, priority_postrouting, std::move(rules));
}

std::vector<Chain> tunnel_chains(const Context& context) {
  Rules input;
  Rules postrouting;
  Rules output = into_tunnel(context, {});
  Rules forward;
  if (context.tunnel) {
    input.push_back(rule({equal(Field::iifkind, context.tunnel_kind)}, accept(), "G6: from the tunnel"));
    postrouting.push_back(
        rule({equal(Field::oifkind, context.tunnel_kind)}, accept(), "G1 G6: the tunnel, final verdict"));
  }
  if (context.policy.internal_to_tunnel || is_router(context)) {
    forward = into_tunnel(context, from_any_of("tunnel_users"));
  }
  input.push_back(final_drop("inbound", "G6: not of the tunnel's kind"));
  postrouting.push_back(final_drop("other", "G6: not of the tunnel's kind"));
  output.push_back(counted({}, "other", go_to("refuse"), "G6: not of the tunnel's kind"));
  forward.push_back(counted({}, "forwarded", go_to("refuse"), "G9: forwarded into the tunnel without leave"));
  return {chain("input_tunnel", std::move(input)), chain("output_tunnel", std::move(output)),
          chain("forward_tunnel", std::move(forward)), chain("postrouting_tunnel", std::move(postrouting))};
}

std::vector<Chain> internal_chains(const Context& context) {
  Rules input;
  Rules output;
  Rules forward;
  Rules postrouting;
  if (context.policy.host_to_internal) {
    input.push_back(rule({}, accept(), "G9: from a guest to this host"));
    output.push_back(rule({}, accept(), "G9: from this host to a guest"));
    forward.push_back(rule(from_any_of("internal_interfaces"), accept(), "G9: between guests"));
  }
  if (context.policy.internal_to_tunnel && context.tunnel) {
    forward.push_back(
        rule({equal(Field::iif, context.tunnel->index.number), equal(Field::iifkind, context.tunnel_kind)}, accept(),
             "G9: from the tunnel to a guest"));
  }
  if (context.policy.host_to_internal || context.policy.internal_to_tunnel) {
    postrouting.push_back(rule({}, accept(), "G9: to a guest, as output and forward allowed"));
  }
  input.push_back(final_drop("inbound", "G9: guests are closed by policy"));
  output.push_back(counted({}, "lan", go_to("refuse"), "G9: guests are closed by policy"));
  forward.push_back(counted({}, "forwarded", go_to("refuse"), "G9: forwarded to a guest without leave"));
  postrouting.push_back(final_drop("other", "G9: guests are closed by policy"));
  return {chain("input_internal", std::move(input)), chain("output_internal", std::move(output)),
          chain("forward_internal", std::move(forward)), chain("postrouting_internal", std::move(postrouting))};
}

void leave_logs_out(Ruleset& ruleset) {
  for (auto& table : ruleset.tables) {
    for (auto& chain : table.chains) {
      std::erase_if(chain.rules, [](const Rule& rule) {
        return rule.log.group != 0 && rule.counter.empty() && rule.verdict.kind == Verdict::Kind::none;
      });
      for (auto& rule : chain.rules) {
        rule.log = {};
      }
    }
  }
}

}  // namespace

void append(Rules& rules, Rules more) {
  rules.insert(rules.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

Chain base_chain(std::string name, Hook hook, std::int32_t priority, Rules rules) {
  return Chain{std::move(name), BaseChain{hook, priority, {}, ChainType::filter}, std::move(rules)};
}

Chain chain(std::string name, Rules rules) {
  return Chain{std::move(name), {}, std::move(rules)};
}

Rule final_drop(const char* counter, const char* comment) {
  return counted({}, counter, drop(), comment);
}

Ruleset compile(const World& world) {
  const Context context = context_of(world);
  Table table;
  table.name = table_name;
  table.counters = {"dns", "forwarded", "impostor", "inbound", "ipv6", "lan", "other"};
  table.sets = sets_of(context);
  table.chains = {chain("refuse", refuse_rules(context.policy))};
  for (auto& more : {tunnel_chains(context), internal_chains(context), lan_chains(context), router_chains(context),
                     server_name_chains(context, Layer::packets)}) {
    table.chains.insert(table.chains.end(), more.begin(), more.end());
  }
  table.chains.push_back(prerouting_chain(context));
  table.chains.push_back(input_chain(context));
  table.chains.push_back(forward_chain());
  table.chains.push_back(output_chain(context));
  table.chains.push_back(postrouting_chain(context));
  Ruleset ruleset{{std::move(table)}};
  if (world.kernel.egress) {
    ruleset.tables.push_back(egress_table(context));
  }
  if (!world.kernel.log) {
    leave_logs_out(ruleset);
  }
  if (needs_twin(world.kernel)) {
    for (const Table& one : Ruleset{ruleset}.tables) {
      ruleset.tables.push_back(twin_of(one));
    }
  }
  return ruleset;
}

Ruleset block_all(const World& world) {
  World nothing;
  nothing.kernel = world.kernel;
  nothing.past_links = world.past_links;
  for (const auto& [index, link] : world.links) {
    // Of no kind and in no bridge, so that every one is a link.
    nothing.links[index].index = index;
    nothing.links[index].name = link.name;
  }
  return compile(nothing);
}

}  // namespace killswitch::decide
