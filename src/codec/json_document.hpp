// The syntax half of the JSON reader: text to tree.
#pragma once

#include "killswitch/codec/json_reader.hpp"

namespace killswitch::codec {

/// "/links/dhcp": `pointer` with one more key, escaped as RFC 6901 wants it.
[[nodiscard]] std::string extend_pointer(std::string_view pointer, std::string_view key);
/// "laptop.json: /links/dhcp: reason"
[[nodiscard]] std::string json_message(std::string_view source, std::string_view pointer, std::string_view reason);

[[nodiscard]] Result<JsonNode> parse_json_tree(std::string_view text, const std::string& source_name);

}  // namespace killswitch::codec
