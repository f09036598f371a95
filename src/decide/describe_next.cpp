// What to do now: commands, each with what it is for. Nobody who is locked out should have to look one up.
#include "describe_parts.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"

#include <fmt/format.h>

namespace killswitch::decide {
namespace {

using namespace model;
using Lines = std::vector<std::string>;

void add(Lines& lines, std::string_view command, std::string_view purpose) {
  lines.push_back(fmt::format("{:<37}  {}", command, purpose));
}

void while_switched_off(const World& world, Lines& lines) {
  const auto& state = world.switched_off->state;
  if (!state || state->enabled) {
    add(lines, "reboot", "without killswitch=off: the machine is locked again");
    add(lines, "killswitch disable", "leaves the machine open after the next boot as well");
  } else {
    add(lines, "reboot", "without killswitch=off: the kill switch can be enabled again");
  }
}

void while_disabled(const World& world, Lines& lines) {
  if (world.observation && world.observation->present) {
    add(lines, "killswitch disable --offline", "takes the tables out that the kernel still holds");
  }
  add(lines, "killswitch enable --config FILE.ovpn", "locks this machine to the VPN");
  add(lines, "killswitch enable ... --try 60s", "the same, open again after a minute unless you confirm");
}

/// Why the kernel was not seen to hold what was computed.
void about_the_kernel(const World& world, Lines& lines) {
  if (is_verified(world) && world.violations.empty()) {
    return;
  }
  add(lines, "journalctl -b -u killswitchd", "what the kernel refused, and since when; it is tried again");
  add(lines, "killswitch rules", "what the kernel holds, and where it differs");
}

void about_the_vpn(const World& world, Lines& lines) {
  if (world.settings.policy.name.empty()) {
    add(lines, "killswitch enable --config FILE.ovpn", "gives it settings again; it stays locked meanwhile");
    return;
  }
  if (transport_endpoints(world).empty()) {
    add(lines, "killswitch enable --config FILE.ovpn", "names a server (--server HOST:PORT/udp does as well)");
  }
  if (world.trusted) {
    return;
  }
  for (const auto& vpn : world.settings.networkmanager) {
    add(lines, "nmcli connection up " + in_shell(vpn.name), "connects NetworkManager's VPN under the lock");
  }
  if (world.peers.empty()) {
    if (!world.settings.networkmanager.empty()) {
      return;
    }
    add(lines, "killswitch connect FILE.ovpn", "starts OpenVPN, guided; openvpn --config FILE.ovpn does as well");
    return;
  }
  add(lines, "killswitch status --watch", "follows OpenVPN, which is at work");
  if (!world.openvpn_error.empty()) {
    add(lines, "journalctl -b -t openvpn", "what OpenVPN complained about (or where its log goes)");
  }
}

void while_enabled(const World& world, const Status& status, Lines& lines) {
  if (world.trial) {
    add(lines, "killswitch confirm", "ends the trial: the lock stays");
  }
  about_the_kernel(world, lines);
  about_the_vpn(world, lines);
  if (status.state == State::protected_) {
    add(lines, "killswitch test", "tries every way out, and proves it");
  }
  add(lines, "killswitch disable", "opens this machine");
  if (status.state == State::blocked) {
    add(lines, "killswitch disable --offline", "opens it also with the daemon dead and D-Bus absent");
  }
}

}  // namespace

std::vector<std::string> next_steps(const World& world, const Status& status) {
  Lines lines;
  if (world.switched_off) {
    while_switched_off(world, lines);
  } else if (!world.enabled) {
    while_disabled(world, lines);
  } else {
    while_enabled(world, status, lines);
  }
  return lines;
}

}  // namespace killswitch::decide
