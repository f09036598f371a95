#include "killswitch/enforce/host_route.hpp"

#include "killswitch/codec/rtnetlink.hpp"
#include "killswitch/codec/server_route.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <linux/netlink.h>
#include <cerrno>

namespace killswitch::enforce {
namespace {

using codec::RouteChange;
using model::HostRoute;

/// The link may have taken it along.
bool is_gone_already(const Error& error) {
  return error.code == std::errc::no_such_process || error.code == std::errc::no_such_device ||
         error.code == std::errc::network_unreachable;
}

Outcome change(os::NetlinkSocket& socket, const HostRoute& route, RouteChange what) {
  Outcome answer = done();
  const auto request = codec::encode_host_route(socket.next_sequence(), route, what);
  auto asked = socket.ask(request, [&](std::span<const std::uint8_t> datagram) {
    answer = codec::decode_acknowledgement(datagram);
    return true;
  });
  if (asked) {
    asked = what == RouteChange::remove && !answer && is_gone_already(answer.error()) ? Outcome{done()} : answer;
  }
  const auto* verb =
      what == RouteChange::add ? "set the route to the VPN server " : "remove the route to the VPN server ";
  return asked ? asked : fail(asked.error().within(verb + to_string(route.destination)));
}

}  // namespace

model::HostRouteChanged change_host_route(const std::optional<HostRoute>& before,
                                          const std::optional<HostRoute>& after) {
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) {
    return {before, socket.error().message()};
  }
  if (before) {
    if (const auto removed = change(*socket, *before, RouteChange::remove); !removed) {
      return {before, removed.error().message()};
    }
  }
  if (after) {
    if (const auto added = change(*socket, *after, RouteChange::add); !added) {
      return {std::nullopt, added.error().message()};
    }
  }
  return {after, ""};
}

Result<std::vector<HostRoute>> own_host_routes() {
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) {
    return fail(socket.error());
  }
  std::vector<HostRoute> ours;
  bool failed = false;
  auto asked =
      socket->ask(codec::encode_route_dump(socket->next_sequence()), [&](std::span<const std::uint8_t> datagram) {
        const auto table = codec::decode_route_table(datagram);
        ours.insert(ours.end(), table.ours.begin(), table.ours.end());
        failed = failed || table.failed;
        return table.complete;
      });
  if (asked && failed) {
    asked = fail(EAGAIN, "rtnetlink: dump of the routes");
  }
  return asked ? Result{std::move(ours)} : fail(asked.error().within("look for host routes of ours"));
}

Outcome remove_host_routes() {
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE);
  auto ours = own_host_routes();
  if (!socket || !ours) {
    return fail(socket ? ours.error() : socket.error());
  }
  for (const auto& route : *ours) {
    if (auto removed = change(*socket, route, RouteChange::remove); !removed) {
      return removed;
    }
  }
  return done();
}

}  // namespace killswitch::enforce
