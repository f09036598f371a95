#include "random_rules.hpp"

#include "killswitch/decide/rules.hpp"
#include "support/worlds.hpp"
#include "testbed.hpp"

namespace killswitch::testing {

using namespace model;
using Relation = Match::Relation;

namespace {

Prefix prefix(const char* text) {
  return *parse_prefix(text);
}

Set set_of(std::string name, std::vector<KeyType> key, std::vector<std::vector<Value>> keys) {
  Set set;
  set.name = std::move(name);
  set.key = std::move(key);
  for (auto& one : keys) {
    set.interval = set.interval || std::holds_alternative<Prefix>(one.front());
    set.elements.push_back({std::move(one), {}});
  }
  return set;
}

Operand raw(PayloadBase base, std::uint16_t offset, std::uint16_t length) {
  return {Field::payload, base, offset, length};
}

}  // namespace

Match RandomRules::number(Field field, std::initializer_list<std::uint32_t> values) {
  Match match = decide::equal(field, pick(values));
  if (one_in(4)) {
    const auto mask = pick<std::uint32_t>({1, 0x0f, 0x80, 0xf0, 0xff});
    match.mask = mask;
    match.value = std::get<std::uint32_t>(match.value) & mask;
  }
  match.relation = one_in(3) ? Relation::not_equal : Relation::equal;
  return match;
}

Match RandomRules::address(Field field) {
  const bool four = field == Field::ip_saddr || field == Field::ip_daddr;
  Match match = decide::equal(field, Value{});
  if (one_in(3)) {
    match.value = four ? test::ip(pick({"198.51.100.49", "192.168.43.10", "203.0.113.99", "172.17.0.2"}))
                       : test::ip(pick({"2001:db8:b700::220", "fe80::1", "2001:db8:43::10", "ff02::1"}));
  } else {
    match.value = four ? prefix(pick({"192.168.0.0/16", "198.51.100.0/24", "224.0.0.0/4", "0.0.0.0/1"}))
                       : prefix(pick({"2001:db8::/32", "fe80::/10", "ff00::/8", "fd00::/8"}));
  }
  match.relation = one_in(3) ? Relation::not_equal : Relation::equal;
  return match;
}

/// Bytes that differ among the packets, also beyond the end of short ones.
Match RandomRules::payload() {
  struct Part {
    Operand where;
    Bytes mask;
    Bytes value;
  };
  using enum PayloadBase;
  const auto part = pick<Part>({{raw(network, 6, 2), {0x1f, 0xff}, {0, 0}},
                                {raw(network, 6, 2), {0xff, 0xff}, {0x20, 0}},
                                {raw(network, 6, 1), {0xff}, {44}},
                                {raw(network, 0, 1), {0xf0}, {0x40}},
                                {raw(network, 42, 2), {0xff, 0xf8}, {0, 0}},
                                {raw(network, 9, 1), {0xff}, {17}},
                                {raw(transport, 0, 2), {0xff, 0xff}, {0x9c, 0x40}},
                                {raw(transport, 0, 8), {0xff, 0, 0, 0, 0, 0, 0, 0}, {0x4b, 0, 0, 0, 0, 0, 0, 0}},
                                {raw(transport, 12, 1), {0xff}, {0x50}},
                                {raw(transport, 8, 4), {0xff, 0xff, 0xff, 0xff}, {0x4b, 0x69, 0x6c, 0x6c}},
                                {raw(transport, 20, 4), {0xff, 0, 0, 0}, {0x4b, 0, 0, 0}},
                                {raw(transport, 17, 1), {0xff}, {17}},
                                {raw(transport, 60, 1), {0}, {0}},
                                {raw(link, 12, 2), {0xff, 0xff}, {0x08, 0}},
                                {raw(link, 12, 2), {0xff, 0xff}, {0x86, 0xdd}}});
  Match match;
  match.operands = {part.where};
  match.mask = Value{part.mask};
  match.value = Value{part.value};
  match.relation = one_in(3) ? Relation::not_equal : Relation::equal;
  return match;
}

Match RandomRules::look_up() {
  using decide::field;
  struct Look {
    std::vector<Operand> key;
    const char* set;
  };
  const Look look = pick<Look>({{{field(Field::ip_saddr)}, "prefixes4"},
                                {{field(Field::ip_daddr)}, "prefixes4"},
                                {{raw(PayloadBase::network, 16, 4)}, "prefixes4"},
                                {{field(Field::ip6_daddr)}, "prefixes6"},
                                {{field(Field::ip6_saddr)}, "prefixes6"},
                                {{field(Field::l4proto), field(Field::th_dport)}, "services"},
                                {{field(Field::l4proto), field(Field::th_sport)}, "services"},
                                {{raw(PayloadBase::transport, 17, 1), raw(PayloadBase::transport, 30, 2)}, "services"},
                                {{field(Field::ip_daddr), field(Field::l4proto), field(Field::th_dport)}, "ends4"},
                                {{field(Field::ip6_daddr), field(Field::l4proto), field(Field::th_dport)}, "ends6"},
                                {{field(Field::mark)}, "marks"},
                                {{field(Field::skuid)}, "users"},
                                {{field(Field::oif)}, "interfaces"},
                                {{field(Field::iif)}, "interfaces"}});
  return one_in(3) ? decide::not_in_set(look.key, look.set) : decide::in_set(look.key, look.set);
}

Match RandomRules::match(Hook hook) {
  const bool fib = hook == Hook::prerouting || hook == Hook::input || hook == Hook::forward;
  switch (up_to(17)) {
    case 0: return number(Field::iif, {0, 2, 7, 9});
    case 1: return number(Field::oif, {0, 2, 7, 9});
    case 2: {
      auto kind = decide::equal(pick({Field::iifkind, Field::oifkind}), std::string{pick({"veth", "tun", "bridge"})});
      kind.relation = one_in(2) ? Relation::not_equal : Relation::equal;
      return kind;
    }
    case 3: return number(Field::nfproto, {2, 10, 5});
    case 4: return number(Field::l4proto, {1, 6, 17, 58, 132});
    case 5: return number(Field::mark, {0, 1, default_transport_mark, 0x80006b73});
    case 6: return number(Field::skuid, {0, 1000, 65534});
    case 7: return number(Field::ether_type, {0x0800, 0x86dd, 0x0806});
    case 8: return number(Field::ip6_hoplimit, {255, 64});
    case 9: return number(pick({Field::icmp_type, Field::icmpv6_type}), {3, 8, 128, 135, 136});
    case 10: return number(pick({Field::th_sport, Field::th_dport}), {1194, 67, 68, 53, 40000});
    case 11: return fib ? number(Field::fib_daddr_iif_type, {1, 2, 3, 5}) : payload();
    case 12: return address(pick({Field::ip_saddr, Field::ip_daddr, Field::ip6_saddr, Field::ip6_daddr}));
    case 13: return hook == Hook::input ? number(Field::socket_mark, {0, default_transport_mark}) : payload();
    case 14:
    case 15: return payload();
    default: return look_up();
  }
}

Rule RandomRules::rule(Hook hook, const std::string& deeper, const std::string& deepest) {
  std::vector<Match> matches;
  for (std::size_t i = 0; i < 1 + up_to(2); ++i) {
    matches.push_back(match(hook));
  }
  Verdict verdict;
  using Kind = Verdict::Kind;
  verdict.kind = pick({Kind::none, Kind::accept, Kind::drop, Kind::jump, Kind::jump, Kind::goto_chain,
                       Kind::return_to_caller, Kind::look_up});
  if (verdict.kind == Kind::look_up) {
    verdict = decide::look_up(pick({Field::iif, Field::oif}), "by_interface");
  }
  if (verdict.kind == Kind::jump || verdict.kind == Kind::goto_chain) {
    verdict.chain = deeper.empty() || one_in(2) ? deepest : deeper;
    if (verdict.chain.empty()) {
      verdict.kind = Kind::accept;
    }
  }
  return decide::rule(std::move(matches), std::move(verdict), "G1: by chance");
}

void RandomRules::add_chains(Table& table, Hook hook, const std::string& name) {
  Chain deepest{name + "_deepest", {}, {}};
  Chain deeper{name + "_deeper", {}, {}};
  Chain base{name, BaseChain{}, {}};
  base.base->hook = hook;
  if (hook == Hook::egress) {
    base.base->devices = {"wlo1"};
  }
  base.rules.push_back(decide::rule({decide::equal(Field::mark, barrier_mark)}, decide::accept(), "G1: the test"));
  for (int i = 0; i < 3; ++i) {
    deepest.rules.push_back(rule(hook, "", ""));
    deeper.rules.push_back(rule(hook, "", deepest.name));
    base.rules.push_back(rule(hook, deeper.name, deepest.name));
  }
  base.rules.push_back(decide::rule({}, decide::accept(), "G1: everything else"));
  for (auto* chain : {&deepest, &deeper, &base}) {
    table.chains.push_back(std::move(*chain));
  }
}

std::vector<Set> RandomRules::sets() {
  Set map = set_of("by_interface", {KeyType::ifindex}, {{2U}, {7U}, {9U}});
  map.verdict_map = true;
  for (auto& element : map.elements) {
    element.verdict = one_in(3) ? decide::drop() : decide::accept();
  }
  map.elements.pop_back();  // what is not there has no verdict
  return {set_of("prefixes4", {KeyType::ipv4_addr},
                 {{prefix("198.51.100.0/24")}, {prefix("192.168.0.0/16")}, {prefix("239.0.0.0/8")}}),
          set_of("prefixes6", {KeyType::ipv6_addr}, {{prefix("2001:db8:b700::/48")}, {prefix("fe80::/10")}}),
          set_of("services", {KeyType::inet_proto, KeyType::inet_service}, {{17U, 1194U}, {6U, 53U}, {17U, 67U}}),
          set_of("ends4", {KeyType::ipv4_addr, KeyType::inet_proto, KeyType::inet_service},
                 {{test::ip("198.51.100.49"), 17U, 1194U}, {test::ip("8.8.8.8"), 17U, 53U}}),
          set_of("ends6", {KeyType::ipv6_addr, KeyType::inet_proto, KeyType::inet_service},
                 {{test::ip("2001:db8:b700::220"), 17U, 1194U}}),
          set_of("marks", {KeyType::mark}, {{default_transport_mark}, {1U}}),
          set_of("users", {KeyType::uid}, {{0U}, {65534U}}),
          set_of("interfaces", {KeyType::ifindex}, {{2U}, {9U}}),
          std::move(map)};
}

Ruleset RandomRules::draw() {
  Table packets;
  packets.name = table_name;
  packets.sets = sets();
  add_chains(packets, Hook::prerouting, "prerouting");
  add_chains(packets, Hook::input, "input");
  add_chains(packets, Hook::forward, "forward");
  add_chains(packets, Hook::output, "output");
  add_chains(packets, Hook::postrouting, "postrouting");
  Table frames;
  frames.family = TableFamily::netdev;
  frames.name = table_name;
  frames.sets = sets();
  add_chains(frames, Hook::egress, "egress");
  return {{std::move(packets), std::move(frames)}};
}

}  // namespace killswitch::testing
