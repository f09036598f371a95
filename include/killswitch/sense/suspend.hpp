// Hears from logind that the machine wakes up.
//
// Nothing is asked of logind and nothing waits for it: the rules stay in the kernel's memory while the machine sleeps,
// and nobody opens anything on the way. What was known before is believed no longer afterwards: interfaces, addresses
// and the tunnel may be others.
// @source org.freedesktop.login1(5), signal PrepareForSleep
#pragma once

#include "killswitch/os/bus.hpp"

#include <functional>

namespace killswitch::sense {

class SuspendWatch {
public:
  /// @param on_resume called after each sleep, from the event loop
  /// @return an error when the bus does not let us listen; that there is no logind is none
  [[nodiscard]] static Result<SuspendWatch> start(os::Bus& bus, std::function<void()> on_resume);

private:
  explicit SuspendWatch(os::BusSubscription subscription) : subscription_{std::move(subscription)} {}
  os::BusSubscription subscription_;
};

}  // namespace killswitch::sense
