// Policy files (/usr/share/killswitch/policies/*.json) to policies and back; policies/policy.schema.json is the same
// in JSON Schema. What a file does not say takes the strict default of model/policy.hpp.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/policy.hpp"

#include <string>
#include <string_view>

namespace killswitch::codec {

/// @param source_name only for messages: "laptop.json"
/// @return an error as `laptop.json: /links/dhcp: expected true or false, found "yes"`
[[nodiscard]] Result<model::Policy> parse_policy(std::string_view text, const std::string& source_name);
/// Every key, in a fixed order.
[[nodiscard]] std::string render_policy(const model::Policy& policy);

}  // namespace killswitch::codec
