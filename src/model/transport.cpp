#include "killswitch/model/transport.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::model {
namespace {

bool is_user_name(std::string_view name) {
  constexpr std::size_t longest = 32;  // @source useradd(8)
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  return !name.empty() && name.size() <= longest && name.front() != '-' &&
         name.find_first_not_of(allowed) == std::string_view::npos;
}

}  // namespace

Result<TransportProgram> parse_transport_program(std::string_view text) {
  const auto colon = text.rfind(':');
  TransportProgram program{std::string{text.substr(0, colon)},
                           std::string{colon == std::string_view::npos ? "" : text.substr(colon + 1)}};
  const bool has_user = colon != std::string_view::npos;
  if (program.path.size() < 2 || program.path.front() != '/' || program.path.find('\0') != std::string::npos) {
    return fail(fmt::format("'{}': expected an absolute path, or PATH:USER", text));
  }
  if (has_user && (!is_user_name(program.user) || program.user == "nobody")) {
    return fail(fmt::format("'{}': expected the name of a system user of its own behind ':', not 'nobody'", text));
  }
  return program;
}

std::string to_string(const TransportProgram& program) {
  return program.user.empty() ? program.path : fmt::format("{}:{}", program.path, program.user);
}

}  // namespace killswitch::model
