// The part of `step` that deals with the way to the server: the host route that is wanted is compared with the one that
// stands after every event, and a difference is an effect.
#include "killswitch/decide/host_route.hpp"
#include "step_parts.hpp"

#include <fmt/format.h>
#include <utility>

namespace killswitch::decide {
namespace {

using namespace model;

// Another program that takes the route away again and again is not raced with.
constexpr unsigned most_in_second = 20;

bool too_often(RouteWorld& route, std::chrono::sys_seconds now) {
  if (route.second != now) {
    route.second = now;
    route.in_second = 0;
  }
  return ++route.in_second > most_in_second;
}

std::string words_for(const HostRoute& route, const World& world) {
  const auto link = world.links.find(route.link);
  return fmt::format("the route to the VPN server {}{} over {}", to_string(route.destination),
                     route.router ? " via " + to_string(*route.router) : "",
                     link != world.links.end() ? link->second.name : fmt::format("interface {}", route.link.number));
}

}  // namespace

void on_route(World& world, const ServerRouteFound& event) {
  auto& route = world.route;
  if (world.trusted && event.route.leads_over == world.trusted->index) {
    route.ours.reset();  // somebody took it away
  }
  route.found = event.route;
  route.stalled = false;
}

void on_route(World& world, const HostRouteChanged& event, Effects& effects) {
  auto& route = world.route;
  const bool by_now = std::exchange(route.changing, false);
  if (!event.error.empty()) {
    if (!route.stalled) {
      effects.push_back(LogLine{LogLine::Level::warning, event.error});
    }
    route.stalled = true;
  } else if (event.ours && by_now) {
    effects.push_back(
        LogLine{LogLine::Level::info,
                words_for(*event.ours, world) + " was gone, and the tunnel led into itself: it is there again"});
  }
  route.ours = event.ours;
}

void renew_route(World& world, std::chrono::sys_seconds now, Effects& effects) {
  auto& route = world.route;
  if (route.changing || route.stalled) {
    return;
  }
  const auto wanted = wanted_host_route(world);
  if (wanted == route.ours) {
    return;
  }
  if (too_often(route, now)) {
    route.stalled = true;
    return;
  }
  route.changing = true;
  effects.emplace_back(ChangeHostRoute{route.ours, wanted});
}

}  // namespace killswitch::decide
