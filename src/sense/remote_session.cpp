#include "killswitch/sense/remote_session.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/remote_session.hpp"
#include "killswitch/os/files.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <charconv>
#include <filesystem>
#include <set>

namespace killswitch::sense {
namespace {

constexpr int most_ancestors = 64;

std::string read_of(std::uint32_t pid, const char* what) {
  const auto text = os::read_file(fmt::format("/proc/{}/{}", pid, what));
  return text ? *text : std::string{};
}

std::set<std::uint64_t> sockets_of(std::uint32_t pid) {
  constexpr std::string_view prefix = "socket:[";
  std::set<std::uint64_t> inodes;
  std::error_code error;
  const std::filesystem::directory_iterator end;
  for (std::filesystem::directory_iterator entry{fmt::format("/proc/{}/fd", pid), error}; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    const auto target = std::filesystem::read_symlink(entry->path(), unreadable).string();
    std::uint64_t inode = 0;
    if (std::string_view{target}.starts_with(prefix) &&
        std::from_chars(target.data() + prefix.size(), target.data() + target.size(), inode).ec == std::errc{}) {
      inodes.insert(inode);
    }
  }
  return inodes;
}

/// The connection that an sshd serves: "sshd", and from OpenSSH 9.8 on "sshd-session".
std::optional<model::RemoteSession> session_of_sshd(std::uint32_t pid) {
  if (!trim(read_of(pid, "comm")).starts_with("sshd")) {
    return std::nullopt;
  }
  const auto sockets = sockets_of(pid);
  for (const char* table : {"net/tcp", "net/tcp6"}) {
    for (const auto& connection : codec::connections_in_table(read_of(pid, table))) {
      if (sockets.count(connection.inode) > 0) {
        return connection.session;
      }
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<model::RemoteSession> find_remote_session() {
  auto pid = static_cast<std::uint32_t>(::getpid());
  for (int i = 0; i < most_ancestors && pid > 1; ++i) {
    if (const auto session = codec::session_in_environment(read_of(pid, "environ"))) {
      return session;
    }
    if (const auto session = session_of_sshd(pid)) {
      return session;
    }
    const auto parent = codec::parent_in_stat(read_of(pid, "stat"));
    if (!parent) {
      break;
    }
    pid = *parent;
  }
  return std::nullopt;
}

}  // namespace killswitch::sense
