// polkit's agent for terminals (pkttyagent): asks the password of an administrator where this command was given.
// Without one, whoever sits at a plain terminal would be refused instead of asked.
#pragma once

#include <sys/types.h>

namespace killswitch::app {

class TextAgent {
public:
  /// Starts it beside this process, if this is not root and somebody is at the terminal. A desktop's own agent goes
  /// first. Where pkttyagent is not installed nothing happens.
  TextAgent();
  TextAgent(const TextAgent&) = delete;
  TextAgent& operator=(const TextAgent&) = delete;
  ~TextAgent();

private:
  pid_t pid_{-1};
};

}  // namespace killswitch::app
