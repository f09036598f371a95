// Network interfaces as rtnetlink describes them, and the class each one gets.
#pragma once

#include "killswitch/model/address.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

/// What makes a link a VLAN: its frames leave through another link, with a tag.
struct Vlan {
  IfIndex carrier;
  std::uint16_t protocol{0x8100};  ///< EtherType of the tag: 802.1Q, or 0x88a8 (802.1ad)
  std::uint16_t id{0};
  auto operator<=>(const Vlan&) const = default;
};

struct Link {
  IfIndex index;
  std::string name;
  std::string kind;                         ///< IFLA_INFO_KIND: "tun", "bridge", "veth", …; empty for hardware
  std::optional<IfIndex> master;            ///< the bridge or bond that it is a port of
  std::optional<Vlan> vlan;                 ///< of kind "vlan", with a carrier that is in this namespace
  bool up{false};                           ///< IFF_UP
  std::vector<InterfaceAddress> addresses;  ///< sorted
  std::vector<Prefix> wide_routes;  ///< sorted; those that send large parts of the internet this way (is_wide_route)
  bool operator==(const Link&) const = default;
};

using Links = std::map<IfIndex, Link>;

/// Default routes, and the halves and eighths of the address space that VPNs use in their place. All other routes say
/// nothing that a kill switch wants to know, and there may be a million of them.
[[nodiscard]] bool is_wide_route(const Prefix& destination);

/// What may pass an interface depends on its class alone. Everything unknown is a link.
enum class LinkClass : std::uint8_t {
  loopback,
  tunnel,
  internal,
  link,
  trusted,  ///< by name, as the policy says
  lan,      ///< where the computers are that this host is the router of, as the policy says
};

[[nodiscard]] std::string_view to_string(LinkClass link_class);

/// Which class `link` has among `links`, before a policy is asked (decide::class_of); `trusted_tunnel` is the interface
/// that OpenVPN was seen to own. A bridge is internal when all its ports are veth or tap and no wide route leads over
/// it; any other is a link.
[[nodiscard]] LinkClass classify(const Link& link, const Links& links, std::optional<IfIndex> trusted_tunnel);

}  // namespace killswitch::model
