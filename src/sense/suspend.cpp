#include "killswitch/sense/suspend.hpp"

#include <utility>

namespace killswitch::sense {

Result<SuspendWatch> SuspendWatch::start(os::Bus& bus, std::function<void()> on_resume) {
  // The bus lets only the owner of the name pass for it.
  const os::BusMatch match{.sender = "org.freedesktop.login1",
                           .path = "/org/freedesktop/login1",
                           .interface = "org.freedesktop.login1.Manager",
                           .member = "PrepareForSleep",
                           .signature = "b"};
  auto subscription = bus.subscribe(match, [on_resume = std::move(on_resume)](const os::BusNotice& notice) {
    const bool* going_to_sleep =
        notice.arguments.empty() ? nullptr : std::get_if<bool>(&notice.arguments.front().content);
    if (going_to_sleep != nullptr && !*going_to_sleep) {
      on_resume();
    }
  });
  if (!subscription) {
    return fail(subscription.error().within("hear of suspend and resume"));
  }
  return SuspendWatch{std::move(*subscription)};
}

}  // namespace killswitch::sense
