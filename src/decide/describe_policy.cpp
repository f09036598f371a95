// What the policy gives up, in words; and names in it that do nothing here.
#include "describe_parts.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

void warn_of_interfaces(const World& world, std::vector<std::string>& warnings) {
  const auto& policy = world.settings.policy;
  const auto tunnel = world.trusted ? std::optional{world.trusted->index} : std::nullopt;
  for (const auto& [index, link] : world.links) {
    const auto& names = policy.trusted_interfaces;
    if (std::find(names.begin(), names.end(), link.name) == names.end()) {
      continue;
    }
    const auto its_class = class_of(link, world, tunnel);
    if (its_class == LinkClass::link || its_class == LinkClass::lan) {
      warnings.push_back(fmt::format(
          "the policy {} trusts {}, but that is a link: it stays closed as long as the policy does not waive G1",
          policy.name, link.name));
    } else if (its_class == LinkClass::trusted && link.kind.empty()) {
      warnings.push_back(fmt::format("the policy {} gives up G1: {} is a link, and everything may leave by it",
                                     policy.name, link.name));
    }
  }
}

void warn_of_lan(const World& world, std::vector<std::string>& warnings) {
  const auto& lan = world.settings.policy.router.lan;
  const bool there = std::any_of(world.links.begin(), world.links.end(),
                                 [&](const auto& entry) { return is_named(lan, entry.second.name); });
  if (!lan.empty() && world.links_known && !there) {
    warnings.push_back(fmt::format("there is no interface called {}, where the policy {} says that the LAN is",
                                   fmt::join(lan, " or "), world.settings.policy.name));
  }
}

}  // namespace

std::vector<std::string> policy_warnings(const World& world) {
  const auto& policy = world.settings.policy;
  std::vector<std::string> warnings;
  for (const auto& concession : concessions(policy)) {
    warnings.push_back(
        fmt::format("the policy {} gives up {}: {}", policy.name, to_string(concession.guarantee), concession.words));
  }
  warn_of_interfaces(world, warnings);
  warn_of_lan(world, warnings);
  return warnings;
}

}  // namespace killswitch::decide
