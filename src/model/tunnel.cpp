#include "killswitch/model/tunnel.hpp"

namespace killswitch::model {

std::string_view to_string(TunnelSource source) {
  return source == TunnelSource::management ? "management" : "profile";
}

}  // namespace killswitch::model
