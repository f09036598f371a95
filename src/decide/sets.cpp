// The sets of the ruleset: everything that changes while the rules stay.
#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"

#include <algorithm>
#include <array>

namespace killswitch::decide {

using namespace model;

namespace {

Value number(std::uint32_t value) {
  return Value{value};
}

Set plain_set(std::string name, std::vector<KeyType> key) {
  Set set;
  set.name = std::move(name);
  set.key = std::move(key);
  return set;
}

Set service_set(std::string name, const std::vector<std::uint16_t>& ports) {
  Set set = plain_set(std::move(name), {KeyType::inet_proto, KeyType::inet_service});
  for (const auto port : ports) {
    set.elements.push_back({{number(ip_protocol::tcp), number(port)}, {}});
    set.elements.push_back({{number(ip_protocol::udp), number(port)}, {}});
  }
  return set;
}

Set address_set(std::string name, Family family, const std::vector<IpAddress>& addresses) {
  Set set = plain_set(std::move(name), {family == Family::ipv4 ? KeyType::ipv4_addr : KeyType::ipv6_addr});
  for (const auto& address : addresses) {
    if (address.family == family) {
      set.elements.push_back({{address}, {}});
    }
  }
  return set;
}

Prefix prefix4(std::array<std::uint8_t, 4> bytes, std::uint8_t length) {
  return {make_ip_address(Family::ipv4, bytes), length};
}

Prefix prefix6(std::array<std::uint8_t, 16> bytes, std::uint8_t length) {
  return {make_ip_address(Family::ipv6, bytes), length};
}

std::vector<IpAddress> announced_addresses(const Context& context) {
  std::vector<IpAddress> addresses;
  if (context.tunnel) {
    for (const auto& announced : context.tunnel->report.addresses) {
      addresses.push_back(announced.address);
    }
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

/// What happens with an interface of each class at one hook; a class without a verdict goes on with the link rules.
struct Dispatch {
  std::string name;
  std::optional<Verdict> loopback;
  std::optional<Verdict> tunnel;
  std::optional<Verdict> internal;
  std::optional<Verdict> trusted;
  std::optional<Verdict> lan;
};

Set dispatch_map(const Context& context, const Dispatch& dispatch) {
  Set map = plain_set(dispatch.name, {KeyType::ifindex});
  map.verdict_map = true;
  const auto add = [&map](IfIndex index, const std::optional<Verdict>& verdict) {
    if (verdict) {
      map.elements.push_back({{number(index.number)}, verdict});
    }
  };
  add(loopback_ifindex, dispatch.loopback);
  if (context.tunnel) {
    add(context.tunnel->index, dispatch.tunnel);
  }
  for (const auto index : context.internal) {
    add(index, dispatch.internal);
  }
  for (const auto index : context.trusted) {
    add(index, dispatch.trusted);
  }
  for (const auto index : context.lan) {
    add(index, dispatch.lan);
  }
  return map;
}

/// Where link-local IPv6 goes: neighbours, and the group of all DHCPv6 servers (RFC 8415).
Set link_local_set() {
  return prefix_set("link_local6", Family::ipv6,
                    {prefix6({0xfe, 0x80}, 10), prefix6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2}, 128)});
}

/// Where a lease is asked for: everyone on the link, and servers with addresses that are not of the internet. One on
/// the internet is asked by broadcast when the lease comes to its end (RFC 2131, rebinding).
Set dhcp_set() {
  return prefix_set("dhcp_servers4", Family::ipv4,
                    {prefix4({10, 0, 0, 0}, 8), prefix4({100, 64, 0, 0}, 10), prefix4({169, 254, 0, 0}, 16),
                     prefix4({172, 16, 0, 0}, 12), prefix4({192, 168, 0, 0}, 16), prefix4({255, 255, 255, 255}, 32)});
}

/// Where neighbours are: link-local addresses and groups, and the prefixes of the links' own addresses, unless one is
/// so wide that somebody wants all of the internet to be on the link.
Set neighbour_set(const Context& context) {
  constexpr std::uint8_t widest = 48;
  std::vector<Prefix> prefixes = {prefix6({0xfe, 0x80}, 10), prefix6({0xff, 0x02}, 16)};
  for (const auto& [index, link] : context.world.links) {
    for (const auto& held : link.addresses) {
      if (held.address.family == Family::ipv6 && held.prefix_length >= widest && !is_tunnel_kind(link.kind) &&
          index != loopback_ifindex) {
        prefixes.push_back(network_of(held));
      }
    }
  }
  std::sort(prefixes.begin(), prefixes.end());
  prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
  return prefix_set("neighbours6", Family::ipv6, prefixes);
}

std::vector<Set> dispatch_maps(const Context& context) {
  return {
      dispatch_map(context,
                   {"prerouting_by_interface", accept(), accept(), accept(), accept(), go_to("prerouting_lan")}),
      dispatch_map(context, {"input_by_interface", accept(), go_to("input_tunnel"), go_to("input_internal"), accept(),
                             go_to("input_lan")}),
      dispatch_map(context, {"forward_by_interface",
                             {},
                             go_to("forward_tunnel"),
                             go_to("forward_internal"),
                             go_to("forward_internal"),
                             go_to("forward_lan")}),
      dispatch_map(context, {"output_by_interface", accept(), go_to("output_tunnel"), go_to("output_internal"),
                             accept(), go_to("output_lan")}),
      dispatch_map(context, {"postrouting_by_interface", accept(), go_to("postrouting_tunnel"),
                             go_to("postrouting_internal"), accept(), go_to("postrouting_lan")}),
  };
}

template <typename T>
void add_all(std::vector<T>& all, std::vector<T> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

/// Interfaces whose computers may use the tunnel.
Set tunnel_users_set(const Context& context) {
  std::vector<IfIndex> users = context.lan;
  if (context.policy.internal_to_tunnel) {
    add_all(users, context.internal);
    add_all(users, context.trusted);
  }
  return interface_set("tunnel_users", users);
}

}  // namespace

Set endpoint_set(std::string name, Family family, const std::vector<Endpoint>& endpoints) {
  Set set = plain_set(std::move(name), {family == Family::ipv4 ? KeyType::ipv4_addr : KeyType::ipv6_addr,
                                        KeyType::inet_proto, KeyType::inet_service});
  for (const auto& endpoint : endpoints) {
    if (endpoint.address.family == family) {
      set.elements.push_back(
          {{endpoint.address, number(protocol_number(endpoint.protocol)), number(endpoint.port.number)}, {}});
    }
  }
  return set;
}

Set host_set(std::string name, Family family, const std::vector<Endpoint>& endpoints) {
  std::vector<IpAddress> addresses;
  for (const auto& endpoint : endpoints) {
    addresses.push_back(endpoint.address);
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return address_set(std::move(name), family, addresses);
}

Set prefix_set(std::string name, Family family, const std::vector<Prefix>& prefixes) {
  Set set = plain_set(std::move(name), {family == Family::ipv4 ? KeyType::ipv4_addr : KeyType::ipv6_addr});
  set.interval = true;
  for (const auto& prefix : prefixes) {
    if (prefix.address.family == family) {
      set.elements.push_back({{prefix}, {}});
    }
  }
  return set;
}

Set interface_set(std::string name, const std::vector<IfIndex>& interfaces) {
  Set set = plain_set(std::move(name), {KeyType::ifindex});
  for (const auto index : interfaces) {
    set.elements.push_back({{number(index.number)}, {}});
  }
  return set;
}

Set name_ports_set() {
  return service_set("name_ports", {53, 137, 138, 139, 853, 5353, 5355});
}

std::vector<Set> egress_sets_of(const Context& context) {
  const auto behind_tunnel = resolvers_behind_tunnel(context.world);
  std::vector<Set> sets = {
      endpoint_set("transport4", Family::ipv4, context.endpoints),
      endpoint_set("transport6", Family::ipv6, context.endpoints),
      host_set("servers4", Family::ipv4, context.endpoints),
      host_set("servers6", Family::ipv6, context.endpoints),
      link_local_set(),
      dhcp_set(),
      neighbour_set(context),
      address_set("tunnel_names4", Family::ipv4, behind_tunnel),
      address_set("tunnel_names6", Family::ipv6, behind_tunnel),
      // Looked up with raw payload alone, hence not the set that other rules look into.
      address_set("untold_addresses4", Family::ipv4, announced_addresses(context)),
  };
  if (!context.policy.lan.empty()) {
    sets.push_back(name_ports_set());
  }
  if (!context.policy.endpoints.empty()) {
    sets.push_back(host_set("hosts4", Family::ipv4, context.policy.endpoints));
    sets.push_back(host_set("hosts6", Family::ipv6, context.policy.endpoints));
  }
  add_all(sets, frame_sets_of(context));
  for (auto& set : allowance_sets(context)) {
    if (!set.name.starts_with("quoted_")) {  // only what comes in is quoted
      sets.push_back(std::move(set));
    }
  }
  return sets;
}

std::vector<Set> sets_of(const Context& context) {
  const auto resolvers = tunnel_resolvers(context.world);
  const auto addresses = announced_addresses(context);
  auto guests = context.internal;
  add_all(guests, context.trusted);
  std::vector<Set> sets = {
      endpoint_set("transport4", Family::ipv4, context.endpoints),
      endpoint_set("transport6", Family::ipv6, context.endpoints),
      // Looked up with raw payload alone: nft(8) wants a set of its own for that.
      endpoint_set("quoted_transport4", Family::ipv4, context.endpoints),
      endpoint_set("quoted_transport6", Family::ipv6, context.endpoints),
      interface_set("internal_interfaces", guests),
      tunnel_users_set(context),
      service_set("dns_ports", {53, 853}),
      name_ports_set(),
      address_set("tunnel_resolvers4", Family::ipv4, resolvers),
      address_set("tunnel_resolvers6", Family::ipv6, resolvers),
      address_set("tunnel_names4", Family::ipv4, resolvers_behind_tunnel(context.world)),
      address_set("tunnel_names6", Family::ipv6, resolvers_behind_tunnel(context.world)),
      address_set("tunnel_addresses4", Family::ipv4, addresses),
      address_set("tunnel_addresses6", Family::ipv6, addresses),
      prefix_set("local4", Family::ipv4,
                 {prefix4({10, 0, 0, 0}, 8), prefix4({169, 254, 0, 0}, 16), prefix4({172, 16, 0, 0}, 12),
                  prefix4({192, 168, 0, 0}, 16), prefix4({224, 0, 0, 0}, 4), prefix4({255, 255, 255, 255}, 32)}),
      link_local_set(),
      dhcp_set(),
      neighbour_set(context),
      host_set("servers6", Family::ipv6, context.endpoints),
  };
  add_all(sets, allowance_sets(context));
  if (is_router(context)) {
    sets.push_back(interface_set("lan_interfaces", context.lan));
  }
  add_all(sets, dispatch_maps(context));
  return sets;
}

}  // namespace killswitch::decide
