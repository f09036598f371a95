// Small helpers for text that comes from outside: splitting, numbers, and making bytes printable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch {

/// Parses a whole decimal number; nothing else may surround it.
/// @return nothing when `text` is empty, holds any other character or exceeds `maximum`.
[[nodiscard]] std::optional<std::uint32_t> parse_number(std::string_view text, std::uint32_t maximum = UINT32_MAX);

/// Splits at every `separator`; n separators give n + 1 parts, empty ones included.
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);

[[nodiscard]] std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// Without spaces, tabs, CR and LF at both ends.
[[nodiscard]] std::string_view trim(std::string_view text);

/// Safe to print and to log: control and non-ASCII bytes become \xNN, and what is longer than
/// `limit` characters is cut and says so.
[[nodiscard]] std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace killswitch
