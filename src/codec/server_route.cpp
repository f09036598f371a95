#include "killswitch/codec/server_route.hpp"

#include "killswitch/codec/netlink.hpp"
#include "netlink_request.hpp"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace killswitch::codec {
namespace {

using model::Family;
using model::HostRoute;
using model::IfIndex;
using model::IpAddress;

std::uint8_t number_of(Family family) {
  return family == Family::ipv4 ? AF_INET : AF_INET6;
}

unsigned char whole_length(const IpAddress& address) {
  return static_cast<unsigned char>(address.size() * 8);
}

std::optional<IpAddress> address_in(Span bytes, Family family) {
  const std::size_t size = family == Family::ipv4 ? 4 : 16;
  return bytes.size() == size ? std::optional{model::make_ip_address(family, bytes)} : std::nullopt;
}

/// One RTM_NEWROUTE, as far as it matters here.
struct Route {
  rtmsg header{};
  Family family{Family::ipv4};
  Attributes attributes;
  std::optional<IfIndex> link;  ///< nothing: nowhere, or over several
};

std::optional<Route> route_in(const nlmsghdr& message) {
  const auto payload = payload_of(message);
  const auto header = read_struct<rtmsg>(payload);
  if (message.nlmsg_type != RTM_NEWROUTE || !header ||
      (header->rtm_family != AF_INET && header->rtm_family != AF_INET6)) {
    return std::nullopt;
  }
  const Attributes attributes{after(payload, sizeof(rtmsg))};
  if (!attributes.valid()) {
    return std::nullopt;
  }
  Route route{*header, header->rtm_family == AF_INET ? Family::ipv4 : Family::ipv6, attributes, {}};
  if (const auto index = read_struct<std::uint32_t>(attributes.bytes(RTA_OIF)); index && *index != 0) {
    route.link = IfIndex{*index};
  }
  return route;
}

void note(const Route& route, RouteTable& table) {
  const bool dead = (route.header.rtm_flags & unsigned{RTNH_F_DEAD | RTNH_F_LINKDOWN | RTM_F_CLONED}) != 0;
  if (route.header.rtm_table != RT_TABLE_MAIN || route.header.rtm_type != RTN_UNICAST || !route.link || dead) {
    return;
  }
  const auto router = address_in(route.attributes.bytes(RTA_GATEWAY), route.family);
  if (route.header.rtm_dst_len == 0) {
    const auto metric = read_struct<std::uint32_t>(route.attributes.bytes(RTA_PRIORITY)).value_or(0);
    (route.family == Family::ipv4 ? table.defaults4 : table.defaults6).push_back({*route.link, router, metric});
    return;
  }
  const auto destination = address_in(route.attributes.bytes(RTA_DST), route.family);
  if (route.header.rtm_protocol == our_route_protocol && destination &&
      route.header.rtm_dst_len == whole_length(*destination)) {
    table.ours.push_back({*destination, *route.link, router});
  }
}

}  // namespace

std::vector<std::uint8_t> encode_way_query(std::uint32_t sequence, const IpAddress& destination, std::uint32_t mark) {
  NetlinkRequest request{RTM_GETROUTE, 0, sequence};
  auto& route = request.extra<rtmsg>();
  route.rtm_family = number_of(destination.family);
  route.rtm_dst_len = whole_length(destination);
  request.put(RTA_DST, destination);
  if (mark != 0) {
    request.put(RTA_MARK, mark);
  }
  return request.take();
}

std::optional<IfIndex> decode_way(std::span<const std::uint8_t> datagram) {
  std::optional<IfIndex> way;
  for_each_message(datagram, [&](const nlmsghdr& message) {
    if (const auto route = route_in(message); route && route->header.rtm_type == RTN_UNICAST) {
      way = route->link;
    }
  });
  return way;
}

RouteTable decode_route_table(std::span<const std::uint8_t> datagram) {
  RouteTable table;
  for_each_message(datagram, [&](const nlmsghdr& message) {
    const bool failed = message.nlmsg_type == NLMSG_ERROR || (message.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    table.failed = table.failed || failed;
    table.complete = table.complete || message.nlmsg_type == NLMSG_DONE || message.nlmsg_type == NLMSG_ERROR;
    if (const auto route = route_in(message)) {
      note(*route, table);
    }
  });
  return table;
}

std::vector<std::uint8_t> encode_host_route(std::uint32_t sequence, const HostRoute& route, RouteChange change) {
  const bool remove = change == RouteChange::remove;
  const unsigned flags = remove ? NLM_F_ACK : NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  NetlinkRequest request{static_cast<std::uint16_t>(remove ? RTM_DELROUTE : RTM_NEWROUTE), flags, sequence};
  auto& header = request.extra<rtmsg>();
  header.rtm_family = number_of(route.destination.family);
  header.rtm_dst_len = whole_length(route.destination);
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = our_route_protocol;
  header.rtm_scope = RT_SCOPE_NOWHERE;  // any
  if (!remove) {
    header.rtm_scope = route.router ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  }
  header.rtm_type = remove ? RTN_UNSPEC : RTN_UNICAST;
  request.put(RTA_DST, route.destination);
  request.put(RTA_OIF, route.link.number);
  if (route.router) {
    request.put(RTA_GATEWAY, *route.router);
  }
  return request.take();
}

Outcome decode_acknowledgement(std::span<const std::uint8_t> datagram) {
  const auto header = read_struct<nlmsghdr>(datagram);
  const auto value = read_struct<std::int32_t>(after(datagram, sizeof(nlmsghdr)));
  if (!header || header->nlmsg_type != NLMSG_ERROR || !value || *value > 0) {
    return fail("rtnetlink: the kernel's acknowledgement breaks the format");
  }
  return *value == 0 ? Outcome{done()} : fail(-*value, "rtnetlink");
}

}  // namespace killswitch::codec
