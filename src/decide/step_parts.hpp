// The part of `step` that deals with what OpenVPN says. Private to this folder.
#pragma once

#include "killswitch/model/effect.hpp"
#include "killswitch/model/event.hpp"
#include "killswitch/model/world.hpp"

#include <vector>

namespace killswitch::decide {

using Effects = std::vector<model::Effect>;

/// Answers what OpenVPN asked while no server was known.
void answer_waiting(model::World& world, Effects& effects);
void forget_report(model::World& world);
void on_management(model::World& world, const model::ManagementOpened& event, Effects& effects);
void on_management(model::World& world, const model::ManagementClosed& event, Effects& effects);
void on_management(model::World& world, const model::ManagementReceived& event, Effects& effects);

}  // namespace killswitch::decide
