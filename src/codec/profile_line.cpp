// The state machine of OpenVPN's parse_line(). Kept close to the original on purpose: its odd corners (a quote
// inside a bare word is an ordinary character, a comment sign counts only where a word may begin) are part of
// the format.
#include "killswitch/codec/profile_line.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace killswitch::codec {
namespace {

bool is_blank(char c) {
  return c == '\0' || c == ' ' || (c >= '\t' && c <= '\r');  // isspace() in the C locale, and the end
}

bool is_line_end(char c) {
  return c == '\0' || c == '\n' || c == '\r';
}

class WordSplitter {
public:
  /// @return false: the rest of the line is a comment
  [[nodiscard]] bool feed(char c);
  [[nodiscard]] Result<OptionLine> finish() const;
  [[nodiscard]] std::size_t count() const { return result_.words.size(); }
  [[nodiscard]] bool broken() const { return bad_backslash_ || ends_in_backslash_; }
  void cut() { result_.cut = true; }

private:
  enum class Mode : std::uint8_t { between, bare, double_quoted, single_quoted };
  void append(char c, bool escaped);
  void feed_between(char c, bool escaped);
  void end_word();

  OptionLine result_;
  std::string word_;
  Mode mode_{Mode::between};
  bool backslash_{false};
  bool bad_backslash_{false};
  bool ends_in_backslash_{false};
};

void WordSplitter::end_word() {
  result_.words.push_back(std::move(word_));
  word_.clear();
  mode_ = Mode::between;
}

void WordSplitter::append(char c, bool escaped) {
  bad_backslash_ = bad_backslash_ || (escaped && c != '\\' && c != '"' && !is_blank(c));
  word_ += c;
}

void WordSplitter::feed_between(char c, bool escaped) {
  if (is_blank(c)) {
    return;
  }
  if (!escaped && c == '"') {
    mode_ = Mode::double_quoted;
  } else if (!escaped && c == '\'') {
    mode_ = Mode::single_quoted;
  } else {
    mode_ = Mode::bare;
    append(c, escaped);
  }
}

bool WordSplitter::feed(char c) {
  if (!backslash_ && c == '\\' && mode_ != Mode::single_quoted) {
    backslash_ = true;
    return true;
  }
  const bool escaped = std::exchange(backslash_, false);
  // OpenVPN would make the line end a part of the word, which nobody means: a continued line, most likely.
  ends_in_backslash_ = ends_in_backslash_ || (escaped && is_line_end(c));
  switch (mode_) {
    case Mode::between:
      if (c == '#' || c == ';') {
        return false;  // even behind a backslash, as in OpenVPN
      }
      feed_between(c, escaped);
      break;
    case Mode::bare:
      if (!escaped && is_blank(c)) {
        end_word();
      } else {
        append(c, escaped);
      }
      break;
    case Mode::double_quoted:
      if (!escaped && c == '"') {
        end_word();
      } else if (c != '\0') {
        append(c, escaped);
      }
      break;
    case Mode::single_quoted:
      if (c == '\'') {
        end_word();
      } else if (c != '\0') {
        append(c, false);
      }
      break;
  }
  return true;
}

Result<OptionLine> WordSplitter::finish() const {
  if (ends_in_backslash_) {
    return fail("the line ends in a backslash; OpenVPN has no continued lines");
  }
  if (bad_backslash_) {
    return fail("bad backslash: it may stand only before a backslash, a double quote or a blank");
  }
  if (mode_ == Mode::double_quoted) {
    return fail("no closing double quote");
  }
  if (mode_ == Mode::single_quoted) {
    return fail("no closing single quote");
  }
  return result_;
}

}  // namespace

Result<OptionLine> split_option_line(std::string_view line) {
  WordSplitter splitter;
  for (std::size_t i = 0; i <= line.size() && !splitter.broken(); ++i) {
    if (splitter.count() == max_option_words) {
      const auto rest = line.substr(i);
      const auto more = std::find_if_not(rest.begin(), rest.end(), is_blank);
      if (more != rest.end() && *more != '#' && *more != ';') {
        splitter.cut();
      }
      break;
    }
    if (!splitter.feed(i < line.size() ? line[i] : '\0')) {
      break;
    }
  }
  return splitter.finish();
}

std::optional<std::string_view> LineReader::next(std::size_t limit) {
  if (at_ >= text_.size()) {
    return std::nullopt;
  }
  const auto rest = text_.substr(at_);
  const auto newline = rest.find('\n');
  const auto whole = newline == std::string_view::npos ? rest.size() : newline + 1;
  const auto taken = std::min(whole, limit);
  current_ = line_;
  at_ += taken;
  if (rest[taken - 1] == '\n') {
    ++line_;
  }
  return rest.substr(0, taken);
}

}  // namespace killswitch::codec
