// What the programs that work without a daemon share: the command with --offline, and the early lock.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "killswitch/model/world.hpp"

namespace killswitch::app {

/// `world` with the interfaces as they are now and what `firewall` found out about the kernel.
[[nodiscard]] Result<model::World> look_around(const enforce::Firewall& firewall, model::World world);

}  // namespace killswitch::app
