// Other processes: handles that cannot come to mean another process (pidfd), their entries in /proc, and duplicates of
// their descriptors.
// @source pidfd_open(2), pidfd_getfd(2), proc(5)
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/os/fd.hpp"

#include <sys/stat.h>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace killswitch::os {

/// A pidfd. @return ESRCH when there is no such process
[[nodiscard]] Result<Fd> open_process(std::uint32_t pid);
/// Whether the process of a pidfd has ended; only while it has not, /proc/PID is its own.
[[nodiscard]] bool has_ended(const Fd& process);
/// The pid behind a pidfd, in this process's PID namespace; nothing: it has ended, or `pidfd` is none.
[[nodiscard]] std::optional<std::uint32_t> pid_of(int pidfd);
/// A duplicate of descriptor `number` of another process: the open file is shared. Needs CAP_SYS_PTRACE.
[[nodiscard]] Result<Fd> duplicate_of(const Fd& process, int number);

/// stat(2) of the file that /proc/PID/`entry` leads to.
[[nodiscard]] std::optional<struct stat> stat_of_process(std::uint32_t pid, const char* entry);
/// readlink(2) of /proc/PID/`entry`; empty: it cannot be read.
[[nodiscard]] std::string link_of_process(std::uint32_t pid, const char* entry);

/// Calls `visit` with every name in `directory` that is a number, until it returns true. Processes and descriptors come
/// and go meanwhile; what is gone is passed over.
/// @return whether `visit` returned true
bool any_number_in(const std::string& directory, const std::function<bool(int)>& visit);

}  // namespace killswitch::os
