// The interpreter of our rulesets: what would the kernel do with this packet at this hook?
#pragma once

#include "killswitch/model/packet.hpp"
#include "killswitch/model/ruleset.hpp"

#include <string>

namespace killswitch::decide {

struct Evaluation {
  model::Verdict::Kind verdict{model::Verdict::Kind::accept};  ///< accept, drop or one of the rejects
  std::string chain;    ///< where it was decided; empty: no chain of ours stands at this hook
  std::string comment;  ///< of the deciding rule; empty: the chain's policy
  bool operator==(const Evaluation&) const = default;
};

/// Runs the base chain that stands at `packet.hook`; at egress, as if the device were among its devices. A field that
/// the packet lacks matches nothing.
[[nodiscard]] Evaluation evaluate(const model::Ruleset& ruleset, const model::Packet& packet);

[[nodiscard]] inline bool passes(const Evaluation& evaluation) {
  return evaluation.verdict == model::Verdict::Kind::accept;
}

}  // namespace killswitch::decide
