#include "killswitch/decide/facts.hpp"

#include "killswitch/decide/transport.hpp"
#include "killswitch/model/server_name.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace killswitch::decide {
namespace {

using namespace model;

template <typename T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

bool carries_announced_address(const Link& link, const TunnelReport& report) {
  return std::any_of(report.addresses.begin(), report.addresses.end(), [&](const InterfaceAddress& announced) {
    return std::any_of(link.addresses.begin(), link.addresses.end(),
                       [&](const InterfaceAddress& held) { return held.address == announced.address; });
  });
}

}  // namespace

bool needs_twin(const KernelFeatures& kernel) {
  return kernel.owner && !kernel.persist;
}

Table twin_of(const Table& table) {
  Table twin = table;
  twin.name = twin_table_name;
  for (auto& chain : twin.chains) {
    if (chain.base) {
      ++chain.base->priority;
    }
  }
  return twin;
}

bool is_tunnel_kind(std::string_view kind) {
  return kind == "tun" || kind == "ovpn" || kind == "ovpn-dco";
}

bool may_be_tunnel(const Link& link, const World& world) {
  const auto& only = world.settings.interface;
  return link.index != loopback_ifindex && is_tunnel_kind(link.kind) && (only.empty() || link.name == only);
}

std::optional<TrustedTunnel> match_tunnel(const World& world) {
  if (!world.report) {
    return match_process_tunnel(world);
  }
  // An interface that was trusted stays the only candidate: a later one of the same name is another one (G6).
  for (const auto& [index, link] : world.links) {
    const bool candidate =
        world.trusted && world.trusted->report.interface == world.report->interface ? index == world.trusted->index
                                                                                    : link.name ==
                                                                                          world.report->interface;
    if (candidate && may_be_tunnel(link, world) && carries_announced_address(link, *world.report)) {
      return TrustedTunnel{index, *world.report};
    }
  }
  return std::nullopt;
}

namespace {

/// Interfaces that lead to no wire by themselves: what they carry meets our hooks again, in another packet or at a
/// guest.
bool stands_on_nothing(const Link& link, LinkClass own_class) {
  return own_class == LinkClass::internal || link.kind == "wireguard" || link.kind == "dummy" ||
         is_tunnel_kind(link.kind);
}

bool serves_lan(const Link& link, const World& world) {
  const auto& lan = world.settings.policy.router.lan;
  if (is_tunnel_kind(link.kind)) {
    return false;
  }
  if (is_named(lan, link.name)) {
    return true;
  }
  const auto bridge = link.master ? world.links.find(*link.master) : world.links.end();
  return bridge != world.links.end() && is_named(lan, bridge->second.name);
}

}  // namespace

LinkClass class_of(const Link& link, const World& world, std::optional<IfIndex> tunnel) {
  const auto own_class = classify(link, world.links, tunnel);
  const auto& policy = world.settings.policy;
  if (own_class == LinkClass::loopback || own_class == LinkClass::tunnel) {
    return own_class;
  }
  const auto& trusted = policy.trusted_interfaces;
  if (std::find(trusted.begin(), trusted.end(), link.name) != trusted.end() && waives(policy, Guarantee::one_tunnel) &&
      (stands_on_nothing(link, own_class) || waives(policy, Guarantee::fail_closed))) {
    return LinkClass::trusted;
  }
  return serves_lan(link, world) ? LinkClass::lan : own_class;
}

bool is_guest_port(const Link& link, const World& world, std::optional<IfIndex> tunnel) {
  const auto bridge = link.master ? world.links.find(*link.master) : world.links.end();
  if (bridge == world.links.end()) {
    return false;
  }
  const auto its_class = class_of(bridge->second, world, tunnel);
  return its_class == LinkClass::internal || its_class == LinkClass::trusted;
}

bool is_connected(const World& world) {
  if (!world.reporter) {
    return true;
  }
  const auto peer = world.peers.find(*world.reporter);
  return peer != world.peers.end() && peer->second.state == "CONNECTED";
}

std::vector<PinnedRemote> all_remotes(const World& world) {
  auto remotes = world.settings.remotes;
  remotes.insert(remotes.end(), world.asked_for.begin(), world.asked_for.end());
  return remotes;
}

std::vector<std::string> names_in_question(const World& world) {
  std::vector<std::string> names;
  const bool tunnel_stands = world.trusted && is_connected(world);
  if (!world.enabled || tunnel_stands || !world.settings.policy.server_names) {
    return names;
  }
  for (const auto& pinned : all_remotes(world)) {
    const auto wire = wire_name(pinned.remote.host);
    if (wire.empty()) {
      continue;
    }
    auto& name = names.emplace_back(pinned.remote.host);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    if (name.ends_with('.')) {
      name.pop_back();
    }
  }
  sort_unique(names);
  return names;
}

std::vector<Endpoint> transport_endpoints(const World& world) {
  auto endpoints = endpoints_of(all_remotes(world));
  endpoints.insert(endpoints.end(), world.learned.begin(), world.learned.end());
  sort_unique(endpoints);
  return endpoints;
}

std::uint32_t transport_mark(const World& world) {
  // Our snippet comes last on OpenVPN's command line, so its mark is the one in force where it is used.
  if (world.settings.profile_mark && !runs_with_snippet(world)) {
    return *world.settings.profile_mark;
  }
  return world.settings.policy.transport_mark;
}

bool runs_with_snippet(const World& world) {
  return std::any_of(world.peers.begin(), world.peers.end(), [](const auto& entry) {
    return entry.second.direction == management::Direction::openvpn_connected;
  });
}

namespace {

bool is_on_subnet_of(const IpAddress& address, const std::vector<InterfaceAddress>& held) {
  return std::any_of(held.begin(), held.end(),
                     [&](const InterfaceAddress& entry) { return network_of(entry).contains(address); });
}

bool has_family(const std::vector<InterfaceAddress>& held, Family family) {
  return std::any_of(held.begin(), held.end(), [&](const auto& entry) { return entry.address.family == family; });
}

/// Why `resolver` cannot be asked through the tunnel; empty: it can.
std::string out_of_reach(const IpAddress& resolver, const World& world) {
  const auto& tunnel = *world.trusted;
  const auto text = to_string(resolver);
  if (is_loopback(resolver)) {
    return text + " is this machine itself";
  }
  if (!has_family(tunnel.report.addresses, resolver.family)) {
    return fmt::format("{} is out of the tunnel's reach: the tunnel has no {} address", text,
                       resolver.family == Family::ipv4 ? "IPv4" : "IPv6");
  }
  if (is_on_subnet_of(resolver, tunnel.report.addresses)) {
    return "";
  }
  if (is_link_local(resolver)) {
    return text + " is out of the tunnel's reach: a link-local address is on no link of the tunnel";
  }
  if (!is_private(Prefix{resolver, static_cast<std::uint8_t>(8 * resolver.size())})) {
    return "";
  }
  for (const auto& [index, link] : world.links) {
    if (index != tunnel.index && is_on_subnet_of(resolver, link.addresses)) {
      return fmt::format(
          "{} is out of the tunnel's reach: it is on the network of {}, as an access point's own resolver is", text,
          link.name);
    }
  }
  return "";
}

}  // namespace

Resolvers judge_resolvers(const World& world) {
  Resolvers resolvers;
  if (!world.trusted) {
    return resolvers;
  }
  const auto take = [&](const std::vector<IpAddress>& candidates) {
    for (const auto& candidate : candidates) {
      auto& accepted = resolvers.accepted;
      if (std::find(accepted.begin(), accepted.end(), candidate) != accepted.end()) {
        continue;
      }
      if (auto reason = out_of_reach(candidate, world); reason.empty()) {
        accepted.push_back(candidate);
      } else {
        resolvers.refused.push_back(std::move(reason));
      }
    }
  };
  take(world.trusted->report.resolvers);
  if (resolvers.accepted.empty()) {
    take(world.settings.policy.tunnel_resolvers);
  }
  return resolvers;
}

std::vector<IpAddress> tunnel_resolvers(const World& world) {
  auto resolvers = judge_resolvers(world).accepted;
  sort_unique(resolvers);
  return resolvers;
}

}  // namespace killswitch::decide
