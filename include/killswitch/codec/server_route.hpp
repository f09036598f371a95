// Routes to one host over rtnetlink: how the kernel would send there, where the links' routers are, and a route of our
// own. Bytes only.
// @source Linux include/uapi/linux/rtnetlink.h, rtnetlink(7)
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/host_route.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace killswitch::codec {

/// rtm_protocol of our routes: who set them, so that they are known again after a crash. Numbers from 64 on that no
/// program is known by are free to use (/etc/iproute2/rt_protos).
inline constexpr std::uint8_t our_route_protocol = 75;

/// RTM_GETROUTE: how a packet with `mark` would go to `destination`.
[[nodiscard]] std::vector<std::uint8_t> encode_way_query(std::uint32_t sequence, const model::IpAddress& destination,
                                                         std::uint32_t mark);
/// @return the interface; nothing when there is no way, or it is none that leads out of this machine.
[[nodiscard]] std::optional<model::IfIndex> decode_way(std::span<const std::uint8_t> datagram);

/// What one datagram of a dump of the routes (codec/rtnetlink) says.
struct RouteTable {
  std::vector<model::DefaultRoute> defaults4;  ///< of the main table, over one link that is alive
  std::vector<model::DefaultRoute> defaults6;
  std::vector<model::HostRoute> ours;
  bool complete{false};  ///< the dump ends here
  bool failed{false};    ///< with an error, or routes changed meanwhile: it says nothing
  bool operator==(const RouteTable&) const = default;
};
[[nodiscard]] RouteTable decode_route_table(std::span<const std::uint8_t> datagram);

enum class RouteChange { add, remove };
/// RTM_NEWROUTE or RTM_DELROUTE, with an acknowledgement. `add` is refused (EEXIST) where somebody's stands;
/// `remove` takes ours alone.
[[nodiscard]] std::vector<std::uint8_t> encode_host_route(std::uint32_t sequence, const model::HostRoute& route,
                                                          RouteChange change);

/// The kernel's acknowledgement. @return its error
[[nodiscard]] Outcome decode_acknowledgement(std::span<const std::uint8_t> datagram);

}  // namespace killswitch::codec
