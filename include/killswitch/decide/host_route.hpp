// OpenVPN leads the tunnel's own packets past the tunnel with a route to the server over a link. Where another program
// took that route away, they go round in circles: which route is missing is decided here, from facts alone. It opens
// nothing: what may leave a link is the firewall's business.
#pragma once

#include "killswitch/model/world.hpp"

#include <optional>

namespace killswitch::decide {

/// What the kernel is to be asked about the way to the server; nothing while no tunnel is trusted or it is not known
/// where its server is.
[[nodiscard]] std::optional<model::ServerRouteQuestion> route_in_question(const model::World& world);

/// The host route that is to stand by our doing: only where the server would be looked for in the tunnel itself, and a
/// link has a default route. With routes or rules of OpenVPN's or the administrator's own that do, nothing.
[[nodiscard]] std::optional<model::HostRoute> wanted_host_route(const model::World& world);

}  // namespace killswitch::decide
