// The status as JSON: the contract of `killswitch status --json` and of the D-Bus method behind it
// (policies/status.schema.json). Fields may be added, never renamed.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/status.hpp"

#include <string>
#include <string_view>

namespace killswitch::codec {

[[nodiscard]] std::string render_status_json(const model::Status& status);

/// Unknown fields are passed over, so that an older command can read a newer daemon.
/// @param source only for messages: "status"
[[nodiscard]] Result<model::Status> parse_status_json(std::string_view text, const std::string& source);

}  // namespace killswitch::codec
