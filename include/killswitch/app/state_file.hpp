// The state file on disk: what was asked for, kept over restarts and reboots.
#pragma once

#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"
#include "killswitch/model/settings.hpp"

#include <optional>

namespace killswitch::app {

/// @return nothing when there is no state file (never enabled); an error, naming file and place, when it is no good, or
/// lost although the kill switch was enabled.
[[nodiscard]] Result<std::optional<model::SavedState>> load_state(const Paths& paths);

/// Whether a lock is asked for: a state file that cannot be read means enabled.
/// @param state what load_state said
[[nodiscard]] bool asks_for_lock(const Result<std::optional<model::SavedState>>& state);

/// Replaces the file atomically, mode 0600, and keeps the witness beside the settings in step with it.
[[nodiscard]] Outcome save_state(const Paths& paths, const model::SavedState& state);

}  // namespace killswitch::app
