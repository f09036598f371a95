// The kernel's command line (/proc/cmdline): `killswitch=off` there is the way back for a machine that cannot be
// reached otherwise.
#pragma once

#include <string_view>

namespace killswitch::codec {

/// Whether this boot is to leave the machine open: the last word `killswitch=…` is exactly `killswitch=off`. Quoted
/// words are one word, as the kernel reads them; what stands behind `--` is for init and says nothing to us.
/// @source Linux lib/cmdline.c (next_arg), kernel/params.c (parse_args)
[[nodiscard]] bool is_switched_off(std::string_view kernel_command_line);

}  // namespace killswitch::codec
