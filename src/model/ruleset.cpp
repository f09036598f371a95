#include "killswitch/model/ruleset.hpp"

namespace killswitch::model {

std::string_view to_string(Hook hook) {
  switch (hook) {
    case Hook::prerouting: return "prerouting";
    case Hook::input: return "input";
    case Hook::forward: return "forward";
    case Hook::output: return "output";
    case Hook::postrouting: return "postrouting";
    case Hook::egress: break;
  }
  return "egress";
}

}  // namespace killswitch::model
