// Routes and neighbours over rtnetlink, as far as the leak probes need them: who is the router of a link, and does it
// answer there. Bytes only.
// @source Linux include/uapi/linux/{rtnetlink,neighbour}.h, rtnetlink(7)
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/address.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace killswitch::codec {

/// RTM_GETROUTE: how the kernel would send to `destination` over the interface `link`.
[[nodiscard]] std::vector<std::uint8_t> encode_route_query(std::uint32_t sequence, const model::IpAddress& destination,
                                                           model::IfIndex link);
/// @return the router; nothing when there is no route over `link`, or none that needs a router.
[[nodiscard]] std::optional<model::IpAddress> decode_gateway(std::span<const std::uint8_t> datagram,
                                                             model::IfIndex link);

/// RTM_NEWNEIGH with NTF_USE: the kernel finds the neighbour out, as if a packet had to go there.
[[nodiscard]] std::vector<std::uint8_t> encode_neighbour_use(std::uint32_t sequence, const model::IpAddress& neighbour,
                                                             model::IfIndex link);
/// RTM_GETNEIGH for one family.
[[nodiscard]] std::vector<std::uint8_t> encode_neighbour_dump(std::uint32_t sequence, model::Family family);

struct Neighbour {
  model::IfIndex link;
  model::IpAddress address;
  std::vector<std::uint8_t> hardware;  ///< its link-layer address
  bool operator==(const Neighbour&) const = default;
};
struct NeighbourDump {
  std::vector<Neighbour> usable;  ///< those that a packet can be sent to at once
  bool complete{false};           ///< the dump ends here
  bool operator==(const NeighbourDump&) const = default;
};
[[nodiscard]] NeighbourDump decode_neighbours(std::span<const std::uint8_t> datagram);

}  // namespace killswitch::codec
