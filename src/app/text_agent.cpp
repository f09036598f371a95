#include "text_agent.hpp"

#include "killswitch/os/fd.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <csignal>
#include <string>

namespace killswitch::app {

TextAgent::TextAgent() {
  if (::geteuid() == 0 || ::isatty(STDIN_FILENO) != 1 || ::isatty(STDERR_FILENO) != 1) {
    return;
  }
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return;
  }
  const os::Fd ready{ends[0]};
  os::Fd notify{ends[1]};
  const auto number = std::to_string(notify.get());
  pid_ = ::fork();
  if (pid_ == 0) {
    ::fcntl(notify.get(), F_SETFD, 0);
    ::execlp("pkttyagent", "pkttyagent", "--notify-fd", number.c_str(), "--fallback", nullptr);
    ::_exit(127);
  }
  notify = {};
  // It closes its end once polkit knows it, or by ending.
  char byte{};
  while (::read(ready.get(), &byte, 1) < 0 && errno == EINTR) {
  }
}

TextAgent::~TextAgent() {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
}

}  // namespace killswitch::app
