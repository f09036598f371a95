// One level below the profile parser: the lines of an OpenVPN configuration and the words of a line, by exactly
// the rules of OpenVPN itself. A difference here would be a difference in what the kill switch lets out.
// @source OpenVPN 2.6, src/openvpn/options.c: parse_line(), read_config_file(), read_inline_file()
#pragma once

#include "killswitch/base/result.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec {

/// Bytes of a line with its end; a longer one is refused by OpenVPN (OPTION_LINE_SIZE - 1).
inline constexpr std::size_t max_option_line = 255;
/// Words of a line; OpenVPN does not look at what follows (MAX_PARMS).
inline constexpr std::size_t max_option_words = 16;

struct OptionLine {
  std::vector<std::string> words;  ///< empty: a blank line or a comment
  bool cut{false};                 ///< there were more than max_option_words
  bool operator==(const OptionLine&) const = default;
};

/// @param line with or without its end of line
/// @return an error without file and line number: an open quote or a bad backslash
[[nodiscard]] Result<OptionLine> split_option_line(std::string_view line);

/// Hands out a text line by line and counts.
class LineReader {
public:
  LineReader(std::string_view text, unsigned first_line) : text_{text}, line_{first_line} {}

  /// The next line with its '\n', or the next `limit` bytes of a longer one, as fgets(3) does.
  [[nodiscard]] std::optional<std::string_view> next(std::size_t limit = std::string_view::npos);
  [[nodiscard]] unsigned line() const { return current_; }       ///< of what next() gave last
  [[nodiscard]] unsigned next_line() const { return line_; }     ///< of what next() will give
  [[nodiscard]] std::size_t position() const { return at_; }     ///< bytes handed out so far
  [[nodiscard]] std::string_view text() const { return text_; }  ///< the whole

private:
  std::string_view text_;
  std::size_t at_{0};
  unsigned line_{1};
  unsigned current_{0};
};

}  // namespace killswitch::codec
