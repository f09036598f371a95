// /proc/PID/status as text. @source proc_pid_status(5)
#pragma once

#include "killswitch/base/result.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace killswitch::codec {

struct ProcessStatus {
  std::array<std::uint32_t, 4> uids{};  ///< real, effective, saved, file system
  std::uint64_t effective_capabilities{0};
  std::uint32_t tracer{0};  ///< pid; 0: none
  bool operator==(const ProcessStatus&) const = default;
};

/// @return an error when one of the lines is missing or cannot be read: nothing is assumed of such a process
[[nodiscard]] Result<ProcessStatus> parse_process_status(std::string_view text);

}  // namespace killswitch::codec
