#include "killswitch/decide/describe.hpp"

#include "describe_parts.hpp"
#include "killswitch/base/text.hpp"
#include "killswitch/decide/dns_owner.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/decide/transport.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;
using Lines = std::vector<std::string>;

State state_of(const World& world) {
  if (!world.enabled) {
    return State::disabled;
  }
  if (is_verified(world) && world.violations.empty() && world.trusted && is_connected(world) &&
      is_dns_confirmed(world)) {
    return State::protected_;
  }
  const bool at_work = !world.peers.empty() || is_transport_at_work(world) || any_vpn_is(world, VpnState::connecting) ||
                       any_vpn_is(world, VpnState::activated);
  const bool running = at_work && !transport_endpoints(world).empty();
  return running && is_verified(world) ? State::connecting : State::blocked;
}

void explain_kernel(const World& world, Lines& reasons) {
  for (const auto& violation : world.violations) {
    reasons.push_back("everything is refused, because the computed ruleset breaks a guarantee: " + violation);
  }
  if (!world.firewall_error.empty()) {
    reasons.push_back(world.firewall_error + "; the rules before stay in force");
  } else if (!world.observation) {
    reasons.emplace_back("the ruleset has not been verified yet");
  } else if (!world.observation->present) {
    reasons.emplace_back("the kernel holds no table inet killswitch");
  }
  if (world.observation) {
    for (const auto& difference : world.observation->differences) {
      reasons.push_back("the kernel holds something else than was computed: " + difference);
    }
  }
}

void explain_servers(const World& world, Lines& reasons) {
  for (const auto& pinned : world.settings.remotes) {
    if (pinned.addresses.empty() && !pinned.failure.empty()) {
      reasons.push_back(fmt::format("{}: {}", to_string(pinned.remote), pinned.failure));
    }
  }
  if (transport_endpoints(world).empty()) {
    reasons.emplace_back(
        "no server is known: `killswitch enable --config FILE.ovpn` or `--server HOST:PORT/udp` names one");
  }
}

void explain_tunnel(const World& world, Lines& reasons) {
  if (!world.links_known) {
    reasons.emplace_back("the interfaces are not known yet");
  }
  if (world.trusted && is_connected(world)) {
    return;
  }
  if (world.peers.empty() && !world.settings.networkmanager.empty()) {
    explain_networkmanager(world, reasons);
  } else if (world.report && !world.trusted) {
    reasons.push_back(fmt::format("OpenVPN announced {}, but there is no tun interface of that name with its address",
                                  world.report->interface));
  } else if (world.peers.empty() && is_transport_at_work(world)) {
    reasons.push_back(fmt::format("OpenVPN is not connected to the server yet: {}; it holds no {} with an address",
                                  describe_transport(world),
                                  world.settings.interface.empty() ? "tunnel interface" : world.settings.interface));
  } else if (world.peers.empty()) {
    reasons.emplace_back(
        "no OpenVPN is at work: start it with `killswitch connect FILE.ovpn` or in any other way (openvpn --config "
        "FILE.ovpn, a service, NetworkManager)");
  } else {
    for (const auto& [connection, peer] : world.peers) {
      reasons.push_back(fmt::format("OpenVPN is not connected to the server: {}{}{}",
                                    peer.state.empty() ? "starting" : peer.state, peer.detail.empty() ? "" : ", ",
                                    peer.detail));
    }
  }
}

/// Whether programs reach the internet of `family` through the tunnel: an address and a wide route.
bool carries(const World& world, Family family) {
  const auto link = world.trusted ? world.links.find(world.trusted->index) : world.links.end();
  if (link == world.links.end()) {
    return false;
  }
  const auto& addresses = world.trusted->report.addresses;
  const auto& routes = link->second.wide_routes;
  return std::any_of(addresses.begin(), addresses.end(),
                     [&](const auto& entry) { return entry.address.family == family; }) &&
         std::any_of(routes.begin(), routes.end(), [&](const Prefix& route) { return route.address.family == family; });
}

std::uint64_t counter(const World& world, const char* name) {
  if (!world.observation) {
    return 0;
  }
  const auto found = world.observation->counters.find(name);
  return found == world.observation->counters.end() ? 0 : found->second.packets;
}

void warn_of_transport(const World& world, Lines& warnings) {
  if (!world.transport.unavailable.empty()) {
    warnings.push_back(world.transport.unavailable +
                       "; only an OpenVPN that is guided (`killswitch connect`) or sets the mark itself can connect");
  }
  if (!world.transport.refused.empty()) {
    warnings.push_back(world.transport.refused);
  }
  // The first packet of every OpenVPN that does not mark itself is among them, and was sent again.
  if (const auto refused = counter(world, "impostor"); refused > 0 && !world.trusted) {
    warnings.push_back(
        fmt::format("{} packet{} to the VPN server {} dropped because the socket was not proven to be OpenVPN's",
                    refused, refused == 1 ? "" : "s", refused == 1 ? "was" : "were"));
  }
  if (!world.kernel.socket) {
    warnings.emplace_back(
        "this kernel has no nft socket expression (CONFIG_NFT_SOCKET): answers of the VPN server cannot be told from "
        "forged ones, so none come in and OpenVPN cannot connect (G11)");
  }
}

void warn(const World& world, Lines& warnings) {
  if (!world.state_error.empty()) {
    warnings.push_back(world.state_error);
  }
  if (!world.openvpn_error.empty()) {
    warnings.push_back(world.openvpn_error);
  }
  if (!world.enabled) {
    if (world.observation && world.observation->present) {
      warnings.emplace_back(
          "the kernel still holds a table inet killswitch: `killswitch disable --offline` removes it");
    }
    return;
  }
  if (world.trusted && tunnel_resolvers(world).empty() && !world.settings.policy.any_tunnel_resolver) {
    warnings.emplace_back(
        "no resolver is known in the tunnel, so DNS is refused there: start OpenVPN with `killswitch connect`, which "
        "learns "
        "those that the server pushes, or set /dns/tunnel_resolvers in the policy");
  }
  if (world.trusted && !carries(world, Family::ipv4) && !carries(world, Family::ipv6)) {
    warnings.emplace_back(
        "no default route leads into the tunnel: what takes another way is refused (redirect-gateway def1 in the "
        "profile "
        "sends everything through the VPN)");
  }
  for (const auto& refused : judge_resolvers(world).refused) {
    warnings.push_back("the server pushed a resolver that is not used: " + refused);
  }
  warn_of_transport(world, warnings);
  warn_of_networkmanager(world, warnings);
  for (auto& line : policy_warnings(world)) {
    warnings.push_back(std::move(line));
  }
  if (!world.kernel.owner) {
    warnings.emplace_back(
        "this kernel knows no owned tables (NFT_TABLE_F_OWNER, Linux 5.12): another program's `nft flush ruleset` "
        "would open the machine (G5)");
  }
  if (!world.kernel.egress) {
    warnings.emplace_back(
        "this kernel has no netdev egress hook: packet sockets, bridges and macvlan can go around (G9)");
  }
  if (!world.kernel.fib) {
    warnings.emplace_back(
        "this kernel has no nft fib: packets for another interface's address are not told apart before input (G11)");
  }
}

void explain_dns(const World& world, Lines& reasons) {
  if (!world.trusted || !is_connected(world) || is_dns_confirmed(world)) {
    return;
  }
  const auto& dns = world.dns;
  if (!dns.error.empty()) {
    reasons.push_back("names are not asked for in the tunnel: " + dns.error);
  } else if (dns.facts && dns.setup) {
    reasons.push_back("names are not asked for in the tunnel yet: " + dns_difference(*dns.facts, *dns.setup));
  } else {
    reasons.emplace_back("names are not asked for in the tunnel yet: resolv.conf has not been looked at");
  }
}

void describe_dns(const World& world, Status& status) {
  const auto& dns = world.dns;
  status.dns_backend = "none";
  status.dns_foreign_writes = dns.foreign_writes;
  status.dns_last_foreign_write = dns.last_foreign_write;
  if (!world.enabled) {
    return;
  }
  const auto resolvers = judge_resolvers(world);
  status.resolvers = resolvers.accepted;
  if (!dns.setup || dns.setup->backends.empty()) {
    return;
  }
  Lines names;
  for (const auto backend : dns.setup->backends) {
    names.emplace_back(to_string(backend));
  }
  status.dns_backend = join(names, "+");
  status.search_domains = dns.setup->search_domains;
  status.dns_applied = !resolvers.accepted.empty() && is_dns_confirmed(world);
  if (dns.facts) {
    status.dns_reasons = dns.reasons.empty() ? plan_dns(*dns.facts, dns.unfit).reasons : dns.reasons;
    if (auto difference = dns_difference(*dns.facts, *dns.setup); !difference.empty()) {
      status.dns_reasons.push_back(std::move(difference));
    }
  }
  if (!dns.error.empty()) {
    status.dns_reasons.push_back(dns.error);
  }
}

TunnelStatus tunnel_status(const World& world) {
  const auto& trusted = *world.trusted;
  TunnelStatus tunnel;
  const auto link = world.links.find(trusted.index);
  tunnel.interface = link != world.links.end() ? link->second.name : trusted.report.interface;
  tunnel.up = link != world.links.end() && link->second.up;
  tunnel.addresses = trusted.report.addresses;
  tunnel.server = trusted.report.server;
  tunnel.source = trusted.report.source;
  if (tunnel.server) {
    for (const auto& pinned : world.settings.remotes) {
      const auto endpoints = endpoints_of({pinned});
      if (std::binary_search(endpoints.begin(), endpoints.end(), *tunnel.server)) {
        tunnel.server_host = pinned.remote.host;
      }
    }
  }
  return tunnel;
}

bool holds_egress_chain(const Ruleset& ruleset) {
  return std::any_of(ruleset.tables.begin(), ruleset.tables.end(), [](const Table& table) {
    return table.family == TableFamily::netdev &&
           std::any_of(table.chains.begin(), table.chains.end(),
                       [](const Chain& chain) { return chain.base.has_value(); });
  });
}

}  // namespace

namespace {

void say_switched_off(const World& world, Lines& warnings) {
  const auto& state = world.switched_off->state;
  warnings.push_back(
      fmt::format("booted with killswitch=off: nothing is enforced in this boot; the state file {}",
                  !state           ? "says nothing"
                  : state->enabled ? fmt::format("says enabled, policy {}, and is left so", state->settings.policy.name)
                                   : std::string{"says disabled"}));
}

TrialStatus trial_status(const Trial& trial) {
  return {trial.until, trial.before.has_value(), trial.before ? trial.before->policy.name : std::string{}};
}

Status describe_facts(const World& world) {
  Status status;
  status.state = state_of(world);
  status.enforced = world.enabled && is_verified(world);
  status.since = world.since;
  status.policy = world.settings.policy.name;
  status.servers = world.settings.remotes;
  describe_dns(world, status);
  status.ipv6 = "untouched";
  if (world.observation) {
    status.ownership = world.observation->ownership;
    status.blocked = world.observation->counters;
    status.egress_hook = holds_egress_chain(world.observation->ruleset);
  }
  if (world.switched_off) {
    status.switched_off = true;
    say_switched_off(world, status.warnings);
  }
  status.boot_lock = world.boot_lock;
  if (world.trial) {
    status.trial = trial_status(*world.trial);
  }
  status.tampering = world.tampering;
  warn(world, status.warnings);
  if (!world.enabled) {
    return status;
  }
  status.ipv6 = carries(world, Family::ipv6) ? "tunnelled" : "refused";
  status.transport = describe_transport(world);
  status.open = describe_open(world);
  if (world.trusted) {
    status.tunnel = tunnel_status(world);
  }
  if (status.state != State::protected_) {
    explain_kernel(world, status.reasons);
    explain_servers(world, status.reasons);
    explain_tunnel(world, status.reasons);
    explain_dns(world, status.reasons);
  }
  return status;
}

}  // namespace

Status describe(const World& world) {
  auto status = describe_facts(world);
  status.next = next_steps(world, status);
  return status;
}

}  // namespace killswitch::decide
