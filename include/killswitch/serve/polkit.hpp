// Asks polkit whether a caller on the bus may do something. The question is about the caller's bus name, which polkit
// looks up itself, so that nobody can answer for another process. Nothing is cached here and nothing is assumed: no
// polkit, no answer or an answer that is not understood means no.
// @source polkit reference manual, org.freedesktop.PolicyKit1.Authority.CheckAuthorization
#pragma once

#include "killswitch/os/bus.hpp"

#include <functional>
#include <string>

namespace killswitch::serve {

/// What can be asked for (packaging/polkit/org.killswitch1.policy). The status needs no permission.
enum class Action { enable, disable, policy };
[[nodiscard]] const char* action_id(Action action);  ///< "org.killswitch1.enable"

/// The user may be asked for a password meanwhile, so the answer can take minutes.
/// @param caller unique name of the connection that wants it
/// @param decided called once, unless the bus ends first; the error says why not
void ask_polkit(os::Bus& bus, const std::string& caller, Action action, const std::function<void(Outcome)>& decided);

}  // namespace killswitch::serve
