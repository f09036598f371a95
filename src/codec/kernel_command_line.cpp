#include "killswitch/codec/kernel_command_line.hpp"

#include <string>

namespace killswitch::codec {
namespace {

bool is_space(char letter) {
  return letter == ' ' || (letter >= '\t' && letter <= '\r');
}

/// Takes the next word off `rest`; quotes group and vanish. @return nothing but an empty word at the end
std::string next_word(std::string_view& rest) {
  while (!rest.empty() && is_space(rest.front())) {
    rest.remove_prefix(1);
  }
  std::string word;
  bool quoted = false;
  while (!rest.empty() && (quoted || !is_space(rest.front()))) {
    if (rest.front() == '"') {
      quoted = !quoted;
    } else {
      word += rest.front();
    }
    rest.remove_prefix(1);
  }
  return word;
}

}  // namespace

bool is_switched_off(std::string_view kernel_command_line) {
  constexpr std::string_view key = "killswitch=";
  bool off = false;
  while (!kernel_command_line.empty()) {
    const auto word = next_word(kernel_command_line);
    if (word == "--") {
      break;
    }
    if (std::string_view{word}.starts_with(key)) {
      off = std::string_view{word}.substr(key.size()) == "off";
    }
  }
  return off;
}

}  // namespace killswitch::codec
