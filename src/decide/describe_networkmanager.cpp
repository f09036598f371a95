// What `status` says of NetworkManager's VPN connections: why they carry no tunnel, and what changed since `enable`.
#include "describe_parts.hpp"
#include "killswitch/base/text.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>

namespace killswitch::decide {
namespace {

using namespace model;

std::string servers(const std::vector<Remote>& remotes) {
  std::vector<std::string> words;
  words.reserve(remotes.size());
  for (const auto& remote : remotes) {
    words.push_back(to_string(remote));
  }
  return join(words, ", ");
}

std::string why_no_tunnel(const World& world, const Vpn& vpn) {
  if (!world.networkmanager.asked) {
    return "NetworkManager has not been asked yet";
  }
  if (!world.networkmanager.running) {
    return "NetworkManager is not running, or does not answer";
  }
  if (vpn.said == nullptr) {
    return "NetworkManager does not know it any more";
  }
  switch (vpn.said->state) {
    case VpnState::inactive: return "not active";
    case VpnState::connecting: return "connecting";
    case VpnState::activated: break;
  }
  if (!vpn.said->device) {
    return "active, but NetworkManager shows no interface of it";
  }
  return fmt::format("active, but no proven OpenVPN is seen to hold {} and to send to a pinned server",
                     vpn.said->device->interface);
}

}  // namespace

std::string in_shell(std::string_view name) {
  constexpr std::string_view plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@";
  if (!name.empty() && name.front() != '-' && name.find_first_not_of(plain) == std::string_view::npos) {
    return std::string{name};
  }
  std::string quoted = "'";
  for (const char c : name) {
    quoted += c == '\'' ? std::string{"'\\''"} : std::string{c};
  }
  return quoted + "'";
}

void explain_networkmanager(const World& world, std::vector<std::string>& reasons) {
  for (const auto& vpn : enrolled_vpns(world)) {
    reasons.push_back(fmt::format("NetworkManager's VPN {}: {}", vpn.enrolled->name, why_no_tunnel(world, vpn)));
  }
}

void warn_of_networkmanager(const World& world, std::vector<std::string>& warnings) {
  for (const auto& [enrolled, said] : enrolled_vpns(world)) {
    if (said == nullptr || (said->unusable.empty() && said->remotes == enrolled->remotes)) {
      continue;
    }
    const auto now = said->unusable.empty() ? "its servers are now " + servers(said->remotes) : said->unusable;
    warnings.push_back(fmt::format(
        "NetworkManager's VPN {} was changed: {}. What may be reached is still {}; `killswitch enable --networkmanager "
        "{}` takes the change over",
        enrolled->name, now, servers(enrolled->remotes), in_shell(enrolled->name)));
  }
}

}  // namespace killswitch::decide
