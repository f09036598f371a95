#include "killswitch/base/result.hpp"

namespace killswitch {

std::string Error::message() const {
  if (code.category() != std::system_category()) {
    return context;
  }
  return context + ": " + code.message();
}

Error Error::within(std::string_view outer) const {
  return Error{code, std::string{outer} + ": " + context};
}

Failure fail(std::string context) {
  return Failure{Error{std::make_error_code(std::errc::invalid_argument), std::move(context)}};
}

Failure fail(int errno_value, std::string context) {
  return Failure{Error{std::error_code{errno_value, std::system_category()}, std::move(context)}};
}

}  // namespace killswitch
