// The part of `step` that deals with NetworkManager's VPN connections: their servers, resolvers and state. Which
// interface is trusted is not NetworkManager's to say: its plugin's OpenVPN is proven as any other (decide/transport).
#include "killswitch/decide/facts.hpp"
#include "step_parts.hpp"

#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

const VpnConnection* said_of(const World& world, const NetworkManagerVpn& enrolled) {
  const auto& connections = world.networkmanager.connections;
  const auto found = std::find_if(connections.begin(), connections.end(),
                                  [&](const VpnConnection& one) { return one.uuid == enrolled.uuid; });
  return found == connections.end() ? nullptr : &*found;
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

void on_networkmanager(World& world, const NetworkManagerFound& event) {
  auto& manager = world.networkmanager;
  manager.asked = true;
  manager.running = event.running;
  manager.connections = event.connections;
}

}  // namespace killswitch::decide
