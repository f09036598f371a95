// Starts another program beside this one: with a bare environment, without our descriptors, signals as usual.
#pragma once

#include "killswitch/base/result.hpp"

#include <sys/types.h>
#include <string>
#include <vector>

namespace killswitch::os {

struct Child {
  std::string program;                 ///< path
  std::vector<std::string> arguments;  ///< the first is the program's own name
  int output{-1};                      ///< descriptor that becomes its standard output; -1: what it prints is lost
};

/// @return its process id, for EventLoop::watch_child
[[nodiscard]] Result<pid_t> start_child(Child child);

}  // namespace killswitch::os
