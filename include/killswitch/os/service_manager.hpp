// The service manager (systemd, or whatever speaks its protocol): readiness, and the file-descriptor store that keeps
// sockets alive while the daemon is dead. Without a service manager all of this does nothing.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/os/fd.hpp"

#include <string>
#include <vector>

namespace killswitch::os {

struct NamedFd {
  std::string name;
  Fd fd;
};

/// The descriptors that were stored by an earlier process or opened by the service manager. Once a process.
[[nodiscard]] std::vector<NamedFd> take_stored_fds();

/// Keeps a duplicate of `fd` under `name` for the next process (FDSTORE=1).
/// @param name letters, digits and '-'; the same name may be stored again.
[[nodiscard]] Outcome store_fd(const std::string& name, int fd);
/// Lets go of what is stored under `name` (FDSTOREREMOVE=1).
[[nodiscard]] Outcome forget_fd(const std::string& name);

[[nodiscard]] Outcome notify_ready(const std::string& status_line);
[[nodiscard]] Outcome notify_status(const std::string& status_line);
[[nodiscard]] Outcome notify_stopping();

}  // namespace killswitch::os
