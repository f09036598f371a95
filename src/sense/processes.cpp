#include "killswitch/sense/processes.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/process_status.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/process.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>

namespace killswitch::sense {
namespace {

using model::FileId;

constexpr unsigned tun_major = 10;  // @source Linux Documentation/admin-guide/devices.txt: /dev/net/tun
constexpr unsigned tun_minor = 200;

FileId id_of(const struct stat& info) {
  return {info.st_dev, info.st_ino};
}

bool shares_namespace(std::uint32_t pid, const char* entry) {
  const auto theirs = os::stat_of_process(pid, entry);
  const auto ours = os::stat_of_process(static_cast<std::uint32_t>(::getpid()), entry);
  return theirs && ours && id_of(*theirs) == id_of(*ours);
}

std::string descriptor_entry(int number) {
  return fmt::format("fd/{}", number);
}

/// Calls `visit` with every descriptor of the process. Only its user may enter /proc/PID/fd of a process that was
/// executed as that user; fdinfo is open to whoever may trace the process, so that CAP_DAC_READ_SEARCH is not needed.
/// @source Linux 5.14, fs/proc/fd.c, proc_fdinfo_access_allowed()
bool any_descriptor(std::uint32_t pid, const std::function<bool(int)>& visit) {
  return os::any_number_in(fmt::format("/proc/{}/fdinfo", pid), visit);
}

/// What fdinfo says of a descriptor under `key`; empty: nothing.
std::string descriptor_field(std::uint32_t pid, int number, std::string_view key) {
  const auto info = os::read_file(fmt::format("/proc/{}/fdinfo/{}", pid, number));
  if (!info) {
    return {};
  }
  for (const auto line : split(*info, '\n')) {
    if (line.starts_with(key)) {
      return std::string{trim(line.substr(key.size()))};
    }
  }
  return {};
}

/// stat(2) of an open file of another process, through a duplicate.
std::optional<struct stat> stat_of_duplicate(std::uint32_t pid, int number) {
  const auto process = os::open_process(pid);
  const auto duplicate = process ? os::duplicate_of(*process, number) : fail(process.error());
  struct stat info {};
  return duplicate && ::fstat(duplicate->get(), &info) == 0 ? std::optional{info} : std::nullopt;
}

bool is_socket(std::uint32_t pid, int number, std::uint32_t inode) {
  const auto link = os::link_of_process(pid, descriptor_entry(number).c_str());
  if (!link.empty()) {
    return link == fmt::format("socket:[{}]", inode);
  }
  if (descriptor_field(pid, number, "ino:") != std::to_string(inode)) {
    return false;
  }
  const auto info = stat_of_duplicate(pid, number);
  return info && S_ISSOCK(info->st_mode) && info->st_ino == inode;
}

/// The interface that an open /dev/net/tun is attached to; empty: none, or another file.
std::string attached_interface(std::uint32_t pid, int number) {
  const auto is_tun = [](const std::optional<struct stat>& info) {
    return info && S_ISCHR(info->st_mode) && info->st_rdev == ::makedev(tun_major, tun_minor);
  };
  constexpr std::string_view key = "iff:";
  const auto seen = os::stat_of_process(pid, descriptor_entry(number).c_str());
  if (seen) {
    return is_tun(seen) ? descriptor_field(pid, number, key) : std::string{};
  }
  auto name = descriptor_field(pid, number, key);
  return !name.empty() && is_tun(stat_of_duplicate(pid, number)) ? name : std::string{};
}

}  // namespace

std::optional<FileId> executable_of(std::uint32_t pid) {
  const auto info = os::stat_of_process(pid, "exe");
  return info ? std::optional{id_of(*info)} : std::nullopt;
}

void find_processes(const std::vector<model::ProgramFile>& files, const std::function<bool(std::uint32_t)>& visit) {
  std::vector<std::uint32_t> pids;
  os::any_number_in("/proc", [&](int number) {
    pids.push_back(static_cast<std::uint32_t>(number));
    return false;
  });
  // What is looked for has mostly just begun; the kernel gives pids in rising order.
  std::sort(pids.rbegin(), pids.rend());
  for (const auto pid : pids) {
    const auto executable = executable_of(pid);
    const auto is_run = [&](const model::ProgramFile& one) { return executable == one.file; };
    if (executable && std::any_of(files.begin(), files.end(), is_run) && shares_namespace(pid, "ns/net") &&
        visit(pid)) {
      return;
    }
  }
}

Result<model::ProcessFacts> read_process(std::uint32_t pid) {
  const auto executable = executable_of(pid);
  if (!executable) {
    return fail(ESRCH, fmt::format("read the executable of process {}", pid));
  }
  const auto text = os::read_file(fmt::format("/proc/{}/status", pid));
  const auto status = text ? codec::parse_process_status(*text) : fail(text.error());
  if (!status) {
    return fail(status.error());
  }
  return model::ProcessFacts{.pid = pid,
                             .executable = *executable,
                             .uids = status->uids,
                             .effective_capabilities = status->effective_capabilities,
                             .same_user_namespace = shares_namespace(pid, "ns/user"),
                             .same_network_namespace = shares_namespace(pid, "ns/net"),
                             .tracer = status->tracer};
}

std::optional<int> find_descriptor(std::uint32_t pid, std::uint32_t inode) {
  std::optional<int> found;
  any_descriptor(pid, [&](int number) {
    if (is_socket(pid, number, inode)) {
      found = number;
    }
    return found.has_value();
  });
  return found;
}

std::vector<int> socket_descriptors(std::uint32_t pid) {
  std::vector<int> found;
  any_descriptor(pid, [&](int number) {
    const auto link = os::link_of_process(pid, descriptor_entry(number).c_str());
    if (link.empty() || link.starts_with("socket:")) {
      found.push_back(number);
    }
    return false;
  });
  return found;
}

std::vector<model::IfIndex> held_tunnels(std::uint32_t pid) {
  std::vector<model::IfIndex> held;
  any_descriptor(pid, [&](int number) {
    const auto name = attached_interface(pid, number);
    if (const unsigned index = name.empty() ? 0 : ::if_nametoindex(name.c_str()); index != 0) {
      held.push_back({index});
    }
    return false;
  });
  std::sort(held.begin(), held.end());
  held.erase(std::unique(held.begin(), held.end()), held.end());
  return held;
}

std::string why_no_proof() {
  constexpr std::uint64_t cap_sys_ptrace = std::uint64_t{1} << 19U;  // @source linux/capability.h
  constexpr std::string_view what = "no process can be proven to be OpenVPN: ";
  const auto self = static_cast<std::uint32_t>(::getpid());
  const auto facts = read_process(self);
  if (!facts) {
    return fmt::format("{}/proc cannot be read ({})", what, facts.error().message());
  }
  if ((facts->effective_capabilities & cap_sys_ptrace) == 0) {
    return fmt::format("{}killswitchd has no CAP_SYS_PTRACE", what);
  }
  const auto yama = os::read_file("/proc/sys/kernel/yama/ptrace_scope");
  if (yama && trim(*yama) == "3") {
    return fmt::format("{}kernel.yama.ptrace_scope is 3", what);
  }
  const auto process = os::open_process(self);
  const auto duplicate = process ? os::duplicate_of(*process, process->get()) : fail(process.error());
  if (!duplicate) {
    return fmt::format("{}{}; {}", what, duplicate.error().message(),
                       duplicate.error().code.value() == ENOSYS
                           ? "pidfd_getfd needs Linux 5.6"
                           : "a system call filter (of a container) may refuse it");
  }
  return {};
}

}  // namespace killswitch::sense
