#include "killswitch/decide/audit.hpp"

#include "audit_parts.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/rules.hpp"
#include "killswitch/model/server_name.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

// Documentation addresses (RFC 5737, RFC 3849) stand for "anyone on the internet".
const IpAddress somewhere4 = make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{203, 0, 113, 7});
const IpAddress neighbour4 = make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{192, 168, 43, 1});
const IpAddress multicast4 = make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{224, 0, 0, 251});
const IpAddress somewhere6 = make_ip_address(Family::ipv6, std::array<std::uint8_t, 4>{0x20, 0x01, 0x0d, 0xb8});
const IpAddress multicast6 = make_ip_address(Family::ipv6, std::array<std::uint8_t, 2>{0xff, 0x02});
constexpr std::uint32_t root = 0;
constexpr std::uint32_t nobody = 65534;

bool ends_in_drop(const Chain& chain) {
  return !chain.rules.empty() && chain.rules.back().matches.empty() &&
         chain.rules.back().verdict.kind == Verdict::Kind::drop;
}

bool cites_guarantee(const Rule& rule) {
  return rule.comment.size() > 3 && rule.comment[0] == 'G' && rule.comment[1] >= '1' && rule.comment[1] <= '9' &&
         rule.comment.find(": ") != std::string::npos;
}

bool looks_at_connection_state(const Rule& rule) {
  return std::any_of(rule.matches.begin(), rule.matches.end(), [](const Match& match) {
    return std::any_of(match.operands.begin(), match.operands.end(),
                       [](const Operand& operand) { return operand.field == Field::ct_state; });
  });
}

bool looks_at_user(const Rule& rule) {
  return std::any_of(rule.matches.begin(), rule.matches.end(), [](const Match& match) {
    return std::any_of(match.operands.begin(), match.operands.end(),
                       [](const Operand& operand) { return operand.field == Field::skuid; });
  });
}

const Table* find_table(const Ruleset& ruleset, TableFamily family, std::string_view name) {
  const auto found = std::find_if(ruleset.tables.begin(), ruleset.tables.end(), [&](const Table& candidate) {
    return candidate.family == family && candidate.name == name;
  });
  return found == ruleset.tables.end() ? nullptr : &*found;
}

/// Where rules must stand twice, they are the same rules.
void check_twins(const Ruleset& ruleset, const World& world, Violations& found) {
  if (!needs_twin(world.kernel)) {
    return;
  }
  for (const auto& table : ruleset.tables) {
    const Table* twin = find_table(ruleset, table.family, twin_table_name);
    if (twin == nullptr || (table.name == table_name && *twin != twin_of(table))) {
      found.emplace_back("G5: a table that is lost with its owner has no twin with the same rules");
    }
  }
}

void check_hook(const Table& table, Hook hook, Violations& found) {
  const auto stands_at = [hook](const Chain& chain) {
    return chain.base && chain.base->type == ChainType::filter && chain.base->hook == hook;
  };
  const auto count = std::count_if(table.chains.begin(), table.chains.end(), stands_at);
  if (count != 1) {
    found.push_back(fmt::format("{} chains at the hook {}; expected one", count, to_string(hook)));
  }
}

/// A filter that stands before NAT does not see where a packet really goes.
void check_priority(const Chain& chain, Violations& found) {
  constexpr std::int32_t destination_nat = -100;
  constexpr std::int32_t source_nat = 100;
  if (!chain.base || chain.base->type != ChainType::filter) {
    return;
  }
  const auto hook = chain.base->hook;
  const bool early = (hook == Hook::postrouting && chain.base->priority <= source_nat) ||
                     ((hook == Hook::output || hook == Hook::forward) && chain.base->priority <= destination_nat);
  if (early) {
    found.push_back(fmt::format("G1: the chain {} stands before NAT", chain.name));
  }
}

/// One packet for each way out that a link must not be.
std::vector<Probe> leak_probes() {
  constexpr std::uint8_t udp = 17;
  constexpr std::uint8_t tcp = 6;
  constexpr std::uint8_t icmp = 1;
  constexpr std::uint8_t igmp = 2;
  constexpr std::uint8_t icmpv6 = 58;
  constexpr std::uint8_t sctp = 132;
  constexpr std::uint8_t echo_request4 = 8;
  constexpr std::uint8_t echo_request6 = 128;
  std::vector<Probe> probes = {
      {"UDP", packet_to(somewhere4, udp, 9)},
      {"TCP", packet_to(somewhere4, tcp, 443)},
      {"ICMP", packet_to(somewhere4, icmp, {})},
      {"IGMP", packet_to(multicast4, igmp, {})},
      {"SCTP", packet_to(somewhere4, sctp, 9)},
      {"DNS", packet_to(somewhere4, udp, 53)},
      {"DNS over TCP", packet_to(somewhere4, tcp, 53)},
      {"DNS over TLS", packet_to(somewhere4, tcp, 853)},
      {"DNS to the local network", packet_to(neighbour4, udp, 53)},
      {"mDNS", packet_to(multicast4, udp, 5353)},
      {"the local network", packet_to(neighbour4, tcp, 80)},
      {"IPv6 UDP", packet_to(somewhere6, udp, 9)},
      {"IPv6 TCP", packet_to(somewhere6, tcp, 443)},
      {"IPv6 ping", packet_to(somewhere6, icmpv6, {})},
      {"IPv6 DNS", packet_to(somewhere6, udp, 53)},
      {"IPv6 mDNS", packet_to(multicast6, udp, 5353)},
      {"a fragment", packet_to(somewhere4, udp, {})},
  };
  probes[2].packet.icmp_type = echo_request4;
  probes[13].packet.icmp_type = echo_request6;
  probes[13].packet.hop_limit = 255;
  return probes;
}

/// Questions for names beside those that may be asked for: what merely contains or extends one is another name.
std::vector<Probe> name_probes(const World& world) {
  std::vector<Probe> probes;
  for (const auto& name : names_in_question(world)) {
    std::vector<std::string> others = {"x" + name, "x." + name, name + ".x", name.substr(1)};
    // As long as the name, and another one in each part that the kernel compares at once.
    constexpr std::size_t part = 16;
    for (std::size_t at = 0; at < name.size() + part; at += part) {
      auto& other = others.emplace_back(name);
      auto& letter = other[std::min(at, name.size() - 1)];
      letter = letter == 'q' ? 'r' : 'q';
    }
    for (const auto& other : others) {
      const auto wire = wire_name(other);
      if (wire.empty()) {
        continue;
      }
      auto packet = packet_to(somewhere4, 17, 53);
      packet.transport = dns_question(wire, 1);
      probes.push_back({"a question for " + other, packet});
    }
    auto more = packet_to(somewhere4, 17, 53);
    more.transport = dns_question(wire_name(name), 1, {0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 1, 0});
    probes.push_back({"a question for " + name + " that carries more", more});
  }
  return probes;
}

/// Packets to the server itself that are not the transport.
std::vector<Probe> impostor_probes(const World& world) {
  std::vector<Probe> probes;
  const auto endpoints = transport_endpoints(world);
  for (const auto& endpoint : endpoints) {
    const auto protocol = static_cast<std::uint8_t>(protocol_number(endpoint.protocol));
    const auto other = endpoint.protocol == Protocol::udp ? Protocol::tcp : Protocol::udp;
    auto own_port = packet_to(endpoint.address, protocol, endpoint.port.number);
    for (const std::uint32_t uid : {root, nobody}) {
      own_port.uid = uid;
      probes.push_back({fmt::format("an unmarked socket of uid {} to the VPN server", uid), own_port});
    }
    auto marked = own_port;
    marked.mark = transport_mark(world);
    marked.protocol = static_cast<std::uint8_t>(protocol_number(other));
    if (!std::binary_search(endpoints.begin(), endpoints.end(), Endpoint{endpoint.address, endpoint.port, other})) {
      probes.push_back({"another protocol to the VPN server", marked});
    }
    marked.protocol = protocol;
    marked.destination_port = Port{static_cast<std::uint16_t>(endpoint.port.number ^ 1U)};
    const Endpoint beside{endpoint.address, *marked.destination_port, endpoint.protocol};
    if (!std::binary_search(endpoints.begin(), endpoints.end(), beside)) {
      probes.push_back({"another port of the VPN server", marked});
    }
  }
  return probes;
}

bool is_allowed_transport(const World& world, const Packet& packet) {
  const auto endpoints = transport_endpoints(world);
  return std::any_of(endpoints.begin(), endpoints.end(), [&](const Endpoint& endpoint) {
    return endpoint.address == packet.destination && packet.destination_port == endpoint.port &&
           packet.protocol == protocol_number(endpoint.protocol);
  });
}

/// Every interface that packets must not leave by as they like: links, and one that nobody has told us of.
std::vector<WayOut> ways_out(const World& world) {
  const auto tunnel = match_tunnel(world);
  const auto trusted = tunnel ? std::optional{tunnel->index} : std::nullopt;
  // No policy names these two: what has no index that we know is in no set.
  std::vector<WayOut> ways = {{unknown_interface, "", "", LinkClass::link},
                              {unknown_interface, "", "tun", LinkClass::link}};
  for (const auto& [index, link] : world.links) {
    const auto its_class = class_of(link, world, trusted);
    if (its_class == LinkClass::link || its_class == LinkClass::lan) {
      ways.push_back({index, link.name, link.kind, its_class});
    }
  }
  return ways;
}

std::string name_of(const WayOut& way) {
  return way.name.empty() ? "an unknown interface" : way.name;
}

/// The hardware of a bridge that is trusted, which takes a waiver of G1.
bool is_port_of_trusted(const WayOut& way, const World& world) {
  const auto tunnel = match_tunnel(world);
  const auto link = world.links.find(way.index);
  return link != world.links.end() &&
         is_guest_port(link->second, world, tunnel ? std::optional{tunnel->index} : std::nullopt);
}

/// At egress nothing but the transport, upkeep and its frames may pass, on every link; one where no chain stands lets
/// all of the probes out.
void check_egress(const Ruleset& ruleset, const World& world, const std::vector<WayOut>& ways,
                  const std::vector<Probe>& probes, Violations& found) {
  if (!world.kernel.egress) {
    return;  // `status` says so
  }
  for (const auto& table : ruleset.tables) {
    for (const auto& chain : table.chains) {
      if (table.family == TableFamily::netdev && chain.base && !ends_in_drop(chain)) {
        found.push_back(fmt::format("G9: the chain {} does not end in an unconditional drop", chain.name));
      }
    }
  }
  for (const auto& way : ways) {
    if (way.link_class != LinkClass::link || is_port_of_trusted(way, world)) {
      continue;
    }
    const bool known = way.index != unknown_interface;  // one that nobody knows can have no hook yet
    for (const auto& probe : probes) {
      Packet packet = probe.packet;
      packet.hook = Hook::egress;
      packet.oif = way.index;
      packet.oifkind = way.kind;
      packet.oifname = way.name;
      if (may_leave(world, way, packet)) {
        continue;
      }
      const auto evaluation = evaluate(ruleset, packet);
      if (evaluation.chain.empty()) {
        if (known) {
          found.push_back(fmt::format("G9: there is no egress hook on {}", way.name));
        }
        break;
      }
      if (passes(evaluation)) {
        found.push_back(fmt::format("G9: {} may leave {} by a packet socket", probe.leak, name_of(way)));
      }
    }
  }
}

void check_way(const Ruleset& ruleset, const World& world, const WayOut& way, const Probe& probe, Violations& found) {
  for (const Hook hook : {Hook::output, Hook::postrouting, Hook::forward}) {
    Packet packet = probe.packet;
    packet.hook = hook;
    packet.oif = way.index;
    packet.oifkind = way.kind;
    if (hook == Hook::forward) {
      packet.iif = unknown_interface;
      packet.uid.reset();
    }
    if (hook != Hook::forward && may_leave(world, way, packet)) {
      continue;
    }
    if (const auto evaluation = evaluate(ruleset, packet); passes(evaluation)) {
      found.push_back(
          fmt::format("{} may leave by {} ({}: '{}')", probe.leak, name_of(way), evaluation.chain, evaluation.comment));
    }
  }
}

}  // namespace

Violations audit_structure(const Ruleset& ruleset) {
  Violations found;
  const auto* table = find_table(ruleset, TableFamily::inet, table_name);
  if (table == nullptr) {
    table = find_table(ruleset, TableFamily::inet, twin_table_name);  // its owner died, the twin stays
  }
  if (table == nullptr) {
    return {"there is no table inet killswitch"};
  }
  for (const Hook hook : {Hook::prerouting, Hook::input, Hook::forward, Hook::output, Hook::postrouting}) {
    check_hook(*table, hook, found);
  }
  for (const auto& chain : table->chains) {
    if (chain.base && chain.base->type == ChainType::filter && !ends_in_drop(chain)) {
      found.push_back(fmt::format("the chain {} does not end in an unconditional drop", chain.name));
    }
    check_priority(chain, found);
    for (const auto& rule : chain.rules) {
      if (!cites_guarantee(rule)) {
        found.push_back(fmt::format("a rule in {} cites no guarantee: '{}'", chain.name, rule.comment));
      }
      if (looks_at_user(rule)) {
        found.push_back(
            fmt::format("G1: a rule in {} looks at a user ID, which anybody may have: '{}'", chain.name, rule.comment));
      }
      if (looks_at_connection_state(rule)) {
        found.push_back(fmt::format("G10: a rule in {} looks at the connection state: '{}'", chain.name, rule.comment));
      }
    }
  }
  return found;
}

Violations audit(const Ruleset& ruleset, const World& world) {
  Violations found = audit_structure(ruleset);
  auto probes = leak_probes();
  std::erase_if(probes, [&](const Probe& probe) { return is_allowed_transport(world, probe.packet); });
  const auto impostors = impostor_probes(world);
  probes.insert(probes.end(), impostors.begin(), impostors.end());
  const auto names = name_probes(world);
  probes.insert(probes.end(), names.begin(), names.end());
  const auto named = allowance_probes(world);
  probes.insert(probes.end(), named.begin(), named.end());
  const auto ways = ways_out(world);
  check_twins(ruleset, world, found);
  check_egress(ruleset, world, ways, probes, found);
  for (const auto& way : ways) {
    for (const auto& probe : probes) {
      check_way(ruleset, world, way, probe, found);
    }
  }
  check_input(ruleset, world, ways, found);
  check_forwarding(ruleset, world, ways, found);
  check_edges(ruleset, world, ways, found);
  return found;
}

Audited compile_audited(const World& world) {
  Audited audited{compile(world), {}};
  audited.violations = audit(audited.ruleset, world);
  if (!audited.violations.empty()) {
    audited.ruleset = block_all(world);
  }
  return audited;
}

}  // namespace killswitch::decide
