// What `status` says of the holes in the lock: everything that the ruleset of a world lets leave outside the tunnel.
#include "describe_parts.hpp"
#include "killswitch/base/text.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>

namespace killswitch::decide {
namespace {

using namespace model;
using Lines = std::vector<std::string>;

std::string link_control(const Policy& policy) {
  Lines parts;
  if (policy.dhcp) {
    parts.emplace_back("DHCP");
  }
  if (policy.neighbour_discovery) {
    parts.emplace_back("NDP");
  }
  parts.emplace_back("ARP");
  parts.emplace_back("802.1X");
  if (policy.pppoe) {
    parts.emplace_back("PPPoE");
  }
  return fmt::format("link control traffic ({})", join(parts, ", "));
}

std::string counted(std::size_t number, std::string_view noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

/// What the policy lets pass on top.
void describe_allowances(const Policy& policy, Lines& lines) {
  for (const auto& lan : policy.lan) {
    Lines prefixes;
    for (const auto& prefix : lan.prefixes) {
      prefixes.push_back(to_string(prefix));
    }
    lines.push_back(fmt::format("{} on {}", join(prefixes, ", "), join(lan.links, ", ")));
  }
  if (!policy.inbound.empty()) {
    lines.push_back("answers of " + counted(policy.inbound.size(), "service") + " that the policy names");
  }
  if (!policy.endpoints.empty()) {
    lines.push_back("any program to " + counted(policy.endpoints.size(), "server") + " that the policy names");
  }
  if (!policy.trusted_interfaces.empty() && waives(policy, Guarantee::one_tunnel)) {
    lines.push_back("everything on " + join(policy.trusted_interfaces, ", ") + ", which the policy trusts");
  }
}

}  // namespace

std::vector<std::string> describe_open(const World& world) {
  Lines lines;
  if (!world.enabled) {
    return lines;
  }
  if (!world.violations.empty()) {
    lines.push_back(link_control(Policy{}));  // the strictest ruleset stands instead
    return lines;
  }
  const auto& policy = world.settings.policy;
  lines.push_back(link_control(policy));
  if (const auto endpoints = transport_endpoints(world); !endpoints.empty()) {
    lines.push_back(fmt::format("OpenVPN (marked sockets) to {} server {}", endpoints.size(),
                                endpoints.size() == 1 ? "address" : "addresses"));
  }
  for (const auto& name : names_in_question(world)) {
    lines.push_back("DNS queries for " + name);
  }
  describe_allowances(policy, lines);
  return lines;
}

}  // namespace killswitch::decide
