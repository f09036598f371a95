// One line to the journal, or to standard error when there is none (a terminal, a laboratory).
#pragma once

#include <string_view>

namespace killswitch::os {

enum class LogLevel { debug, info, warning, error };

void log(LogLevel level, std::string_view line);

}  // namespace killswitch::os
