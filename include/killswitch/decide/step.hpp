// One event changes the facts. What follows from the facts is computed elsewhere (compile, describe), so that doubled
// or coalesced events do no harm.
#pragma once

#include "killswitch/model/effect.hpp"
#include "killswitch/model/event.hpp"
#include "killswitch/model/world.hpp"

#include <chrono>
#include <optional>
#include <vector>

namespace killswitch::decide {

/// Applies `event` to `world`.
/// @param now wall-clock time of the event
/// @return what is to be done besides bringing the ruleset up to date, in order, after that is done.
[[nodiscard]] std::vector<model::Effect> step(model::World& world, const model::Event& event,
                                              std::chrono::sys_seconds now);

/// The facts that a state file restores; the tunnel counts only once rtnetlink confirms it.
[[nodiscard]] model::World restore(const model::SavedState& saved);
/// What is to be kept in the state file; nothing: the file is to be left as it is.
[[nodiscard]] std::optional<model::SavedState> to_save(const model::World& world);

/// When the names in question are to be asked for aloud: at once where an address is missing, again after a while when
/// nobody answered, and when the addresses have outlived what the answer promised. Nothing: not at all, because no name
/// is in question, the lock is not verified, or no link has an address to ask from.
[[nodiscard]] std::optional<std::chrono::sys_seconds> next_question(const model::World& world);

/// The kernel was read and held exactly what was computed.
[[nodiscard]] bool is_verified(const model::World& world);

}  // namespace killswitch::decide
