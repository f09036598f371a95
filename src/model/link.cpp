#include "killswitch/model/link.hpp"

#include <algorithm>

namespace killswitch::model {

std::string_view to_string(LinkClass link_class) {
  switch (link_class) {
    case LinkClass::loopback: return "loopback";
    case LinkClass::tunnel: return "tunnel";
    case LinkClass::internal: return "internal";
    case LinkClass::link: return "link";
    case LinkClass::trusted: return "trusted";
    case LinkClass::lan: return "lan";
  }
  return "link";
}

bool is_wide_route(const Prefix& destination) {
  constexpr std::uint8_t widest = 3;  // 2000::/3 is all of today's IPv6 internet
  return destination.length <= widest;
}

LinkClass classify(const Link& link, const Links& links, std::optional<IfIndex> trusted_tunnel) {
  if (link.index == loopback_ifindex) {
    return LinkClass::loopback;
  }
  if (trusted_tunnel == link.index) {
    return LinkClass::tunnel;
  }
  if (link.kind != "bridge") {
    return LinkClass::link;
  }
  if (!link.wide_routes.empty()) {
    return LinkClass::link;  // in a container, the veth in a bridge may be the way out
  }
  const bool only_guests = std::all_of(links.begin(), links.end(), [&](const auto& entry) {
    const Link& port = entry.second;
    return port.master != link.index || port.kind == "veth" || port.kind == "tun";
  });
  return only_guests ? LinkClass::internal : LinkClass::link;
}

}  // namespace killswitch::model
