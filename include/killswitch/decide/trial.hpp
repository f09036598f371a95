// A lock on trial: how long it has left, and what it reverts to.
#pragma once

#include "killswitch/model/event.hpp"
#include "killswitch/model/world.hpp"

#include <chrono>

namespace killswitch::decide {

/// A trial that begins now. A trial that runs already keeps what it would revert to: that was confirmed last.
[[nodiscard]] model::Trial begin_trial(const model::World& world, const model::TrialRequest& request);

/// Never more than was asked for, however the clocks were set; zero: it is over.
[[nodiscard]] std::chrono::seconds remaining(const model::Trial& trial, const model::Moment& now);

}  // namespace killswitch::decide
