#include "killswitch/model/kernel.hpp"

namespace killswitch::model {

std::string_view to_string(Ownership ownership) {
  switch (ownership) {
    case Ownership::none: return "none";
    case Ownership::plain: return "plain";
    case Ownership::owner: return "owner";
    case Ownership::owner_twin: return "owner+twin";
    case Ownership::owner_persist: return "owner+persist";
  }
  return "none";
}

}  // namespace killswitch::model
