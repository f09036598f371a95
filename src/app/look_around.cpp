// Apart from the command's own work, so that the early lock does not need what that stands on (D-Bus).
#include "killswitch/app/clock.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/sense/links.hpp"
#include "offline_parts.hpp"

#include <utility>
#include <vector>

namespace killswitch::app {

using namespace model;

Result<World> look_around(const enforce::Firewall& firewall, World world) {
  world.links_known = false;
  auto loop = os::EventLoop::create();
  if (!loop) {
    return fail(loop.error());
  }
  std::vector<Event> events;
  auto links = sense::LinkSensor::start(*loop, [&events](Event event) { events.push_back(std::move(event)); });
  if (!links) {
    return fail(links.error());
  }
  events.push_back(KernelProbed{firewall.features()});
  for (const auto& event : events) {
    [[maybe_unused]] const auto effects = decide::step(world, event, wall_clock());
  }
  return world;
}

}  // namespace killswitch::app
