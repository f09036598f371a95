// The daemon and the way to the VPN server: the kernel is asked whenever it may be another one, and told when the
// tunnel would lead into itself.
#include "killswitch/app/daemon.hpp"
#include "killswitch/decide/host_route.hpp"
#include "killswitch/enforce/host_route.hpp"
#include "killswitch/os/log.hpp"
#include "killswitch/sense/server_route.hpp"

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using namespace model;

constexpr auto route_retry_delay = 2s;

}  // namespace

void Daemon::take_up_routes() {
  auto ours = enforce::own_host_routes();
  if (!ours) {
    os::log(os::LogLevel::warning, ours.error().message());
    return;
  }
  for (std::size_t i = 0; i < ours->size(); ++i) {
    if (i + 1 == ours->size()) {
      post(HostRouteChanged{(*ours)[i], ""});
    } else if (const auto changed = enforce::change_host_route((*ours)[i], {}); !changed.error.empty()) {
      os::log(os::LogLevel::warning, changed.error);
    }
  }
}

void Daemon::look_at_route() {
  const auto question = links_ ? decide::route_in_question(world_) : std::nullopt;
  if (question == route_asked_ && !route_stale_) {
    return;
  }
  route_asked_ = question;
  route_stale_ = false;
  if (!question) {
    return;
  }
  links_->watch_host(question->server);  // what changes from here on is told
  auto found = sense::find_server_route(*question);
  route_unknown_ = !found;
  if (!found) {
    os::log(os::LogLevel::debug, found.error().message());
  } else if (const bool taken_away = world_.route.ours && found->leads_over == question->tunnel;
             taken_away || world_.route.stalled || world_.route.found != *found) {
    post(ServerRouteFound{*std::move(found)});
  }
}

void Daemon::change_route(const ChangeHostRoute& change) {
  post(enforce::change_host_route(change.before, change.after));
  route_stale_ = true;
}

void Daemon::retry_route_later() {
  if (!world_.route.stalled && !route_unknown_) {
    route_retry_ = {};
    return;
  }
  if (route_retry_) {
    return;
  }
  auto timer = loop_.after(route_retry_delay, [this] {
    route_retry_ = {};
    route_stale_ = true;
    post(HostRouteTouched{});
  });
  if (timer) {
    route_retry_ = std::move(*timer);
  }
}

}  // namespace killswitch::app
