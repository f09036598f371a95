// Rulesets for the tests and the benchmark of the nf_tables codec: one that uses every word of the vocabulary, and one
// of the shape and size of a real one.
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <string>
#include <utility>
#include <vector>

namespace killswitch::samples {

using model::Field;
using model::KeyType;
using model::Match;
using model::Operand;
using model::Rule;
using model::Value;
using model::Verdict;

inline model::IpAddress address(const char* text) {
  return *model::parse_ip_address(text);
}
inline model::Prefix prefix(const char* text) {
  return *model::parse_prefix(text);
}
inline Operand raw(std::uint16_t offset, std::uint16_t length,
                   model::PayloadBase base = model::PayloadBase::transport) {
  return {Field::payload, base, offset, length};
}

inline Match is(Field field, Value value) {
  return {{{field}}, Match::Relation::equal, {}, std::move(value), {}};
}
inline Match is_not(Field field, Value value) {
  return {{{field}}, Match::Relation::not_equal, {}, std::move(value), {}};
}
inline Match masked(Operand operand, Value mask, Match::Relation relation, Value value) {
  return {{operand}, relation, std::move(mask), std::move(value), {}};
}
inline Match in(std::vector<Operand> operands, std::string set) {
  return {std::move(operands), Match::Relation::in_set, {}, {}, std::move(set)};
}
inline Match not_in(std::vector<Operand> operands, std::string set) {
  return {std::move(operands), Match::Relation::not_in_set, {}, {}, std::move(set)};
}

inline Verdict verdict(Verdict::Kind kind, std::string chain = {}) {
  return {kind, std::move(chain), {}, {}};
}
inline const Verdict accept = {Verdict::Kind::accept, {}, {}, {}};
inline const Verdict drop = {Verdict::Kind::drop, {}, {}, {}};
inline Verdict vmap(std::vector<Operand> key, std::string map) {
  return {Verdict::Kind::look_up, {}, std::move(key), std::move(map)};
}

inline Rule rule(std::vector<Match> matches, Verdict verdict, std::string comment = {}, std::string counter = {}) {
  return {std::move(matches), std::move(counter), std::move(verdict), std::move(comment)};
}

inline model::Chain base_chain(std::string name, model::Hook hook, std::int32_t priority, std::vector<Rule> rules) {
  return {std::move(name), model::BaseChain{hook, priority, {}}, std::move(rules)};
}

inline const std::vector<Operand> transport_key4 = {{Field::ip_daddr}, {Field::l4proto}, {Field::th_dport}};
inline const std::vector<Operand> transport_key6 = {{Field::ip6_daddr}, {Field::l4proto}, {Field::th_dport}};
inline const std::vector<Operand> icmp_key4 = {raw(24, 4), raw(17, 1), raw(30, 2)};
inline const std::vector<Operand> service_key = {{Field::l4proto}, {Field::th_dport}};

inline constexpr std::uint32_t udp = 17;
inline constexpr std::uint32_t tcp = 6;
inline constexpr std::uint32_t icmp6 = 58;
inline constexpr std::uint32_t ipv4 = 2;
inline constexpr std::uint32_t ipv6 = 10;
inline constexpr std::uint32_t our_mark = 0x6b73;

inline Rule logged(Rule rule, std::uint16_t group, std::string prefix, std::uint32_t per_second = 0) {
  rule.log = {group, std::move(prefix), per_second};
  return rule;
}

/// The name question `vpn` in wire form, letters compared without case.
inline Rule pinhole_rule() {
  const model::Bytes mask{0xff, 0xdf, 0xdf, 0xdf, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xdf, 0xdf};
  const model::Bytes name{0x03, 0x56, 0x50, 0x4e, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0x42};
  return rule({is(Field::l4proto, udp),
               is(Field::th_dport, 53U),
               masked(raw(10, 2), model::Bytes{0x80, 0}, Match::Relation::equal, model::Bytes{0, 0}),
               {{raw(12, 2)}, Match::Relation::equal, {}, model::Bytes{0, 1}, {}},
               masked(raw(20, 16), mask, Match::Relation::equal, name)},
              accept, "G7: question for the server's own name");
}

inline std::vector<model::Set> sets() {
  using Element = model::SetElement;
  const Verdict to_tunnel = verdict(Verdict::Kind::goto_chain, "output_tunnel");
  const Verdict to_helper = verdict(Verdict::Kind::jump, "helper");
  const std::vector<KeyType> transport4{KeyType::ipv4_addr, KeyType::inet_proto, KeyType::inet_service};
  const std::vector<KeyType> transport6{KeyType::ipv6_addr, KeyType::inet_proto, KeyType::inet_service};
  const std::vector<Element> servers{{{address("198.51.100.49"), udp, 1194U}, {}},
                                     {{address("198.51.100.50"), tcp, 443U}, {}}};
  return {
      {"transport4", transport4, false, false, servers},
      {"transport6", transport6, false, false, {{{address("2001:db8::49"), udp, 1194U}, {}}}},
      {"icmp_transport4", transport4, false, false, servers},
      {"dns_ports",
       {KeyType::inet_proto, KeyType::inet_service},
       false,
       false,
       {{{udp, 53U}, {}}, {{tcp, 53U}, {}}, {{tcp, 853U}, {}}, {{udp, 5353U}, {}}}},
      {"resolvers4", {KeyType::ipv4_addr}, false, false, {{{address("192.168.255.1")}, {}}}},
      {"resolvers6", {KeyType::ipv6_addr}, false, false, {}},
      {"private4",
       {KeyType::ipv4_addr},
       false,
       true,
       {{{prefix("10.0.0.0/8")}, {}},
        {{prefix("11.0.0.0/8")}, {}},
        {{prefix("192.168.1.1/32")}, {}},
        {{prefix("240.0.0.0/4")}, {}}}},
      {"private6", {KeyType::ipv6_addr}, false, true, {{{prefix("fe80::/10")}, {}}, {{prefix("fc00::/7")}, {}}}},
      {"transport_users", {KeyType::uid}, false, false, {{{0U}, {}}, {{1194U}, {}}}},
      {"marks", {KeyType::mark}, false, false, {{{our_mark}, {}}}},
      {"output_by_interface", {KeyType::ifindex}, true, false, {{{1U}, accept}, {{7U}, to_tunnel}, {{9U}, drop}}},
      {"by_protocol",
       {KeyType::inet_proto},
       true,
       false,
       {{{udp}, to_helper}, {{tcp}, verdict(Verdict::Kind::return_to_caller)}}},
  };
}

inline const std::vector<std::string> counters = {"dns", "ipv6", "lan", "forwarded", "inbound", "other", "impostor"};

/// Every Field, KeyType, Relation, Verdict and Hook of the inet family, and most kinds of values and masks.
inline model::Ruleset everything() {
  const std::uint32_t local = 2;
  const std::vector<Rule> prerouting{
      rule({is(Field::fib_daddr_iif_type, local), is_not(Field::iif, 7U)}, verdict(Verdict::Kind::none), {}, "inbound"),
      rule({is_not(Field::iifkind, std::string{"tun"}), is(Field::nfproto, ipv4),
            is(Field::ip_saddr, address("192.0.2.1"))},
           drop, "G11: from the tunnel's address", "impostor"),
      rule({}, accept),
  };
  const std::vector<Rule> input{
      rule({masked({Field::ct_state}, 6U, Match::Relation::not_equal, 0U)}, accept),
      rule({is(Field::ct_state, 2U), is(Field::iif, 9U)}, accept),
      rule({is(Field::nfproto, ipv4), is(Field::l4proto, 1U), is(Field::icmp_type, 3U),
            in(icmp_key4, "icmp_transport4")},
           accept, "G11: ICMP errors of the transport"),
      rule({is(Field::nfproto, ipv6), is(Field::l4proto, icmp6), is(Field::icmpv6_type, 135U),
            is(Field::ip6_hoplimit, 255U)},
           accept, "G1: neighbour discovery"),
      rule({is(Field::nfproto, ipv6), is(Field::ip6_saddr, prefix("fe80::/10"))}, accept),
      rule({}, vmap({{Field::l4proto}}, "by_protocol")),
      rule({}, drop, "G11: inbound", "inbound"),
  };
  const std::vector<Rule> output{
      rule({}, vmap({{Field::oif}}, "output_by_interface"), "dispatch"),
      rule({is(Field::nfproto, ipv4), is(Field::mark, our_mark), in(transport_key4, "transport4")}, accept,
           "G1: VPN transport"),
      rule({is(Field::nfproto, ipv6), in({{Field::mark}}, "marks"), in(transport_key6, "transport6")}, accept,
           "G1: VPN transport"),
      rule({in({{Field::skuid}}, "transport_users"), is(Field::nfproto, ipv4), in(transport_key4, "transport4")},
           accept),
      rule({is(Field::skuid, 1194U), is(Field::nfproto, ipv4), is(Field::ip_daddr, prefix("198.51.100.0/25"))}, accept),
      rule({masked({Field::mark}, 0xffU, Match::Relation::equal, 0x11U)}, accept),
      rule({is(Field::l4proto, udp), is(Field::th_sport, 68U), is(Field::th_dport, 67U)}, accept, "G1: DHCPv4"),
      rule({is(Field::ether_type, 0x888eU)}, accept),
      rule({is(Field::nfproto, ipv6), is(Field::ip6_daddr, address("ff02::2"))}, accept),
      rule({is(Field::nfproto, ipv4), in({{Field::ip_daddr}}, "private4")}, verdict(Verdict::Kind::jump, "helper")),
      rule({is(Field::nfproto, ipv6), not_in({{Field::ip6_daddr}}, "private6")}, verdict(Verdict::Kind::none), {},
           "ipv6"),
      pinhole_rule(),
      rule({masked(raw(6, 2, model::PayloadBase::network), model::Bytes{0x1f, 0xff}, Match::Relation::not_equal,
                   model::Bytes{0, 0})},
           accept, "fragments"),
      rule({}, verdict(Verdict::Kind::goto_chain, "refuse")),
  };
  const std::vector<Rule> output_tunnel{
      rule({is(Field::oifkind, std::string{"tun"}), not_in(service_key, "dns_ports")}, accept),
      rule({is(Field::nfproto, ipv4), in({{Field::ip_daddr}}, "resolvers4")}, accept),
      rule({is(Field::nfproto, ipv6), in({{Field::ip6_daddr}}, "resolvers6")}, accept),
      rule({in(service_key, "dns_ports")}, drop, "G7: DNS", "dns"),
  };
  const std::vector<Rule> refuse{
      logged(rule({is(Field::nfproto, ipv4)}, verdict(Verdict::Kind::none), "G1: told, at most so often"), 7, "refused",
             10),
      logged(rule({is(Field::l4proto, 132U)}, drop, "G1: told"), 65535, {}),
      rule({is(Field::l4proto, tcp)}, verdict(Verdict::Kind::reject_with_tcp_reset), "G8: at once", "other"),
      rule({}, verdict(Verdict::Kind::reject_admin_prohibited), "G8: at once", "other"),
  };
  using model::Hook;
  return {
      {{model::TableFamily::inet,
        model::table_name,
        counters,
        sets(),
        {{"output_tunnel", {}, output_tunnel},
         {"helper", {}, {rule({is(Field::iif, 3U)}, verdict(Verdict::Kind::return_to_caller)), rule({}, drop)}},
         {"refuse", {}, refuse},
         base_chain("prerouting", Hook::prerouting, -350, prerouting),
         base_chain("input", Hook::input, 0, input),
         base_chain("forward", Hook::forward, 0, {rule({}, drop, "G9: forwarded", "forwarded")}),
         base_chain("output", Hook::output, 0, output),
         base_chain("postrouting", Hook::postrouting, 300, {rule({is_not(Field::oif, 1U)}, drop, "G1", "other")})}}}};
}

/// About 45 rules: the size of a ruleset in daily use. `host` is the last byte of the server's address.
inline model::Ruleset realistic(std::uint8_t host = 49) {
  model::Ruleset ruleset = everything();
  model::Table& table = ruleset.tables.front();
  const std::vector<std::string> links{"eth0", "wlan0"};
  for (model::Set& set : table.sets) {
    if (set.name == "transport4" || set.name == "icmp_transport4") {
      std::get<model::IpAddress>(set.elements.front().key.front()).bytes[3] = host;
    }
  }
  for (model::Chain& chain : table.chains) {
    if (chain.name == "postrouting" || chain.name == "forward") {
      const Rule last = chain.rules.back();
      chain.rules = {
          rule({}, vmap({{Field::oif}}, "output_by_interface"), "dispatch"),
          rule({is(Field::nfproto, ipv4), is(Field::mark, our_mark), in(transport_key4, "transport4")}, accept,
               "G1: VPN transport"),
          rule({is(Field::nfproto, ipv6), is(Field::mark, our_mark), in(transport_key6, "transport6")}, accept,
               "G1: VPN transport"),
          rule({is(Field::l4proto, udp), is(Field::th_sport, 68U), is(Field::th_dport, 67U)}, accept, "G1: DHCPv4"),
          rule({is(Field::nfproto, ipv6), is(Field::l4proto, icmp6), is(Field::icmpv6_type, 135U),
                is(Field::ip6_hoplimit, 255U)},
               accept, "G1: neighbour discovery"),
          last};
    }
  }
  return ruleset;
}

}  // namespace killswitch::samples
