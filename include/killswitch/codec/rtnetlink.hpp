// rtnetlink, bytes to values and back: interfaces, their addresses and wide routes, as notifications and as dumps.
//
// One datagram holds one or more messages; what they say becomes model events. Nothing here is trusted: a message
// whose lengths do not add up is an error and never half a fact. The sequence of messages, lost ones and repeated
// dumps are the business of sense/links.
// @source Linux include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h, rtnetlink(7)
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/event.hpp"

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

namespace killswitch::codec {

/// NLMSG_DONE: the last message of a dump. `errno_value` is positive when the dump broke off, else 0.
struct DumpDone {
  int errno_value{0};
  bool operator==(const DumpDone&) const = default;
};

/// NLMSG_ERROR: the answer to a request. `errno_value` is positive (the wire carries it negative); 0 acknowledges.
struct KernelAnswer {
  int errno_value{0};
  bool operator==(const KernelAnswer&) const = default;
};

using RtnetlinkContent =
    std::variant<model::LinkChanged, model::LinkRemoved, model::AddressAdded, model::AddressRemoved, model::RouteAdded,
                 model::RouteRemoved, model::HostRouteTouched, DumpDone, KernelAnswer>;

struct RtnetlinkMessage {
  std::uint32_t sequence{0};  ///< of the request that is answered
  /// NLM_F_DUMP_INTR: what is dumped changed meanwhile, the whole dump is worthless. Only the first message after
  /// the change need carry it.
  bool interrupted{false};
  RtnetlinkContent content;
  bool operator==(const RtnetlinkMessage&) const = default;
};

/// Messages about anything else (other address families, bridge ports, narrow routes) are left out.
/// @return an error for a datagram that is cut short, or a message that breaks the format.
[[nodiscard]] Result<std::vector<RtnetlinkMessage>> decode_rtnetlink(std::span<const std::uint8_t> datagram);

/// RTM_GETLINK for all interfaces, without their statistics.
[[nodiscard]] std::vector<std::uint8_t> encode_link_dump(std::uint32_t sequence);
/// RTM_GETADDR for all addresses of all families.
[[nodiscard]] std::vector<std::uint8_t> encode_address_dump(std::uint32_t sequence);

/// RTM_GETROUTE for all routes of all families.
[[nodiscard]] std::vector<std::uint8_t> encode_route_dump(std::uint32_t sequence);

}  // namespace killswitch::codec
