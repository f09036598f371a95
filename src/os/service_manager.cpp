#include "killswitch/os/service_manager.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <systemd/sd-daemon.h>

namespace killswitch::os {
namespace {

Outcome notify(const std::string& message, const char* what) {
  if (const int sent = sd_notify(0, message.c_str()); sent < 0) {
    return fail(-sent, fmt::format("tell the service manager: {}", what));
  }
  return done();
}

}  // namespace

std::vector<NamedFd> take_stored_fds() {
  std::vector<NamedFd> taken;
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(1, &names);
  for (int i = 0; i < count; ++i) {
    Fd fd{SD_LISTEN_FDS_START + i};
    const int flags = ::fcntl(fd.get(), F_GETFD);
    if (flags < 0 || ::fcntl(fd.get(), F_SETFD, flags | FD_CLOEXEC) != 0) {
      continue;  // not open: nothing that could be used
    }
    taken.push_back({names != nullptr && names[i] != nullptr ? names[i] : "", std::move(fd)});
  }
  for (char** name = names; name != nullptr && *name != nullptr; ++name) {
    std::free(*name);
  }
  std::free(names);
  return taken;
}

Outcome store_fd(const std::string& name, int fd) {
  // FDPOLL=0: by itself the service manager drops a socket that reports an error, and one lost notification is enough.
  const auto message = fmt::format("FDSTORE=1\nFDNAME={}\nFDPOLL=0", name);
  if (const int sent = sd_pid_notify_with_fds(0, 0, message.c_str(), &fd, 1); sent < 0) {
    return fail(-sent, fmt::format("give the socket '{}' to the service manager", name));
  }
  return done();
}

Outcome forget_fd(const std::string& name) {
  return notify(fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name), "forget a socket");
}

Outcome notify_ready(const std::string& status_line) {
  return notify(fmt::format("READY=1\nSTATUS={}", status_line), "ready");
}

Outcome notify_status(const std::string& status_line) {
  return notify(fmt::format("STATUS={}", status_line), "status");
}

Outcome notify_stopping() {
  return notify("STOPPING=1", "stopping");
}

}  // namespace killswitch::os
