// The part of `step` that deals with NetworkManager's VPN connections. What it says of an enrolled one stands for what
// OpenVPN would announce itself, and is matched with a link in the same way; nothing else is believed (G6).
#include "killswitch/decide/facts.hpp"
#include "step_parts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

bool is_networkmanagers(const std::optional<TunnelReport>& report) {
  return report && report->source == TunnelSource::networkmanager;
}

const VpnConnection* said_of(const World& world, const NetworkManagerVpn& enrolled) {
  const auto& connections = world.networkmanager.connections;
  const auto found = std::find_if(connections.begin(), connections.end(),
                                  [&](const VpnConnection& one) { return one.uuid == enrolled.uuid; });
  return found == connections.end() ? nullptr : &*found;
}

/// Where the tunnel leads to: NetworkManager gave the server a route beside the tunnel. Nothing: to none of those that
/// were pinned for this connection.
std::optional<Endpoint> server_of(const World& world, const NetworkManagerVpn& enrolled, const VpnDevice& device) {
  for (const auto& pinned : world.settings.remotes) {
    const auto& remotes = enrolled.remotes;
    if (std::find(remotes.begin(), remotes.end(), pinned.remote) == remotes.end()) {
      continue;
    }
    for (const auto& endpoint : endpoints_of({pinned})) {
      const auto& way_out = device.way_out;
      if (std::find(way_out.begin(), way_out.end(), endpoint.address) != way_out.end()) {
        return endpoint;
      }
    }
  }
  return std::nullopt;
}

std::optional<TunnelReport> announced(const World& world) {
  for (const auto& enrolled : world.settings.networkmanager) {
    const auto* said = said_of(world, enrolled);
    if (said == nullptr || said->state != VpnState::activated || !said->device ||
        said->device->path == world.networkmanager.gone_device) {
      continue;
    }
    const auto& device = *said->device;
    if (auto server = server_of(world, enrolled, device)) {
      return TunnelReport{device.interface, device.addresses,      server,
                          device.resolvers, device.search_domains, TunnelSource::networkmanager};
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<Vpn> enrolled_vpns(const World& world) {
  std::vector<Vpn> vpns;
  for (const auto& enrolled : world.settings.networkmanager) {
    vpns.push_back({&enrolled, said_of(world, enrolled)});
  }
  return vpns;
}

bool any_vpn_is(const World& world, VpnState state) {
  const auto vpns = enrolled_vpns(world);
  return std::any_of(vpns.begin(), vpns.end(),
                     [&](const Vpn& vpn) { return vpn.said != nullptr && vpn.said->state == state; });
}

bool leads_to_its_server(const World& world, const Vpn& vpn) {
  return vpn.said != nullptr && vpn.said->device && server_of(world, *vpn.enrolled, *vpn.said->device).has_value();
}

void on_networkmanager(World& world, const NetworkManagerFound& event) {
  auto& manager = world.networkmanager;
  manager.asked = true;
  manager.running = event.running;
  manager.connections = event.connections;
  if (!event.running) {
    manager.gone_device.clear();  // the next one counts its devices anew
  }
}

void renew_announcement(World& world) {
  if ((world.report && !is_networkmanagers(world.report)) || !world.networkmanager.asked) {
    return;  // OpenVPN itself came first; or nobody has been asked since a restart
  }
  auto report = announced(world);
  if (report == world.report) {
    return;
  }
  forget_report(world);
  world.report = std::move(report);  // matched anew, by the interface that is there now
}

void forget_lost_tunnel(World& world) {
  if (is_networkmanagers(world.report)) {
    // NetworkManager may take a moment to notice; until then an interface that comes under this name is another one.
    for (const auto& vpn : enrolled_vpns(world)) {
      if (vpn.said != nullptr && vpn.said->device && vpn.said->device->interface == world.report->interface) {
        world.networkmanager.gone_device = vpn.said->device->path;
      }
    }
  }
  forget_report(world);
}

}  // namespace killswitch::decide
