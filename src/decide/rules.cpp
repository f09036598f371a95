#include "killswitch/decide/rules.hpp"

namespace killswitch::decide {

using namespace model;

namespace {
// @source NFPROTO_IPV4, NFPROTO_IPV6 in linux/netfilter.h
constexpr std::uint32_t nfproto_ipv4 = 2;
constexpr std::uint32_t nfproto_ipv6 = 10;
}  // namespace

std::uint32_t protocol_number(Protocol protocol) {
  return protocol == Protocol::udp ? ip_protocol::udp : ip_protocol::tcp;
}

Operand field(Field field) {
  Operand operand;
  operand.field = field;
  return operand;
}

Operand transport_bytes(std::uint16_t offset, std::uint16_t length) {
  return Operand{Field::payload, PayloadBase::transport, offset, length};
}

Match equal(Field name, Value value) {
  Match match;
  match.operands = {field(name)};
  match.value = std::move(value);
  return match;
}

namespace {
Match lookup(std::vector<Operand> key, std::string set, Match::Relation relation) {
  Match match;
  match.operands = std::move(key);
  match.relation = relation;
  match.set = std::move(set);
  return match;
}
}  // namespace

Match in_set(std::vector<Operand> key, std::string set) {
  return lookup(std::move(key), std::move(set), Match::Relation::in_set);
}

Match not_in_set(std::vector<Operand> key, std::string set) {
  return lookup(std::move(key), std::move(set), Match::Relation::not_in_set);
}

Match ipv4() {
  return equal(Field::nfproto, nfproto_ipv4);
}

Match ipv6() {
  return equal(Field::nfproto, nfproto_ipv6);
}

Match l4proto(std::uint32_t number) {
  return equal(Field::l4proto, number);
}

Match sport(std::uint16_t port) {
  return equal(Field::th_sport, std::uint32_t{port});
}

Match dport(std::uint16_t port) {
  return equal(Field::th_dport, std::uint32_t{port});
}

Match no_connection_request() {
  constexpr std::uint16_t flags_offset = 13;
  constexpr std::uint8_t syn = 0x02;
  constexpr std::uint8_t syn_or_ack = 0x12;
  Match match;
  match.operands = {transport_bytes(flags_offset, 1)};
  match.relation = Match::Relation::not_equal;
  match.mask = Bytes{syn_or_ack};
  match.value = Bytes{syn};
  return match;
}

// @source RFC 792 and RFC 4443: errors of ICMPv6 have the high bit clear
std::vector<Rule> icmp_errors(const std::string& comment) {
  constexpr std::uint32_t unreachable = 3;
  constexpr std::uint32_t time_exceeded = 11;
  constexpr std::uint32_t informational6 = 0x80;
  auto error6 = equal(Field::icmpv6_type, 0U);
  error6.mask = informational6;
  return {
      rule({ipv4(), l4proto(ip_protocol::icmp), equal(Field::icmp_type, unreachable)}, accept(),
           comment + ", unreachable"),
      rule({ipv4(), l4proto(ip_protocol::icmp), equal(Field::icmp_type, time_exceeded)}, accept(),
           comment + ", time exceeded"),
      rule({ipv6(), l4proto(ip_protocol::icmpv6), error6}, accept(), comment + ", ICMPv6 error"),
  };
}

std::vector<Rule> echo_replies(const std::string& comment) {
  constexpr std::uint32_t reply4 = 0;
  constexpr std::uint32_t reply6 = 129;
  return {
      rule({ipv4(), l4proto(ip_protocol::icmp), equal(Field::icmp_type, reply4)}, accept(), comment + ", echo reply"),
      rule({ipv6(), l4proto(ip_protocol::icmpv6), equal(Field::icmpv6_type, reply6)}, accept(),
           comment + ", ICMPv6 echo reply"),
  };
}

namespace {
Verdict verdict_of(Verdict::Kind kind) {
  Verdict verdict;
  verdict.kind = kind;
  return verdict;
}
}  // namespace

Verdict accept() {
  return verdict_of(Verdict::Kind::accept);
}

Verdict drop() {
  return verdict_of(Verdict::Kind::drop);
}

Verdict go_to(std::string chain) {
  Verdict verdict = verdict_of(Verdict::Kind::goto_chain);
  verdict.chain = std::move(chain);
  return verdict;
}

Verdict look_up(Field key, std::string map) {
  Verdict verdict = verdict_of(Verdict::Kind::look_up);
  verdict.key = {field(key)};
  verdict.map = std::move(map);
  return verdict;
}

Rule rule(std::vector<Match> matches, Verdict verdict, std::string comment) {
  return Rule{std::move(matches), {}, std::move(verdict), std::move(comment)};
}

Rule counted(std::vector<Match> matches, std::string counter, Verdict verdict, std::string comment) {
  return Rule{std::move(matches), std::move(counter), std::move(verdict), std::move(comment)};
}

std::vector<Match> both(std::vector<Match> first, const std::vector<Match>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace killswitch::decide
