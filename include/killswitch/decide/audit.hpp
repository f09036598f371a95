// The second pair of eyes: does a ruleset keep the guarantees, whoever computed it? `compile` is believed by nobody.
#pragma once

#include "killswitch/model/ruleset.hpp"
#include "killswitch/model/world.hpp"

#include <string>
#include <vector>

namespace killswitch::decide {

/// Structure that holds for every ruleset of ours: a chain at each hook that ends in an unconditional drop, no
/// acceptance by connection state, every rule citing its guarantee. Needs no facts, so that it can judge what a dead
/// daemon left in the kernel.
[[nodiscard]] std::vector<std::string> audit_structure(const model::Ruleset& ruleset);

/// Also sends probes of every leak class through the interpreter, on every link of `world` and on an unknown one.
/// @return what is violated, in words; empty: nothing was found.
[[nodiscard]] std::vector<std::string> audit(const model::Ruleset& ruleset, const model::World& world);

/// What may be applied: `compile(world)`, or `block_all` with the violations when it fails its audit.
struct Audited {
  model::Ruleset ruleset;
  std::vector<std::string> violations;
};
[[nodiscard]] Audited compile_audited(const model::World& world);

}  // namespace killswitch::decide
