// A ruleset is a value: tables, sets, chains and rules of nf_tables in a small vocabulary of our own.
//
// `decide::compile` makes one from facts. From that one value come the netlink batch, the nft(8) text, the
// interpreter behind `audit`, and the comparison with what the kernel was read to hold. Numbers are in host byte
// order; the codec alone knows what the kernel wants.
#pragma once

#include "killswitch/model/address.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace killswitch::model {

/// What a rule can look at. Widths and kernel names stand in codec/nft_fields.
enum class Field : std::uint8_t {
  iif,      ///< interface index, incoming
  oif,      ///< interface index, outgoing
  iifkind,  ///< rtnl link kind of the incoming interface: "tun", "ovpn"
  oifkind,
  nfproto,     ///< 2 (IPv4) or 10 (IPv6): in inet tables
  l4proto,     ///< IP protocol number behind all extension headers
  mark,        ///< SO_MARK / skb mark
  skuid,       ///< uid of the sending socket
  ether_type,  ///< meta protocol
  ip_saddr,
  ip_daddr,
  ip6_saddr,
  ip6_daddr,
  ip6_hoplimit,
  icmp_type,
  icmpv6_type,
  th_sport,            ///< bytes 0–1 of the transport header
  th_dport,            ///< bytes 2–3 of the transport header
  fib_daddr_iif_type,  ///< RTN_* type of the destination as seen from the incoming interface
  ct_state,            ///< bit mask: established 2, related 4
  socket_mark,         ///< SO_MARK of the socket that receives the packet, or that an ICMP error is about
  payload,             ///< any bytes: `base`, `offset` and `length` of the operand say which
};

enum class PayloadBase : std::uint8_t { link, network, transport };

struct Operand {
  Field field{Field::iif};
  PayloadBase base{PayloadBase::transport};  ///< for Field::payload, like the two below
  std::uint16_t offset{0};                   ///< bytes
  std::uint16_t length{0};                   ///< bytes
  auto operator<=>(const Operand&) const = default;
};

using Bytes = std::vector<std::uint8_t>;
/// Numbers for indexes, ports, protocols, marks and uids; text for kinds; bytes for raw payload.
using Value = std::variant<std::uint32_t, IpAddress, Prefix, std::string, Bytes>;

/// `operands` are compared with `value` or, concatenated, looked up in `set`.
struct Match {
  enum class Relation : std::uint8_t { equal, not_equal, in_set, not_in_set };
  std::vector<Operand> operands;  ///< one, or several with in_set / not_in_set
  Relation relation{Relation::equal};
  std::optional<Value> mask;  ///< applied before the comparison: number or bytes
  Value value{};
  std::string set;
  bool operator==(const Match&) const = default;
};

struct Verdict {
  enum class Kind : std::uint8_t {
    none,  ///< no verdict: go on with the next rule
    accept,
    drop,
    jump,
    goto_chain,
    return_to_caller,
    reject_with_tcp_reset,
    reject_admin_prohibited,
    masquerade,  ///< in nat chains: take the source address of the outgoing interface
    look_up,     ///< verdict map `map` at `key`; go on with the next rule when it has no such element
  };
  Kind kind{Kind::none};
  std::string chain;         ///< jump, goto_chain
  std::vector<Operand> key;  ///< look_up
  std::string map;           ///< look_up
  bool operator==(const Verdict&) const = default;
};

/// A copy of what matched, for whoever listens to an nflog group. No verdict ever depends on it.
struct Log {
  std::uint16_t group{0};       ///< 0: none
  std::string prefix;           ///< what the listener tells the rules by; at most 127 bytes
  std::uint32_t per_second{0};  ///< at most so many; what is more does not match the rule any further; 0: all
  bool operator==(const Log&) const = default;
};

struct Rule {
  std::vector<Match> matches;  ///< all must hold
  std::string counter;         ///< named counter that counts what matched; empty: none
  Verdict verdict;
  std::string comment;  ///< "G1: …"; at most 127 bytes
  Log log{};
  bool operator==(const Rule&) const = default;
};

enum class Hook : std::uint8_t { prerouting, input, forward, output, postrouting, egress };
[[nodiscard]] std::string_view to_string(Hook hook);
enum class TableFamily : std::uint8_t { inet, netdev };
/// A nat chain sees the first packet of a connection alone: it may translate it, but never decides whether it passes.
enum class ChainType : std::uint8_t { filter, nat };

struct BaseChain {
  Hook hook{Hook::output};
  std::int32_t priority{0};
  std::vector<std::string> devices;  ///< netdev egress only
  ChainType type{ChainType::filter};
  bool operator==(const BaseChain&) const = default;
};

struct Chain {
  std::string name;
  std::optional<BaseChain> base;  ///< always with policy drop
  std::vector<Rule> rules;
  bool operator==(const Chain&) const = default;
};

struct SetElement {
  std::vector<Value> key;          ///< one value for each part of the set's key
  std::optional<Verdict> verdict;  ///< in verdict maps
  bool operator==(const SetElement&) const = default;
};

/// The type of one part of a set's key: what nft(8) calls ifname, ipv4_addr, inet_service, …
enum class KeyType : std::uint8_t { ifindex, ipv4_addr, ipv6_addr, inet_proto, inet_service, mark, uid };

struct Set {
  std::string name;
  std::vector<KeyType> key;
  bool verdict_map{false};
  bool interval{false};              ///< elements are prefixes
  std::vector<SetElement> elements;  ///< sorted by the codec's byte order is not required; compared as a set
  bool operator==(const Set&) const = default;
};

struct Table {
  TableFamily family{TableFamily::inet};
  std::string name;
  std::vector<std::string> counters;  ///< named; their values survive every update
  std::vector<Set> sets;
  std::vector<Chain> chains;
  bool operator==(const Table&) const = default;
};

struct Ruleset {
  std::vector<Table> tables;
  bool operator==(const Ruleset&) const = default;
};

/// Name of our table in every family.
inline constexpr const char* table_name = "killswitch";
/// Where a table cannot outlive the socket that owns it, the same rules stand once more in a table that nobody owns:
/// another program's flush takes that one away, a lost socket the other, and neither takes both.
inline constexpr const char* twin_table_name = "killswitch-twin";

struct CounterValue {
  std::uint64_t packets{0};
  std::uint64_t bytes{0};
  bool operator==(const CounterValue&) const = default;
};

}  // namespace killswitch::model
