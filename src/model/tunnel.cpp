#include "killswitch/model/tunnel.hpp"

namespace killswitch::model {

std::string_view to_string(TunnelSource source) {
  switch (source) {
    case TunnelSource::management: return "management";
    case TunnelSource::process: return "process";
  }
  return "process";
}

}  // namespace killswitch::model
