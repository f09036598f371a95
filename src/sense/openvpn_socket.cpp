#include "openvpn_socket.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/os/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

namespace killswitch::sense {
namespace {

using namespace model;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size{0};
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

template <typename Specific>
SocketAddress pack(const Specific& specific, std::size_t size) {
  SocketAddress packed;
  std::memcpy(&packed.storage, &specific, sizeof specific);
  packed.size = static_cast<socklen_t>(size);
  return packed;
}

Result<SocketAddress> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path || path.front() != '/' ||
      path.find('\0') != std::string::npos) {
    return fail(fmt::format("'{}': expected an absolute path of at most {} bytes for a socket", printable(path),
                            sizeof address.sun_path - 1));
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  return pack(address, sizeof address);
}

SocketAddress tcp_address(const TcpAddress& where) {
  if (where.address.family == Family::ipv4) {
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(where.port.number);
    std::memcpy(&four.sin_addr, where.address.bytes.data(), sizeof four.sin_addr);
    return pack(four, sizeof four);
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(where.port.number);
  std::memcpy(&six.sin6_addr, where.address.bytes.data(), sizeof six.sin6_addr);
  return pack(six, sizeof six);
}

Result<SocketAddress> address_of(const ManagementAddress& address) {
  if (const auto* file = std::get_if<UnixSocketPath>(&address.where)) {
    return unix_address(file->path);
  }
  const auto& tcp = std::get<TcpAddress>(address.where);
  if (!is_loopback(tcp.address)) {
    return fail("the management interface must be on this machine (127.0.0.1 or ::1)");
  }
  return tcp_address(tcp);
}

int option_of(int fd, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/// Removes a socket file that a process left behind.
Outcome remove_stale(const std::string& path, const SocketAddress& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Outcome{done()} : Outcome{fail(errno, fmt::format("look at {}", path))};
  }
  if (!S_ISSOCK(info.st_mode)) {
    return fail(fmt::format("{} is in the way: it is not a socket", path));
  }
  const os::Fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!probe) {
    return fail(errno, "open a unix socket");
  }
  if (::connect(probe.get(), address.get(), address.size) == 0 || errno != ECONNREFUSED) {
    return fail(fmt::format("somebody else listens on {}", path));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(errno, fmt::format("remove the stale {}", path));
  }
  return done();
}

bool is_trusted(std::uint32_t uid) {
  return uid == 0 || uid == ::geteuid();
}

/// An address as /proc/net/tcp and tcp6 print it: words of 32 bits as they lie in memory, in hexadecimal.
std::string table_address(const IpAddress& address) {
  std::string text;
  for (std::size_t at = 0; at < address.size(); at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, address.bytes.data() + at, sizeof word);
    text += fmt::format("{:08X}", word);
  }
  return text;
}

}  // namespace

Result<os::Fd> open_unix_listener(const std::string& path) {
  auto address = unix_address(path);
  if (!address) {
    return fail(address.error());
  }
  if (auto removed = remove_stale(path, *address); !removed) {
    return fail(removed.error());
  }
  os::Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  // Linux gives the file the mode of the unbound socket: it is never open to others, not even for a moment.
  if (!fd || ::fchmod(fd.get(), 0600) != 0) {
    return fail(errno, "open a unix socket");
  }
  if (::bind(fd.get(), address->get(), address->size) != 0 || ::listen(fd.get(), 8) != 0) {
    return fail(errno, fmt::format("listen on {}", path));
  }
  return fd;
}

bool is_unix_listener(int fd) {
  return option_of(fd, SO_DOMAIN) == AF_UNIX && option_of(fd, SO_TYPE) == SOCK_STREAM &&
         option_of(fd, SO_ACCEPTCONN) == 1;
}

bool listens_at(int fd, const std::string& path) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  struct stat info {};
  return is_unix_listener(fd) && ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
         path == std::string_view{address.sun_path, ::strnlen(address.sun_path, sizeof address.sun_path)} &&
         ::lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
}

Outcome prepare(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return fail(errno, "prepare a socket");
  }
  return done();
}

Result<Connecting> start_connecting(const ManagementAddress& address) {
  const auto packed = address_of(address);
  if (!packed) {
    return fail(packed.error());
  }
  os::Fd fd{::socket(packed->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd) {
    return fail(errno, "open a socket");
  }
  if (::connect(fd.get(), packed->get(), packed->size) == 0) {
    return Connecting{std::move(fd), true};
  }
  if (errno != EINPROGRESS) {
    return fail(errno, "connect");
  }
  return Connecting{std::move(fd), false};
}

Outcome connect_result(int fd) {
  const int error = option_of(fd, SO_ERROR);
  return error == 0 ? Outcome{done()} : Outcome{fail(error > 0 ? error : EIO, "connect")};
}

Outcome check_unix_peer(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (option_of(fd, SO_DOMAIN) != AF_UNIX || ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return fail("who is at the other end cannot be told: it is not a unix socket");
  }
  if (!is_trusted(peer.uid)) {
    return fail(fmt::format("process {} of user {} is not root", peer.pid, peer.uid));
  }
  return done();
}

std::uint32_t unix_peer_pid(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  const bool known =
      option_of(fd, SO_DOMAIN) == AF_UNIX && ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
  return known && peer.pid > 0 ? static_cast<std::uint32_t>(peer.pid) : 0;
}

std::optional<bool> listener_is_trusted(std::string_view table, const TcpAddress& address, std::uint32_t own_uid) {
  constexpr std::string_view listening = "0A";
  const auto port = fmt::format("{:04X}", address.port.number);
  const auto exact = fmt::format("{}:{}", table_address(address.address), port);
  const auto any = fmt::format("{}:{}", table_address(IpAddress{address.address.family, {}}), port);
  // A socket of IPv6 that listens everywhere takes connections of IPv4 as well.
  const auto any6 = fmt::format("{}:{}", table_address(IpAddress{Family::ipv6, {}}), port);
  std::optional<bool> trusted;
  for (const auto line : split(table, '\n')) {
    std::vector<std::string_view> words;
    for (const auto word : split(line, ' ')) {
      if (!word.empty()) {
        words.push_back(word);
      }
    }
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid …
    if (words.size() < 8 || words[3] != listening || (words[1] != exact && words[1] != any && words[1] != any6)) {
      continue;
    }
    const auto uid = parse_number(words[7]);
    trusted = trusted.value_or(true) && uid && (*uid == 0 || *uid == own_uid);
  }
  return trusted;
}

Outcome check_listener(const ManagementAddress& address, int fd) {
  if (std::holds_alternative<UnixSocketPath>(address.where)) {
    return check_unix_peer(fd);
  }
  const auto& tcp = std::get<TcpAddress>(address.where);
  std::optional<bool> trusted;
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const auto table = os::read_file(path, std::size_t{32} << 20U);
    if (!table && table.error().code != std::errc::no_such_file_or_directory) {
      return fail(table.error());
    }
    if (const auto found = table ? listener_is_trusted(*table, tcp, ::geteuid()) : std::nullopt) {
      trusted = trusted.value_or(true) && *found;
    }
  }
  if (!trusted.value_or(false)) {
    return fail("the program that listens there is not root's");
  }
  return done();
}

}  // namespace killswitch::sense
