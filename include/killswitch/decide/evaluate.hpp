// The interpreter of our rulesets: what would the kernel do with this packet, at one hook or on its whole way?
//
// It follows the kernel also where that is odd: payload is loaded by offset whatever the packet is, behind the first
// fragment there is no transport header, and a rule whose field cannot be loaded does not match, negated or not. Every
// match of the vocabulary is compared with the kernel by tests/kernel/evaluate_test.cpp.
// @source Linux net/netfilter/nf_tables_core.c, nft_{payload,meta,cmp,lookup}.c
#pragma once

#include "killswitch/model/link.hpp"
#include "killswitch/model/packet.hpp"
#include "killswitch/model/ruleset.hpp"

#include <string>
#include <vector>

namespace killswitch::decide {

/// A rule that matched on the way to the verdict.
struct Step {
  std::string chain;
  std::size_t rule{0};  ///< counted from 0
  std::string comment;
  bool operator==(const Step&) const = default;
};

struct Evaluation {
  model::Verdict::Kind verdict{model::Verdict::Kind::accept};  ///< accept, drop or one of the rejects
  std::string chain;       ///< where it was decided; empty: no chain of ours stands at this hook
  std::string comment;     ///< of the deciding rule; empty: the chain's policy
  std::vector<Step> path;  ///< rules that led from chain to chain, then the deciding one
  bool operator==(const Evaluation&) const = default;
};

/// Runs the base chains that stand at `packet.hook`, in the order of their priorities; at egress those that have
/// `packet.oifname` among their devices. Frames that are not IP meet egress only.
[[nodiscard]] Evaluation evaluate(const model::Ruleset& ruleset, const model::Packet& packet);

[[nodiscard]] inline bool passes(const Evaluation& evaluation) {
  return evaluation.verdict == model::Verdict::Kind::accept;
}

/// How a packet came about decides which hooks it meets.
enum class Way : std::uint8_t {
  sent,           ///< by a socket of this host: output, postrouting, egress; to loopback also prerouting, input
  forwarded,      ///< prerouting, forward, postrouting, egress
  received,       ///< prerouting, input
  packet_socket,  ///< a whole frame from this host: egress
};

/// `packet` with everything that is known of it anywhere on its way; its `hook` is not looked at.
struct Journey {
  Way way{Way::sent};
  model::Packet packet;
};

struct Stop {
  model::Hook hook{model::Hook::output};
  Evaluation evaluation;
  bool operator==(const Stop&) const = default;
};

/// What happened at each hook, up to the first that did not let the packet pass.
using Trace = std::vector<Stop>;

/// The way from hook to hook: each sees of the packet what the kernel shows there. IPv4 fragments are put together
/// before input. A packet that the link is too small for is cut between postrouting and egress; give the pieces as
/// packets of their own.
[[nodiscard]] Trace trace(const model::Ruleset& ruleset, const Journey& journey);

/// Whether it leaves, or is received: no hook refused it.
[[nodiscard]] bool arrives(const Trace& trace);

/// What `fib daddr . iif type` says of `address` in a packet that came in by `in`, as far as the addresses of the links
/// tell (RTN_* numbers).
[[nodiscard]] std::uint32_t fib_type_of(const model::IpAddress& address, model::IfIndex in, const model::Links& links);

}  // namespace killswitch::decide
