// What others do to our tables: counted, told, and a reason to look again. What is found then is put right where every
// other difference is.
#include "step_parts.hpp"

#include "killswitch/decide/step.hpp"

#include <fmt/format.h>

namespace killswitch::decide {
namespace {

using namespace model;
using namespace std::chrono_literals;

// A program that fights with us does so many times a second; one line tells it.
constexpr auto quiet_time = 10s;

void count(World& world, const Touch& touch, std::chrono::sys_seconds now, Effects& effects) {
  auto& tampering = world.tampering;
  ++tampering.attempts;
  tampering.last = Tampering::Last{now, touch};
  // A clock that was set back keeps nothing quiet.
  if (tampering.attempts > 1 && now >= world.tampering_said && now - world.tampering_said < quiet_time) {
    return;
  }
  world.tampering_said = now;
  const auto who = touch.program.empty() ? "another program" : fmt::format("{} (pid {})", touch.program, touch.pid);
  effects.emplace_back(LogLine{LogLine::Level::warning,
                               fmt::format("{} changed our rules in the kernel: {}. They are put back at once; so far "
                                           "{} such change{} seen (G5)",
                                           who, touch.what, tampering.attempts, tampering.attempts == 1 ? "" : "s")});
}

}  // namespace

void on_tampering(World& world, const RulesetTouched& event, std::chrono::sys_seconds now, Effects& effects) {
  if (!world.enabled) {
    return;
  }
  world.observation.reset();
  count(world, event.touch, now, effects);
}

void on_observed(World& world, const FirewallObserved& event, std::chrono::sys_seconds now, Effects& effects) {
  const bool was_verified = world.enabled && is_verified(world);
  world.observation = event.observation;
  world.firewall_error.clear();
  if (is_verified(world)) {
    world.tampering.repaired = world.tampering.attempts;
  } else if (was_verified) {
    const auto& differences = event.observation.differences;
    count(world, Touch{{}, 0, differences.empty() ? "the table is not there" : differences.front()}, now, effects);
  }
}

}  // namespace killswitch::decide
