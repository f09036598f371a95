#include "killswitch/os/bus_value.hpp"

namespace killswitch::os {

std::size_t complete_type_length(std::string_view signature) {
  constexpr std::string_view basic = "ybnqiuxtdsogvh";
  if (signature.empty()) {
    return 0;
  }
  if (basic.find(signature.front()) != std::string_view::npos) {
    return 1;
  }
  if (signature.front() == 'a') {
    const std::size_t element = complete_type_length(signature.substr(1));
    return element == 0 ? 0 : element + 1;
  }
  const char end = signature.front() == '(' ? ')' : signature.front() == '{' ? '}' : '\0';
  if (end == '\0') {
    return 0;
  }
  std::size_t length = 1;
  while (length < signature.size() && signature[length] != end) {
    const std::size_t member = complete_type_length(signature.substr(length));
    if (member == 0) {
      return 0;
    }
    length += member;
  }
  return length < signature.size() ? length + 1 : 0;
}

}  // namespace killswitch::os
