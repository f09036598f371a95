// What survives a reboot, as JSON: the state file, and the settings in it, which are also what `enable` sends over
// D-Bus. Everything that is rendered can be parsed again; a state file that cannot be parsed means "enabled".
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/settings.hpp"

#include <string>
#include <string_view>

namespace killswitch::codec {

/// @param source only for messages: "state.json", "settings"
/// @return an error as `state.json: /settings/remotes/0/port: expected a whole number from 1 to 65535, found 0`
[[nodiscard]] Result<model::SavedState> parse_state(std::string_view text, const std::string& source);
[[nodiscard]] std::string render_state(const model::SavedState& state);

[[nodiscard]] Result<model::Settings> parse_settings(std::string_view text, const std::string& source);
[[nodiscard]] std::string render_settings(const model::Settings& settings);

}  // namespace killswitch::codec
