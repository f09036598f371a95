// The way to the VPN server. OpenVPN leads it past its own tunnel with a route to this one host, which NetworkManager
// takes away when it sets a link up anew; without it the tunnel's packets go into the tunnel.
#pragma once

#include "killswitch/model/address.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace killswitch::model {

/// A route to one address over a link; without a router the link leads there itself.
struct HostRoute {
  IpAddress destination;
  IfIndex link;
  std::optional<IpAddress> router;
  bool operator==(const HostRoute&) const = default;
};

struct DefaultRoute {
  IfIndex link;
  std::optional<IpAddress> router;
  std::uint32_t metric{0};  ///< the smallest is used
  bool operator==(const DefaultRoute&) const = default;
};

/// What the kernel is asked.
struct ServerRouteQuestion {
  IpAddress server;
  std::uint32_t mark{0};  ///< of OpenVPN's packets; a rule of the routing policy may look at it
  IfIndex tunnel;
  bool ours_in_place{false};
  bool operator==(const ServerRouteQuestion&) const = default;
};

/// What it answered.
struct ServerRoute {
  IpAddress server;
  std::optional<IfIndex> leads_over;   ///< the interface; nothing: nowhere
  std::vector<DefaultRoute> defaults;  ///< of the main table; only where the tunnel or a route of ours leads there
  bool operator==(const ServerRoute&) const = default;
};

/// The part of the world that concerns the way to the server.
struct RouteWorld {
  std::optional<ServerRoute> found;
  std::optional<HostRoute> ours;  ///< set by us, and not known to be gone
  bool changing{false};           ///< an effect is under way
  bool stalled{false};            ///< it did not work, or too often; until somebody looks again
  std::chrono::sys_seconds second{};
  unsigned in_second{0};  ///< changes in that second
  bool operator==(const RouteWorld&) const = default;
};

}  // namespace killswitch::model
