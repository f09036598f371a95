// The one host route that may be ours (decide/host_route). The kernel remembers whose it is, so that nothing has to be
// kept: after a crash it is found again.
#pragma once

#include "killswitch/model/event.hpp"

#include <vector>

namespace killswitch::enforce {

/// `before` goes, `after` comes. @return what stands now, with an error if that is not `after`
[[nodiscard]] model::HostRouteChanged change_host_route(const std::optional<model::HostRoute>& before,
                                                        const std::optional<model::HostRoute>& after);

/// All of ours that stand, one at most unless somebody interfered.
[[nodiscard]] Result<std::vector<model::HostRoute>> own_host_routes();

/// None of ours stands afterwards.
[[nodiscard]] Outcome remove_host_routes();

}  // namespace killswitch::enforce
