// The VPN tunnel: what OpenVPN said about it, and whether it is trusted.
#pragma once

#include "killswitch/model/endpoint.hpp"

#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

/// Who told us about the tunnel.
enum class TunnelSource : std::uint8_t {
  management,  ///< OpenVPN's management interface (>UPDOWN:ENV)
  process,     ///< a proven process holds the device open, and its socket sends to a pinned server
};
[[nodiscard]] std::string_view to_string(TunnelSource source);

/// What OpenVPN announced: the interface, its addresses and the resolvers that the server pushed.
struct TunnelReport {
  std::string interface;                    ///< "tun0"
  std::vector<InterfaceAddress> addresses;  ///< ifconfig_local, ifconfig_ipv6_local
  std::optional<Endpoint> server;           ///< trusted_ip / trusted_ip6, trusted_port
  std::vector<IpAddress> resolvers;         ///< pushed by `dhcp-option DNS` or `dns server`
  std::vector<std::string> search_domains;
  TunnelSource source{TunnelSource::management};
  bool operator==(const TunnelReport&) const = default;
};

/// The interface that was trusted last: a report that was matched with a link. Kept in the state file, so that
/// a restarted daemon knows the tunnel again.
struct TrustedTunnel {
  IfIndex index;
  TunnelReport report;
  bool operator==(const TrustedTunnel&) const = default;
};

}  // namespace killswitch::model
