// The early lock: what the state file asks for, put into the kernel before the network is there. Straight over netlink,
// with the interfaces as they are; no bus, no daemon, no name is resolved. The daemon that comes later takes it over.
#pragma once

#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"

#include <cstdint>
#include <string>

namespace killswitch::app {

struct BootLock {
  enum class Kind : std::uint8_t {
    disabled,      ///< nothing was asked for, nothing was done
    switched_off,  ///< `killswitch=off` on the kernel command line
    stands,        ///< somebody, most likely the daemon, holds a lock already
    locked,        ///< as the state file says
    refuses_all,   ///< the state is no good, or its ruleset breaks a guarantee: nothing passes
  };
  Kind kind{Kind::disabled};
  std::string line;  ///< for the journal; empty: nothing to say
  bool operator==(const BootLock&) const = default;
};

/// @param kernel_command_line the file: /proc/cmdline
/// @return an error when the kernel was not seen to hold the lock that was asked for
[[nodiscard]] Result<BootLock> lock_at_boot(const Paths& paths, const std::string& kernel_command_line);

}  // namespace killswitch::app
