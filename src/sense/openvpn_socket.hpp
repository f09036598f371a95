// Opening the sockets of the management interface, and who is at their other end.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/profile.hpp"
#include "killswitch/os/fd.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace killswitch::sense {

/// A listening unix stream socket at `path`, mode 0600 from its first moment. A socket file that nobody listens on any
/// more is replaced; nothing else is.
[[nodiscard]] Result<os::Fd> open_unix_listener(const std::string& path);
/// @return whether `fd` is a listening unix stream socket.
[[nodiscard]] bool is_unix_listener(int fd);
/// @return whether `fd` listens at `path`, and a socket is there.
[[nodiscard]] bool listens_at(int fd, const std::string& path);
/// Non-blocking and close-on-exec, as a descriptor that comes from elsewhere may not be.
[[nodiscard]] Outcome prepare(int fd);

struct Connecting {
  os::Fd fd;
  bool done{false};  ///< otherwise: under way, writable when it is decided
};
/// Begins a connection. @return an error for an address that is not this machine's.
[[nodiscard]] Result<Connecting> start_connecting(const model::ManagementAddress& address);
/// The result of a connect(2) that was under way.
[[nodiscard]] Outcome connect_result(int fd);

/// The process at the other end of a connected unix socket is root, or has our own user id (a test).
[[nodiscard]] Outcome check_unix_peer(int fd);
/// The process that connected or listens there, as the kernel says; 0: not a unix socket, or in another PID namespace.
[[nodiscard]] std::uint32_t unix_peer_pid(int fd);
/// The program that listens there is root's: another user could have taken the port before OpenVPN did.
[[nodiscard]] Outcome check_listener(const model::ManagementAddress& address, int fd);
/// The check of a TCP listener, of the text of /proc/net/tcp or tcp6.
/// @return nothing when the table lists no such listener, else whether every one of them belongs to root or `own_uid`.
[[nodiscard]] std::optional<bool> listener_is_trusted(std::string_view table, const model::TcpAddress& address,
                                                      std::uint32_t own_uid);

}  // namespace killswitch::sense
