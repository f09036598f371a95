#include "killswitch/sense/server_route.hpp"

#include "killswitch/codec/rtnetlink.hpp"
#include "killswitch/codec/server_route.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <linux/netlink.h>
#include <cerrno>

namespace killswitch::sense {

Result<model::ServerRoute> find_server_route(const model::ServerRouteQuestion& question) {
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) {
    return fail(socket.error());
  }
  model::ServerRoute found{question.server, {}, {}};
  const auto query = codec::encode_way_query(socket->next_sequence(), question.server, question.mark);
  auto asked = socket->ask(query, [&](std::span<const std::uint8_t> datagram) {
    found.leads_over = codec::decode_way(datagram);
    return true;
  });
  bool failed = false;
  if (asked && (found.leads_over == question.tunnel || question.ours_in_place)) {
    asked = socket->ask(codec::encode_route_dump(socket->next_sequence()), [&](std::span<const std::uint8_t> datagram) {
      const auto table = codec::decode_route_table(datagram);
      const auto& defaults = question.server.family == model::Family::ipv4 ? table.defaults4 : table.defaults6;
      found.defaults.insert(found.defaults.end(), defaults.begin(), defaults.end());
      failed = failed || table.failed;
      return table.complete;
    });
  }
  if (asked && failed) {
    asked = fail(EAGAIN, "rtnetlink: dump of the routes");
  }
  return asked ? Result{std::move(found)} : fail(asked.error().within("ask for the way to the VPN server"));
}

}  // namespace killswitch::sense
