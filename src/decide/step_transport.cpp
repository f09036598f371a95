// The part of `step` that deals with the transport's processes: what was proven, and what was not.
#include "killswitch/decide/facts.hpp"
#include "step_parts.hpp"

#include <fmt/format.h>

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

void on_transport(World& world, const TransportRefused& event, Effects& effects) {
  if (world.transport.refused != event.reason) {
    effects.emplace_back(LogLine{LogLine::Level::warning, event.reason});
  }
  world.transport.refused = event.reason;
}

void on_transport(World& world, const TransportProofUnavailable& event, Effects& effects) {
  if (!event.reason.empty() && world.transport.unavailable != event.reason) {
    effects.emplace_back(LogLine{LogLine::Level::warning, event.reason});
  }
  world.transport.unavailable = event.reason;
}

}  // namespace killswitch::decide
