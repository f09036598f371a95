// What `status` says of a world: never more than the kernel was seen to hold.
#pragma once

#include "killswitch/model/status.hpp"
#include "killswitch/model/world.hpp"

namespace killswitch::decide {

[[nodiscard]] model::Status describe(const model::World& world);

}  // namespace killswitch::decide
