#include "killswitch/decide/host_route.hpp"

#include "killswitch/decide/facts.hpp"

#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

/// Where OpenVPN sends to now: what it was told last, else what it announced, else the only address there is.
std::optional<IpAddress> server_in_use(const World& world) {
  if (world.reporter) {
    const auto peer = world.peers.find(*world.reporter);
    if (peer != world.peers.end() && peer->second.server) {
      return peer->second.server;
    }
  }
  if (world.trusted->report.server) {
    return world.trusted->report.server->address;
  }
  const auto endpoints = transport_endpoints(world);
  const bool one = !endpoints.empty() && std::all_of(endpoints.begin(), endpoints.end(), [&](const Endpoint& endpoint) {
    return endpoint.address == endpoints.front().address;
  });
  return one ? std::optional{endpoints.front().address} : std::nullopt;
}

bool is_way_out(const DefaultRoute& route, const World& world) {
  const auto link = world.links.find(route.link);
  return link != world.links.end() && link->second.up && !is_tunnel_kind(link->second.kind) &&
         class_of(link->second, world, world.trusted->index) == LinkClass::link;
}

std::optional<HostRoute> best_way_out(const ServerRoute& found, const World& world) {
  std::optional<DefaultRoute> best;
  for (const auto& route : found.defaults) {
    if (is_way_out(route, world) && (!best || route.metric < best->metric)) {
      best = route;
    }
  }
  return best ? std::optional{HostRoute{found.server, best->link, best->router}} : std::nullopt;
}

}  // namespace

std::optional<ServerRouteQuestion> route_in_question(const World& world) {
  if (!world.enabled || !world.trusted || !world.links_known) {
    return std::nullopt;
  }
  const auto server = server_in_use(world);
  if (!server) {
    return std::nullopt;
  }
  const auto& ours = world.route.ours;
  return ServerRouteQuestion{*server, transport_mark(world), world.trusted->index,
                             ours && ours->destination == *server};
}

std::optional<HostRoute> wanted_host_route(const World& world) {
  const auto question = route_in_question(world);
  if (!question) {
    return std::nullopt;
  }
  const auto kept = question->ours_in_place ? world.route.ours : std::nullopt;
  const auto& found = world.route.found;
  if (!found || found->server != question->server) {
    return kept;  // nobody has looked yet
  }
  const bool goes_in_circles = found->leads_over == world.trusted->index;
  if (!goes_in_circles && !kept) {
    return std::nullopt;
  }
  const auto best = best_way_out(*found, world);
  return best ? best : kept;
}

}  // namespace killswitch::decide
