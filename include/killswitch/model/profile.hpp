// What a kill switch needs to know of an OpenVPN profile (.ovpn). Keys and certificates are never kept.
#pragma once

#include "killswitch/model/endpoint.hpp"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace killswitch::model {

struct UnixSocketPath {
  std::string path;
  bool operator==(const UnixSocketPath&) const = default;
};
struct TcpAddress {
  IpAddress address;
  Port port;
  bool operator==(const TcpAddress&) const = default;
};

/// OpenVPN's `management` directive.
struct ManagementAddress {
  std::variant<UnixSocketPath, TcpAddress> where;
  std::string password_file;  ///< empty: none
  bool operator==(const ManagementAddress&) const = default;
};
[[nodiscard]] std::string to_string(const ManagementAddress& address);

struct ProfileWarning {
  std::string file;
  unsigned line{0};  ///< 1 is the first
  std::string text;
  bool operator==(const ProfileWarning&) const = default;
};

struct Profile {
  std::vector<Remote> remotes;        ///< as written; of the proxy where there is one (see `via_proxy`)
  bool via_proxy{false};              ///< http-proxy or socks-proxy: the proxy is what a link sees
  std::string device;                 ///< `dev`: "tun", "tun0", "tap3", …; empty: not said
  std::string device_type;            ///< `dev-type`
  std::string user;                   ///< `user`: whom OpenVPN becomes after start; empty: stays root
  std::optional<std::uint32_t> mark;  ///< `mark`: SO_MARK of the transport socket
  std::optional<ManagementAddress> management;
  bool management_client{false};
  bool management_hold{false};
  bool management_query_remote{false};
  bool management_query_passwords{false};
  bool management_up_down{false};
  bool remote_random_hostname{false};
  bool redirects_ipv4{false};  ///< `redirect-gateway` / `redirect-private` without "!ipv4"
  bool redirects_ipv6{false};
  std::vector<ProfileWarning> warnings;
  bool operator==(const Profile&) const = default;
};

}  // namespace killswitch::model
