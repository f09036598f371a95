#include "killswitch/model/status.hpp"

namespace killswitch::model {

std::string_view to_string(State state) {
  switch (state) {
    case State::disabled: return "disabled";
    case State::blocked: return "blocked";
    case State::connecting: return "connecting";
    case State::protected_: return "protected";
  }
  return "blocked";
}

}  // namespace killswitch::model
