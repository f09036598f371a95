#include "killswitch/app/clock.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/os/files.hpp"

#include <time.h>

namespace killswitch::app {

std::chrono::sys_seconds wall_clock() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

model::Moment now_on_both_clocks() {
  timespec uptime{};
  ::clock_gettime(CLOCK_BOOTTIME, &uptime);
  const auto boot = os::read_file("/proc/sys/kernel/random/boot_id");
  return {wall_clock(), boot ? std::string{trim(*boot)} : std::string{}, std::chrono::seconds{uptime.tv_sec}};
}

}  // namespace killswitch::app
