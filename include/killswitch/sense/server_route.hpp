// Asks the kernel how it would send to the VPN server, and where else it could.
#pragma once

#include "killswitch/model/host_route.hpp"

namespace killswitch::sense {

/// Takes microseconds; a dump of all routes is read only when the way leads into the tunnel, or a route of ours stands.
/// @return an error when the kernel does not answer
[[nodiscard]] Result<model::ServerRoute> find_server_route(const model::ServerRouteQuestion& question);

}  // namespace killswitch::sense
