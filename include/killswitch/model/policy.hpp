// A policy: what may leave besides the tunnel. Read from JSON (policies/policy.schema.json); the defaults
// below are the strictest values, so that a policy that says nothing allows nothing.
#pragma once

#include "killswitch/model/address.hpp"

#include <string>
#include <vector>

namespace killswitch::model {

/// SO_MARK of OpenVPN's transport socket when it is started with our snippet ("ks").
inline constexpr std::uint32_t default_transport_mark = 0x6b73;

/// How packets of OpenVPN itself are told from those of another program to the same server.
enum class TransportIdentity : std::uint8_t {
  mark,       ///< only the mark
  automatic,  ///< the mark; also the users (root and the profile's) as long as OpenVPN runs without our snippet
};

enum class Refusal : std::uint8_t {
  drop,    ///< programs of this host run into timeouts
  reject,  ///< programs of this host get an error at once (TCP reset, ICMP admin-prohibited)
};

struct Policy {
  std::string name;
  std::string description;

  TransportIdentity transport_identity{TransportIdentity::mark};
  std::uint32_t transport_mark{default_transport_mark};

  bool dhcp{false};                 ///< DHCPv4 and DHCPv6 client on links
  bool neighbour_discovery{false};  ///< NDP with hop limit 255 on links (IPv6 does not work without)

  std::vector<IpAddress> tunnel_resolvers;  ///< used in the tunnel when the server pushes none
  bool any_tunnel_resolver{false};          ///< DNS in the tunnel may go anywhere

  bool host_to_internal{false};    ///< this host and its guests (docker0, virbr0) may talk to each other
  bool internal_to_tunnel{false};  ///< guests may use the tunnel

  Refusal refusal{Refusal::drop};
  bool operator==(const Policy&) const = default;
};

}  // namespace killswitch::model
