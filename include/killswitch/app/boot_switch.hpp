// `killswitch=off` on the kernel's command line: whoever may edit it (at the machine's boot loader) gets the machine
// open for one boot. Asked by the early lock, the daemon and the command alike.
#pragma once

namespace killswitch::app {

/// A command line that cannot be read switches nothing off.
[[nodiscard]] bool switched_off_at_boot();

}  // namespace killswitch::app
