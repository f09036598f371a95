// Lengths of time as people write them: "60s", "5m", "2h", and bare seconds.
#pragma once

#include "killswitch/base/result.hpp"

#include <chrono>
#include <string>
#include <string_view>

namespace killswitch::codec {

/// @return an error that says what is accepted, for anything else and for what is outside the limits (both included)
[[nodiscard]] Result<std::chrono::seconds> parse_duration(std::string_view text, std::chrono::seconds least,
                                                          std::chrono::seconds most);
/// "90 s", "5 min", "2 h": the largest unit that is exact.
[[nodiscard]] std::string render_duration(std::chrono::seconds duration);

}  // namespace killswitch::codec
