// Names of VPN servers to addresses, through the system's resolver. Blocks; only the command line uses it, before the
// lock.
#pragma once

#include "killswitch/model/endpoint.hpp"

#include <chrono>

namespace killswitch::sense {

/// Looks up `remote` unless it is numeric. What went wrong stands in `failure`; the addresses are then empty.
[[nodiscard]] model::PinnedRemote resolve(const model::Remote& remote, std::chrono::sys_seconds now);

}  // namespace killswitch::sense
