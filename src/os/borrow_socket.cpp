#include "killswitch/os/borrow_socket.hpp"

#include "killswitch/os/files.hpp"
#include "killswitch/os/process.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <cerrno>
#include <optional>
#include <sstream>
#include <string>

namespace killswitch::os {
namespace {

struct Place {
  int pid{0};
  int fd{0};
};

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

std::optional<Place> find_holder(const std::string& inode) {
  const auto wanted = fmt::format("socket:[{}]", inode);
  std::optional<Place> found;
  any_number_in("/proc", [&](int pid) {
    return pid != ::getpid() && any_number_in(fmt::format("/proc/{}/fd", pid), [&](int fd) {
             if (link_of_process(static_cast<std::uint32_t>(pid), fmt::format("fd/{}", fd).c_str()) == wanted) {
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
  auto process = open_process(static_cast<std::uint32_t>(place->pid));
  auto socket = process ? duplicate_of(*process, place->fd) : std::move(process);
  if (!socket) {
    return fail(socket.error().within(fmt::format("borrow the netlink socket with port {} from process {} ({})",
                                                  port_id, place->pid, name_of(place->pid))));
  }
  return socket;
}

}  // namespace killswitch::os
