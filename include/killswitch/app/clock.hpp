// The clocks of this machine, read in one place.
#pragma once

#include "killswitch/model/settings.hpp"

#include <chrono>

namespace killswitch::app {

[[nodiscard]] std::chrono::sys_seconds wall_clock();

/// Both clocks. Without a name for this boot (no /proc) it is empty.
[[nodiscard]] model::Moment now_on_both_clocks();

}  // namespace killswitch::app
