// The status for people: what state the machine is in, why, and what to do next, on one screen.
#pragma once

#include "killswitch/model/status.hpp"

#include <string>

namespace killswitch::codec {

/// Lines end in '\n'. Text that comes from outside (reasons, names) is made printable.
[[nodiscard]] std::string render_status_text(const model::Status& status);

}  // namespace killswitch::codec
