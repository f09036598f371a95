#include "killswitch/codec/next_hop.hpp"

#include "netlink_request.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

namespace killswitch::codec {
namespace {

using model::Family;
using model::IfIndex;
using model::IpAddress;

constexpr unsigned usable_states =
    NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;  // NUD_VALID of the kernel

std::uint8_t number_of(Family family) {
  return family == Family::ipv4 ? AF_INET : AF_INET6;
}

std::optional<IpAddress> address_in(const nlattr* attribute, std::uint8_t family) {
  const auto wanted = family == AF_INET ? Family::ipv4 : Family::ipv6;
  const std::size_t size = wanted == Family::ipv4 ? 4 : 16;
  if (attribute == nullptr || ::mnl_attr_get_payload_len(attribute) != size) {
    return std::nullopt;
  }
  return model::make_ip_address(wanted, {static_cast<const std::uint8_t*>(::mnl_attr_get_payload(attribute)), size});
}

/// The attribute of `type` behind a header of `header_bytes`; nullptr: there is none.
const nlattr* find(const nlmsghdr* message, std::size_t header_bytes, std::uint16_t type) {
  const auto* attribute = static_cast<const nlattr*>(::mnl_nlmsg_get_payload_offset(message, header_bytes));
  const auto* end = static_cast<const std::uint8_t*>(::mnl_nlmsg_get_payload_tail(message));
  while (::mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const std::uint8_t*>(attribute)))) {
    if (::mnl_attr_get_type(attribute) == type) {
      return attribute;
    }
    attribute = ::mnl_attr_next(attribute);
  }
  return nullptr;
}

/// Calls `take` with every whole message.
template <typename Take>
void each_message(std::span<const std::uint8_t> datagram, Take take) {
  const auto* message = reinterpret_cast<const nlmsghdr*>(datagram.data());
  auto left = static_cast<int>(datagram.size());
  while (::mnl_nlmsg_ok(message, left)) {
    take(message);
    message = ::mnl_nlmsg_next(message, &left);
  }
}

std::optional<Neighbour> neighbour_in(const nlmsghdr* message) {
  if (message->nlmsg_type != RTM_NEWNEIGH || ::mnl_nlmsg_get_payload_len(message) < sizeof(ndmsg)) {
    return std::nullopt;
  }
  const auto* about = static_cast<const ndmsg*>(::mnl_nlmsg_get_payload(message));
  const auto address = address_in(find(message, sizeof *about, NDA_DST), about->ndm_family);
  if ((about->ndm_state & usable_states) == 0 || !address) {
    return std::nullopt;
  }
  Neighbour neighbour{IfIndex{static_cast<std::uint32_t>(about->ndm_ifindex)}, *address, {}};
  if (const auto* hardware = find(message, sizeof *about, NDA_LLADDR); hardware != nullptr) {
    const auto* bytes = static_cast<const std::uint8_t*>(::mnl_attr_get_payload(hardware));
    neighbour.hardware.assign(bytes, bytes + ::mnl_attr_get_payload_len(hardware));
  }
  return neighbour;
}

}  // namespace

std::vector<std::uint8_t> encode_route_query(std::uint32_t sequence, const IpAddress& destination, IfIndex link) {
  NetlinkRequest request{RTM_GETROUTE, 0, sequence};
  auto& route = request.extra<rtmsg>();
  route.rtm_family = number_of(destination.family);
  route.rtm_dst_len = static_cast<unsigned char>(destination.size() * 8);
  request.put(RTA_DST, destination);
  request.put(RTA_OIF, link.number);
  return request.take();
}

std::optional<IpAddress> decode_gateway(std::span<const std::uint8_t> datagram, IfIndex link) {
  std::optional<IpAddress> gateway;
  each_message(datagram, [&](const nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWROUTE || ::mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg)) {
      return;
    }
    const auto* route = static_cast<const rtmsg*>(::mnl_nlmsg_get_payload(message));
    const auto* over = find(message, sizeof *route, RTA_OIF);
    if (over != nullptr && ::mnl_attr_get_payload_len(over) == 4 && ::mnl_attr_get_u32(over) == link.number) {
      gateway = address_in(find(message, sizeof *route, RTA_GATEWAY), route->rtm_family);
    }
  });
  return gateway;
}

std::vector<std::uint8_t> encode_neighbour_use(std::uint32_t sequence, const IpAddress& neighbour, IfIndex link) {
  NetlinkRequest request{RTM_NEWNEIGH, NLM_F_CREATE, sequence};
  auto& about = request.extra<ndmsg>();
  about.ndm_family = number_of(neighbour.family);
  about.ndm_ifindex = static_cast<int>(link.number);
  about.ndm_flags = NTF_USE;
  request.put(NDA_DST, neighbour);
  return request.take();
}

std::vector<std::uint8_t> encode_neighbour_dump(std::uint32_t sequence, Family family) {
  NetlinkRequest request{RTM_GETNEIGH, NLM_F_DUMP, sequence};
  request.extra<ndmsg>().ndm_family = number_of(family);
  return request.take();
}

NeighbourDump decode_neighbours(std::span<const std::uint8_t> datagram) {
  NeighbourDump dump;
  each_message(datagram, [&](const nlmsghdr* message) {
    dump.complete = dump.complete || message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR;
    if (auto neighbour = neighbour_in(message)) {
      dump.usable.push_back(*std::move(neighbour));
    }
  });
  return dump;
}

}  // namespace killswitch::codec
