// The part of `step` that deals with the transport's processes: what was proven, and what was not.
#include "killswitch/decide/facts.hpp"
#include "step_parts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {

using namespace model;

void on_transport(World& world, const TransportProven& event, Effects& effects) {
  const bool is_new = !world.transport.processes.contains(event.process.pid);
  world.transport.processes[event.process.pid] = event.process;
  world.transport.refused.clear();
  if (is_new) {
    effects.emplace_back(LogLine{LogLine::Level::info, fmt::format("proven to be the transport: {}, pid {}",
                                                                   event.process.program, event.process.pid)});
  }
}

void on_transport(World& world, const TransportEnded& event) {
  world.transport.processes.erase(event.pid);
}

void on_transport(World& world, const TransportRefused& event, std::chrono::sys_seconds now, Effects& effects) {
  constexpr std::size_t most_remembered = 64;
  constexpr std::uint32_t most_a_minute = 20;  // an unprivileged user can start the program as often as it likes
  auto& transport = world.transport;
  transport.refused = event.reason;
  auto& logged = transport.refusals_logged;
  if (std::find(logged.begin(), logged.end(), event.reason) != logged.end()) {
    return;
  }
  if (now - transport.refusals_since >= std::chrono::minutes{1}) {
    transport.refusals_since = now;
    transport.refusals_count = 0;
  }
  if (++transport.refusals_count > most_a_minute) {
    return;
  }
  logged.push_back(event.reason);
  if (logged.size() > most_remembered) {
    logged.erase(logged.begin());
  }
  effects.emplace_back(LogLine{LogLine::Level::warning, event.reason});
}

void on_transport(World& world, const TransportProofUnavailable& event, Effects& effects) {
  if (!event.reason.empty() && world.transport.unavailable != event.reason) {
    effects.emplace_back(LogLine{LogLine::Level::warning, event.reason});
  }
  world.transport.unavailable = event.reason;
}

}  // namespace killswitch::decide
