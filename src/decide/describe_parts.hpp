// Parts of `describe`. Private to this folder.
#pragma once

#include "killswitch/model/status.hpp"
#include "killswitch/model/world.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace killswitch::decide {

/// What the policy gives up, and what of it has no effect on this machine.
[[nodiscard]] std::vector<std::string> policy_warnings(const model::World& world);

/// What may leave this machine outside the tunnel at this moment, by what the rules of `world` let pass.
[[nodiscard]] std::vector<std::string> describe_open(const model::World& world);

/// Why NetworkManager's VPN connections carry no tunnel.
void explain_networkmanager(const model::World& world, std::vector<std::string>& reasons);
/// Connections that are not any more what was enrolled.
void warn_of_networkmanager(const model::World& world, std::vector<std::string>& warnings);
/// `name` as one word of a shell.
[[nodiscard]] std::string in_shell(std::string_view name);

/// What to do now. @param status of `world`, all but this
[[nodiscard]] std::vector<std::string> next_steps(const model::World& world, const model::Status& status);

}  // namespace killswitch::decide
