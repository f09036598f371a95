// Where a remote session leaves its traces: the environment that sshd gives its session, and the kernel's table of TCP
// connections.
// @source sshd(8) ENVIRONMENT, proc_pid_environ(5), proc_pid_stat(5), Linux Documentation/networking/proc_net_tcp.rst
#pragma once

#include "killswitch/model/remote_session.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec {

/// The value of SSH_CONNECTION in an environment (KEY=VALUE, each ended by a zero byte), if it is one.
[[nodiscard]] std::optional<model::RemoteSession> session_in_environment(std::string_view environment);

/// The parent in /proc/PID/stat; nothing: not such a file.
[[nodiscard]] std::optional<std::uint32_t> parent_in_stat(std::string_view stat);

struct TcpConnection {
  model::RemoteSession session;
  std::uint64_t inode{0};  ///< of its socket
  bool operator==(const TcpConnection&) const = default;
};
/// The established connections in /proc/net/tcp or tcp6, IPv4 in IPv6 as IPv4. Lines of another shape are passed over.
[[nodiscard]] std::vector<TcpConnection> connections_in_table(std::string_view table);

}  // namespace killswitch::codec
