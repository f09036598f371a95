// Facts in, ruleset out: the whole decision what may pass, as a pure function.
#pragma once

#include "killswitch/model/ruleset.hpp"
#include "killswitch/model/world.hpp"

namespace killswitch::decide {

/// The ruleset for `world` while the kill switch is enabled. A missing fact never widens it: an empty world gives
/// the ruleset that refuses everything (see `block_all`).
[[nodiscard]] model::Ruleset compile(const model::World& world);

/// Nothing leaves but loopback: what is applied when a ruleset fails its audit. Of `world` only the names of interfaces
/// and what the kernel can do are believed, so that the egress of every interface is closed as well.
[[nodiscard]] model::Ruleset block_all(const model::World& world);

}  // namespace killswitch::decide
