// VPN connections of NetworkManager (network-manager-openvpn): what an administrator enrolled, and what NetworkManager
// says of it now.
#pragma once

#include "killswitch/model/endpoint.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

/// A connection that `enable --networkmanager` enrolled: where it may connect to is what was saved at that moment.
struct NetworkManagerVpn {
  std::string uuid;
  std::string name;  ///< `connection.id` at that time, for people and for nmcli
  std::vector<Remote> remotes;
  bool operator==(const NetworkManagerVpn&) const = default;
};

enum class VpnState : std::uint8_t {
  inactive,
  connecting,  ///< NM_VPN_CONNECTION_STATE 1 to 4
  activated,   ///< 5
};

/// The device of an activated connection, and the DNS configuration that NetworkManager has for it.
struct VpnDevice {
  std::string interface;             ///< "tun0"
  std::vector<IpAddress> resolvers;  ///< pushed, or of the connection; IPv4 first
  std::vector<std::string> search_domains;
  bool operator==(const VpnDevice&) const = default;
};

/// What NetworkManager says of one enrolled connection.
struct VpnConnection {
  std::string uuid;
  VpnState state{VpnState::inactive};
  std::optional<VpnDevice> device;  ///< only while activated; nothing: it was not found
  std::vector<Remote> remotes;      ///< as they are saved now
  std::string unusable;             ///< why `remotes` could not be had; empty: they could
  bool operator==(const VpnConnection&) const = default;
};

/// The part of the world that concerns NetworkManager's VPNs.
struct NetworkManagerWorld {
  bool asked{false};                       ///< since the daemon started; before, the resolvers that were kept count
  bool running{false};                     ///< it is on the bus and answered
  std::vector<VpnConnection> connections;  ///< of the enrolled ones, those that it knows
  bool operator==(const NetworkManagerWorld&) const = default;
};

}  // namespace killswitch::model
