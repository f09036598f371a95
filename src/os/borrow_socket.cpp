#include "killswitch/os/borrow_socket.hpp"

#include "killswitch/os/files.hpp"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>

namespace killswitch::os {
namespace {

namespace fs = std::filesystem;

struct Place {
  int pid{0};
  int fd{0};
};

std::optional<int> number_of(const std::string& name) {
  int number = 0;
  const auto* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, number);
  return error == std::errc{} && stop == end ? std::optional{number} : std::nullopt;
}

/// The socket's number in the file system of sockets, from /proc/net/netlink.
Result<std::optional<std::string>> find_inode(int protocol, std::uint32_t port_id) {
  const auto table = read_file("/proc/net/netlink");
  if (!table) {
    return fail(table.error());
  }
  std::istringstream lines{*table};
  for (std::string line; std::getline(lines, line);) {
    // sk, protocol, port ("Pid"), groups, rmem, wmem, dump, locks, drops, inode
    std::istringstream words{line};
    std::string skipped;
    std::string inode;
    int its_protocol = -1;
    std::uint32_t its_port = 0;
    if (words >> skipped >> its_protocol >> its_port && its_protocol == protocol && its_port == port_id) {
      for (int i = 0; i < 7; ++i) {
        words >> inode;
      }
      return std::optional{inode};
    }
  }
  return std::optional<std::string>{};
}

/// Calls `visit` with the numbers that are names in `directory`, until it returns true. Processes and descriptors come
/// and go meanwhile; what is gone is passed over.
template <typename Visit>
bool any_number_in(const fs::path& directory, Visit visit) {
  std::error_code error;
  for (fs::directory_iterator entry{directory, error}; !error && entry != fs::directory_iterator{};
       entry.increment(error)) {
    const auto number = number_of(entry->path().filename());
    if (number && visit(*number)) {
      return true;
    }
  }
  return false;
}

std::optional<Place> find_holder(const std::string& inode) {
  const fs::path wanted{"socket:[" + inode + "]"};
  std::optional<Place> found;
  any_number_in("/proc", [&](int pid) {
    const auto directory = fmt::format("/proc/{}/fd", pid);
    return pid != ::getpid() && any_number_in(directory, [&](int fd) {
             std::error_code gone;
             if (fs::read_symlink(fmt::format("{}/{}", directory, fd), gone) == wanted) {
               found = Place{pid, fd};
             }
             return found.has_value();
           });
  });
  return found;
}

std::string name_of(int pid) {
  const auto name = read_file(fmt::format("/proc/{}/comm", pid));
  return name ? name->substr(0, name->find('\n')) : std::string{"?"};
}

}  // namespace

Result<Fd> borrow_netlink_socket(int protocol, std::uint32_t port_id) {
  const auto inode = find_inode(protocol, port_id);
  if (!inode) {
    return fail(inode.error());
  }
  const auto place = *inode ? find_holder(**inode) : std::nullopt;
  if (!place) {
    return fail(ESRCH, fmt::format("find the process that holds the netlink socket with port {}", port_id));
  }
  const Fd process{static_cast<int>(::syscall(SYS_pidfd_open, place->pid, 0))};
  Fd socket{process ? static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), place->fd, 0)) : -1};
  if (!socket) {
    return fail(errno, fmt::format("borrow the netlink socket with port {} from process {} ({})", port_id, place->pid,
                                   name_of(place->pid)));
  }
  return socket;
}

}  // namespace killswitch::os
