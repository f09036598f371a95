// Parts of `describe`. Private to this folder.
#pragma once

#include "killswitch/model/status.hpp"
#include "killswitch/model/world.hpp"

#include <string>
#include <vector>

namespace killswitch::decide {

/// What the policy gives up, and what of it has no effect on this machine.
[[nodiscard]] std::vector<std::string> policy_warnings(const model::World& world);

/// What to do now. @param status of `world`, all but this
[[nodiscard]] std::vector<std::string> next_steps(const model::World& world, const model::Status& status);

}  // namespace killswitch::decide
