#include "killswitch/decide/trial.hpp"

#include "step_parts.hpp"

#include <algorithm>

namespace killswitch::decide {

using namespace model;

Trial begin_trial(const World& world, const TrialRequest& request) {
  Trial trial;
  trial.duration = request.duration;
  trial.until = request.now.wall + request.duration;
  trial.boot = request.now.boot;
  trial.uptime_until = request.now.uptime + request.duration;
  if (world.trial) {
    trial.before = world.trial->before;
  } else if (world.enabled) {
    trial.before = world.settings;
  }
  return trial;
}

std::chrono::seconds remaining(const Trial& trial, const Moment& now) {
  // The wall clock can be set; it counts only where nothing else is left: after a reboot.
  const auto left = now.boot == trial.boot ? trial.uptime_until - now.uptime : trial.until - now.wall;
  return std::clamp<std::chrono::seconds>(left, std::chrono::seconds{0}, trial.duration);
}

namespace {

void revert(World& world, const Moment& now, Effects& effects) {
  auto before = std::move(world.trial->before);
  world.trial.reset();
  effects.emplace_back(LogLine{LogLine::Level::warning,
                               before
                                   ? "the trial is over and was not confirmed: the settings before are in force again"
                                   : "the trial is over and was not confirmed: the machine is open again"});
  if (before) {
    enable_with(world, std::move(*before), now.wall, effects);
  } else {
    disable(world, now.wall, effects);
  }
}

}  // namespace

void on_trial(World& world, const TrialConfirmed& /*event*/, Effects& effects) {
  if (world.trial) {
    world.trial.reset();
    effects.emplace_back(LogLine{LogLine::Level::info, "the trial is confirmed: the lock stays"});
    effects.emplace_back(SaveState{});
  }
}

void on_trial(World& world, const TrialTime& event, Effects& effects) {
  if (!world.trial) {
    return;
  }
  auto& trial = *world.trial;
  const auto left = remaining(trial, event.now);
  if (left == std::chrono::seconds{0}) {
    revert(world, event.now, effects);
    return;
  }
  if (trial.boot != event.now.boot) {
    // From here on nobody can set the clock that counts.
    trial.boot = event.now.boot;
    trial.uptime_until = event.now.uptime + left;
    trial.until = event.now.wall + left;
    effects.emplace_back(SaveState{});
  }
  effects.emplace_back(WakeForTrial{left});
}

}  // namespace killswitch::decide
