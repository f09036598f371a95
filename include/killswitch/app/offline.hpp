// Straight over netlink, for when there is no daemon or no bus: lock, open, look. The state file is written too, so
// that a daemon that runs or comes later finds the same.
#pragma once

#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"
#include "killswitch/model/ruleset.hpp"
#include "killswitch/model/settings.hpp"
#include "killswitch/model/status.hpp"

namespace killswitch::app {

/// Puts the ruleset for `settings` into the kernel and verifies it there. A daemon that runs does it instead.
[[nodiscard]] Result<model::Status> enable_offline(const Paths& paths, const model::Settings& settings);

struct Opened {
  std::string
      unsaved;  ///< why the state file still says enabled, so that the next boot locks again; empty: it does not
};

/// Takes the tables away, whoever owns them. A daemon that runs is asked through the state file, else over the bus.
/// @return an error when the machine is not open
[[nodiscard]] Result<Opened> disable_offline(const Paths& paths);

/// What can be said without a daemon: the state file, and what the kernel was read to hold just now.
[[nodiscard]] Result<model::Status> status_offline(const Paths& paths);

/// What the kernel holds under our name.
[[nodiscard]] Result<model::Ruleset> read_rules();

}  // namespace killswitch::app
