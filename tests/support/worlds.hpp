// Worlds that many tests start from: a laptop with Wi-Fi, a container bridge, and OpenVPN at several stages.
#pragma once

#include "killswitch/decide/facts.hpp"
#include "killswitch/model/world.hpp"

namespace killswitch::test {

inline constexpr model::IfIndex wifi{2};
inline constexpr model::IfIndex tunnel{7};
inline constexpr model::IfIndex bridge{9};
inline constexpr model::IfIndex guest{10};

inline model::IpAddress ip(const char* text) {
  return *model::parse_ip_address(text);
}

inline model::Policy laptop_policy() {
  model::Policy policy;
  policy.name = "laptop";
  policy.dhcp = true;
  policy.neighbour_discovery = true;
  policy.server_names = true;
  policy.host_to_internal = true;
  policy.internal_to_tunnel = true;
  policy.refusal = model::Refusal::reject;
  return policy;
}

inline model::Link link(model::IfIndex index, const char* name, const char* kind) {
  model::Link made;
  made.index = index;
  made.name = name;
  made.kind = kind;
  made.up = true;
  return made;
}

inline model::PinnedRemote pinned(const char* host, std::optional<model::Family> family, const char* address) {
  model::PinnedRemote remote;
  remote.remote = model::Remote{host, model::Port{1194}, model::Protocol::udp, family};
  remote.addresses = {ip(address)};
  return remote;
}

/// resolv.conf as a plain file that names `server`; neither NetworkManager nor systemd-resolved runs.
inline model::DnsFacts plain_resolv_conf(const std::string& server) {
  model::DnsFacts facts;
  facts.resolv_conf.file.kind = model::FileCopy::Kind::regular;
  facts.resolv_conf.file.content = "nameserver " + server + "\n";
  facts.resolv_conf.file.mode = 0644;
  facts.resolv_conf.real_path = model::resolv_conf_path;
  return facts;
}

/// What the newest kernel can do.
inline model::KernelFeatures all_features() {
  return {.owner = true,
          .persist = true,
          .fib = true,
          .socket = true,
          .egress = true,
          .log = true,
          .grows = true,
          .ahead = true};
}

/// Enabled with a profile of two remotes of one name; OpenVPN does not run.
inline model::World laptop_blocked() {
  model::World world;
  world.enabled = true;
  world.settings.policy = laptop_policy();
  world.settings.remotes = {pinned("vpn.example.test", model::Family::ipv6, "2001:db8:b700::220"),
                            pinned("vpn.example.test", std::nullopt, "198.51.100.49")};
  world.links_known = true;
  world.links[model::loopback_ifindex] = link(model::loopback_ifindex, "lo", "");
  world.links[wifi] = link(wifi, "wlo1", "");
  world.links[wifi].addresses = {*model::parse_interface_address("192.168.43.10/24")};
  world.links[bridge] = link(bridge, "docker0", "bridge");
  world.links[guest] = link(guest, "veth0", "veth");
  world.links[guest].master = bridge;
  world.kernel = all_features();
  world.dns.facts = plain_resolv_conf("192.168.255.1");  // of an earlier tunnel; tests of names say otherwise
  return world;
}

inline model::TunnelReport dual_stack_report() {
  model::TunnelReport report;
  report.interface = "tun0";
  report.addresses = {*model::parse_interface_address("192.168.255.2/24"),
                      *model::parse_interface_address("fd00:0:0:feed::1000/64")};
  report.server = model::Endpoint{ip("2001:db8:b700::220"), model::Port{1194}, model::Protocol::udp};
  report.resolvers = {ip("192.168.255.1")};
  return report;
}

inline model::Link tun0(model::IfIndex index = tunnel) {
  auto made = link(index, "tun0", "tun");
  made.addresses = dual_stack_report().addresses;
  made.wide_routes = {*model::parse_prefix("0.0.0.0/1"), *model::parse_prefix("128.0.0.0/1"),
                      *model::parse_prefix("2000::/3")};
  return made;
}

/// OpenVPN runs with our snippet and waits for the server.
inline model::World laptop_connecting() {
  auto world = laptop_blocked();
  world.peers[{1}].direction = model::management::Direction::openvpn_connected;
  world.peers[{1}].state = "WAIT";
  return world;
}

/// The tunnel stands, and names are asked for in it.
inline model::World laptop_protected() {
  auto world = laptop_connecting();
  world.peers[{1}].state = "CONNECTED";
  world.links[tunnel] = tun0();
  world.report = dual_stack_report();
  world.reporter = model::management::ConnectionId{1};
  world.trusted = decide::match_tunnel(world);
  model::Observation verified;
  verified.present = true;
  verified.ownership = model::Ownership::owner_persist;
  world.observation = verified;
  world.dns.setup = model::DnsSetup{{model::DnsBackend::file}, tunnel, {ip("192.168.255.1")}, {}};
  world.dns.engaged = true;
  world.dns.was_confirmed = true;
  return world;
}

}  // namespace killswitch::test
