#include "killswitch/app/boot_switch.hpp"

#include "killswitch/codec/kernel_command_line.hpp"
#include "killswitch/os/files.hpp"

namespace killswitch::app {

bool switched_off_at_boot() {
  const auto line = os::read_file("/proc/cmdline");
  return line && codec::is_switched_off(*line);
}

}  // namespace killswitch::app
