// Parts of `describe`. Private to this folder.
#pragma once

#include "killswitch/model/world.hpp"

#include <string>
#include <vector>

namespace killswitch::decide {

/// What the policy gives up, and what of it has no effect on this machine.
[[nodiscard]] std::vector<std::string> policy_warnings(const model::World& world);

}  // namespace killswitch::decide
