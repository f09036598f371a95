// A connection over which somebody sits at this machine from afar: what `enable` could cut.
#pragma once

#include "killswitch/model/address.hpp"

#include <string>

namespace killswitch::model {

struct RemoteSession {
  IpAddress client;
  Port client_port;
  IpAddress server;  ///< this machine's end
  Port server_port;
  std::string interface {};  ///< scope of a link-local address; empty: not said
  bool operator==(const RemoteSession&) const = default;
};

}  // namespace killswitch::model
