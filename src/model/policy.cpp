// What a policy names and what it gives up.
#include "killswitch/model/policy.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace killswitch::model {
namespace {

void concede(std::vector<Concession>& found, Guarantee guarantee, std::string pointer, std::string words) {
  found.push_back({guarantee, std::move(pointer), std::move(words)});
}

void concede_inbound(std::vector<Concession>& found, std::size_t index, const InboundService& service) {
  if (is_name_port(service.port)) {
    concede(found, Guarantee::dns, fmt::format("/inbound/{}/port", index),
            fmt::format("answers of a name service (port {}) leave a link", service.port.number));
  }
  for (std::size_t i = 0; i < service.from.size(); ++i) {
    if (!is_private(service.from[i])) {
      concede(found, Guarantee::inbound, fmt::format("/inbound/{}/from/{}", index, i),
              fmt::format("{}, a public prefix, reaches port {}/{} of this host outside the tunnel",
                          to_string(service.from[i]), service.port.number, to_string(service.protocol)));
    }
  }
}

}  // namespace

std::string to_string(Guarantee guarantee) {
  return fmt::format("G{}", static_cast<unsigned>(guarantee));
}

bool is_named(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(), [name](std::string_view pattern) {
    return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
  });
}

bool is_private(const Prefix& prefix) {
  static constexpr std::array ranges = {"10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16",
                                        "169.254.0.0/16", "fc00::/7",      "fe80::/10"};
  return std::any_of(ranges.begin(), ranges.end(), [&](const char* text) {
    const auto range = parse_prefix(text);
    return range && prefix.length >= range->length && range->contains(prefix.address);
  });
}

bool is_name_port(Port port) {
  static constexpr std::array<std::uint16_t, 7> ports = {53, 137, 138, 139, 853, 5353, 5355};
  return std::find(ports.begin(), ports.end(), port.number) != ports.end();
}

std::vector<Concession> concessions(const Policy& policy) {
  std::vector<Concession> found;
  if (policy.any_tunnel_resolver) {
    concede(found, Guarantee::dns, "/dns/any_tunnel_resolver", "programs may ask any resolver in the tunnel");
  }
  for (std::size_t i = 0; i < policy.lan.size(); ++i) {
    for (std::size_t k = 0; k < policy.lan[i].prefixes.size(); ++k) {
      if (const auto& prefix = policy.lan[i].prefixes[k]; !is_private(prefix)) {
        concede(found, Guarantee::fail_closed, fmt::format("/lan/{}/prefixes/{}", i, k),
                fmt::format("{} is a public prefix: a network that claims it receives what is sent there in the clear",
                            to_string(prefix)));
      }
    }
  }
  for (std::size_t i = 0; i < policy.inbound.size(); ++i) {
    concede_inbound(found, i, policy.inbound[i]);
  }
  for (std::size_t i = 0; i < policy.endpoints.size(); ++i) {
    if (is_name_port(policy.endpoints[i].port)) {
      concede(found, Guarantee::dns, fmt::format("/endpoints/{}", i),
              fmt::format("questions for names leave a link to {}", to_string(policy.endpoints[i])));
    }
  }
  for (std::size_t i = 0; i < policy.trusted_interfaces.size(); ++i) {
    concede(found, Guarantee::one_tunnel, fmt::format("/trusted_interfaces/{}", i),
            fmt::format("everything may use the interface {}, which is known by its name alone",
                        policy.trusted_interfaces[i]));
  }
  return found;
}

bool waives(const Policy& policy, Guarantee guarantee) {
  return std::find(policy.waives.begin(), policy.waives.end(), guarantee) != policy.waives.end();
}

bool can_waive(const Policy& policy, Guarantee guarantee) {
  const auto given_up = concessions(policy);
  return std::any_of(given_up.begin(), given_up.end(),
                     [guarantee](const Concession& one) { return one.guarantee == guarantee; }) ||
         (guarantee == Guarantee::fail_closed && !policy.trusted_interfaces.empty());
}

}  // namespace killswitch::model
