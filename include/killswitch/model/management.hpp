// What OpenVPN says on its management channel, as far as a kill switch cares.
// @source OpenVPN doc/management-notes.txt
#pragma once

#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/tunnel.hpp"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace killswitch::model::management {

struct Hold {};  ///< >HOLD: OpenVPN waits until it is released
/// >REMOTE: which address is to be used for this server?
struct RemoteQuery {
  std::string host;
  Port port;
  Protocol protocol{Protocol::udp};
  std::optional<Family> family;  ///< "udp4", "tcp6-client", …
  bool operator==(const RemoteQuery&) const = default;
};
/// >STATE: "CONNECTING", "WAIT", "AUTH", "CONNECTED", "RECONNECTING", "EXITING", …
struct State {
  std::string name;
  std::string detail;  ///< "SUCCESS", "ping-restart", "SIGTERM", …; may be empty
  std::vector<IpAddress> tunnel_addresses;
  std::optional<IpAddress> server_address;
  std::optional<Port> server_port;
  bool operator==(const State&) const = default;
};
/// >UPDOWN:UP with its environment, complete.
struct TunnelUp {
  TunnelReport report;
  bool operator==(const TunnelUp&) const = default;
};
/// >UPDOWN:DOWN with its environment, complete.
struct TunnelDown {
  std::string interface;
  bool operator==(const TunnelDown&) const = default;
};
/// >PASSWORD:Need 'Auth' username/password
struct PasswordNeeded {
  std::string realm;      ///< "Auth", "Private Key", "HTTP Proxy", …
  bool username{false};   ///< a user name is asked for as well
  bool challenge{false};  ///< SC:, CRV1: static or dynamic challenge
  bool operator==(const PasswordNeeded&) const = default;
};
/// >PASSWORD:Verification Failed: 'Auth'
struct PasswordRefused {
  std::string realm;
  bool operator==(const PasswordRefused&) const = default;
};
/// >FATAL:
struct Fatal {
  std::string text;
  bool operator==(const Fatal&) const = default;
};
/// "ERROR: …": OpenVPN refused one of our commands.
struct CommandRefused {
  std::string text;
  bool operator==(const CommandRefused&) const = default;
};
/// "ENTER PASSWORD:": the channel itself wants a password first.
struct ChannelPasswordNeeded {};
/// A line that breaks the protocol; it changes nothing.
struct Malformed {
  std::string reason;
  bool operator==(const Malformed&) const = default;
};

using Message = std::variant<Hold, RemoteQuery, State, TunnelUp, TunnelDown, PasswordNeeded, PasswordRefused, Fatal,
                             CommandRefused, ChannelPasswordNeeded, Malformed>;

/// A management connection while it lasts; never reused within a run.
struct ConnectionId {
  std::uint32_t number{0};
  auto operator<=>(const ConnectionId&) const = default;
};

/// Who opened the connection.
enum class Direction : std::uint8_t {
  openvpn_connected,  ///< OpenVPN runs with our snippet (management-client): its packets carry our mark
  we_connected,       ///< OpenVPN listens, as its own profile says
};

}  // namespace killswitch::model::management
