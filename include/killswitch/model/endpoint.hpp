// Where the VPN server is: as a profile names it (Remote), and as packets carry it (Endpoint).
#pragma once

#include "killswitch/model/address.hpp"

#include <chrono>
#include <compare>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

enum class Protocol : std::uint8_t { udp, tcp };

/// One destination of the encrypted transport. Only packets to exactly this may leave a link.
struct Endpoint {
  IpAddress address;
  Port port;
  Protocol protocol{Protocol::udp};
  auto operator<=>(const Endpoint&) const = default;
};

/// A server as the profile or the command line gives it.
struct Remote {
  std::string host;  ///< a name or a numeric address
  Port port{1194};
  Protocol protocol{Protocol::udp};
  std::optional<Family> family;  ///< set when the profile insists (udp4, tcp6-client, …)
  auto operator<=>(const Remote&) const = default;
};

/// A remote with the addresses that were found for it before the lock. `failure` says why there are none.
struct PinnedRemote {
  Remote remote;
  std::vector<IpAddress> addresses;
  std::chrono::sys_seconds resolved_at{};
  std::string failure;
  std::chrono::sys_seconds expires{};  ///< when the addresses are to be asked for again; the epoch: nobody said
  bool operator==(const PinnedRemote&) const = default;
};

[[nodiscard]] std::string_view to_string(Protocol protocol);  ///< "udp" or "tcp"
/// "198.51.100.49:1194/udp", "[2001:db8::1]:1194/udp"
[[nodiscard]] std::string to_string(const Endpoint& endpoint);
[[nodiscard]] std::string to_string(const Remote& remote);

/// HOST:PORT/PROTO, [IPV6]:PORT/PROTO; the protocol is one of udp, udp4, udp6, tcp, tcp4, tcp6, the default udp.
[[nodiscard]] Result<Remote> parse_remote(std::string_view text);

/// Every endpoint that `pinned` stands for, without doubles, sorted.
[[nodiscard]] std::vector<Endpoint> endpoints_of(const std::vector<PinnedRemote>& pinned);

}  // namespace killswitch::model
