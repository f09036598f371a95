// What a policy names besides the tunnel: servers, services of this host, the local network. None of it looks at the
// state of a connection: addresses, ports and links are exact, and an answer is known by what it is.
#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace killswitch::decide {

using namespace model;

namespace {

constexpr std::uint32_t ether_type_ipv4 = 0x0800;
constexpr std::uint32_t ether_type_ipv6 = 0x86dd;

/// The two families, with what a rule says about each.
struct FamilyWords {
  Family family;
  const char* suffix;
  Field source;
  Field destination;
};
constexpr std::array<FamilyWords, 2> families{
    {{Family::ipv4, "4", Field::ip_saddr, Field::ip_daddr}, {Family::ipv6, "6", Field::ip6_saddr, Field::ip6_daddr}}};

Match of_family(Family family, Layer layer) {
  if (layer == Layer::frames) {
    return equal(Field::ether_type, family == Family::ipv4 ? ether_type_ipv4 : ether_type_ipv6);
  }
  return family == Family::ipv4 ? ipv4() : ipv6();
}

bool has_family(const std::vector<Prefix>& prefixes, Family family) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [family](const Prefix& prefix) { return prefix.address.family == family; });
}

std::string lan_set(std::size_t index, const char* what) {
  return fmt::format("lan{}_{}", index + 1, what);
}

std::string service_set(std::size_t index, const char* what) {
  return fmt::format("service{}_{}", index + 1, what);
}

/// Links that are called so: those on which the rules for links and those on which the rules of a router's LAN hold.
std::vector<IfIndex> links_named(const Context& context, const std::vector<std::string>& patterns) {
  const auto tunnel = context.tunnel ? std::optional{context.tunnel->index} : std::nullopt;
  std::vector<IfIndex> named;
  for (const auto& [index, link] : context.world.links) {
    const auto its_class = class_of(link, context.world, tunnel);
    if ((its_class == LinkClass::link || its_class == LinkClass::lan) && is_named(patterns, link.name)) {
      named.push_back(index);
    }
  }
  return named;
}

std::string service_words(const InboundService& service) {
  return fmt::format("service {}/{}", service.port.number, to_string(service.protocol));
}

/// `make` for each local network and family: from the set of links, the set of prefixes, and the words of the family.
template <typename Make>
Rules for_each_lan(const Context& context, Make make) {
  Rules rules;
  for (std::size_t i = 0; i < context.policy.lan.size(); ++i) {
    for (const auto& words : families) {
      if (has_family(context.policy.lan[i].prefixes, words.family)) {
        rules.push_back(make(lan_set(i, "links"), lan_set(i, "prefixes") + words.suffix, words));
      }
    }
  }
  return rules;
}

template <typename Make>
Rules for_each_service(const Context& context, Make make) {
  Rules rules;
  for (std::size_t i = 0; i < context.policy.inbound.size(); ++i) {
    for (const auto& words : families) {
      if (has_family(context.policy.inbound[i].from, words.family)) {
        rules.push_back(make(context.policy.inbound[i], i, words));
      }
    }
  }
  return rules;
}

}  // namespace

Rules endpoints_out(const Context& context, Layer layer) {
  Rules rules;
  if (context.policy.endpoints.empty()) {
    return rules;
  }
  for (const auto& words : families) {
    rules.push_back(rule({of_family(words.family, layer),
                          in_set({field(words.destination), field(Field::l4proto), field(Field::th_dport)},
                                 std::string{"endpoints"} + words.suffix)},
                         accept(), "G1: server named by the policy"));
  }
  return rules;
}

Rules endpoints_in(const Policy& policy) {
  return policy.endpoints.empty() ? Rules{} : answers_of("endpoints", "a server named by the policy");
}

Rules services_out(const Context& context, Layer layer) {
  return for_each_service(context, [layer](const InboundService& service, std::size_t i, const FamilyWords& words) {
    Matches matches = {in_set({field(Field::oif)}, service_set(i, "links")), of_family(words.family, layer),
                       in_set({field(words.destination)}, service_set(i, "from") + words.suffix),
                       l4proto(protocol_number(service.protocol)), sport(service.port.number)};
    if (service.protocol == Protocol::tcp) {
      matches.push_back(no_connection_request());
    }
    return rule(std::move(matches), accept(), "G1: answer of the " + service_words(service) + ", by policy");
  });
}

Rules services_in(const Context& context) {
  return for_each_service(context, [](const InboundService& service, std::size_t i, const FamilyWords& words) {
    return rule({in_set({field(Field::iif)}, service_set(i, "links")), of_family(words.family, Layer::packets),
                 in_set({field(words.source)}, service_set(i, "from") + words.suffix),
                 l4proto(protocol_number(service.protocol)), dport(service.port.number)},
                accept(), "G11: for the " + service_words(service) + ", by policy");
  });
}

Rules lan_guards(const Context& context, Layer layer) {
  if (context.policy.lan.empty()) {
    return {};
  }
  const std::vector<Operand> service = {field(Field::l4proto), field(Field::th_dport)};
  const bool packets = layer == Layer::packets;
  Rules rules;
  for (const auto& words : families) {
    rules.push_back(counted({of_family(words.family, layer),
                             in_set({field(words.destination), field(Field::l4proto), field(Field::th_dport)},
                                    std::string{"transport"} + words.suffix)},
                            packets ? "impostor" : "raw", drop(), "G1: to the VPN server, but not from OpenVPN"));
  }
  rules.push_back(counted({in_set(service, "name_ports")}, packets ? "dns" : "raw", drop(),
                          "G7: DNS, DoT, mDNS, LLMNR or NetBIOS on a link"));
  return rules;
}

Rules lan_out(const Context& context, Layer layer) {
  return for_each_lan(context, [layer](std::string links, std::string prefixes, const FamilyWords& words) {
    return rule({in_set({field(Field::oif)}, std::move(links)), of_family(words.family, layer),
                 in_set({field(words.destination)}, std::move(prefixes))},
                accept(), "G1: local network named by the policy");
  });
}

Rules lan_fragments_out(const Context& context) {
  return for_each_lan(context, [](std::string links, std::string prefixes, const FamilyWords& words) {
    Matches matches = {in_set({field(Field::oif)}, std::move(links)), of_family(words.family, Layer::frames),
                       in_set({field(words.destination)}, std::move(prefixes))};
    return rule(both(std::move(matches), behind_first_fragment(words.family)), accept(),
                "G1: fragment for a local network named by the policy");
  });
}

Rules lan_in(const Context& context) {
  return for_each_lan(context, [](std::string links, std::string prefixes, const FamilyWords& words) {
    return rule({in_set({field(Field::iif)}, std::move(links)), of_family(words.family, Layer::packets),
                 in_set({field(words.source)}, std::move(prefixes))},
                go_to("lan_answers"), "G11: from a local network named by the policy");
  });
}

std::vector<Chain> lan_chains(const Context& context) {
  if (context.policy.lan.empty()) {
    return {};
  }
  // @source net.ipv4.ip_local_port_range: 32768 to 60999, where programs ask from
  constexpr std::uint32_t ephemeral = 0x8000;
  auto asked_from = equal(Field::th_dport, ephemeral);
  asked_from.mask = ephemeral;
  Rules rules = {
      rule({l4proto(ip_protocol::tcp), no_connection_request()}, accept(), "G11: answer from the local network, TCP"),
      rule({l4proto(ip_protocol::udp), asked_from}, accept(), "G11: answer from the local network, UDP"),
  };
  append(rules, echo_replies("G11: answer from the local network"));
  append(rules, icmp_errors("G11: answer from the local network"));
  rules.push_back(counted({}, "inbound", drop(), "G11: nothing but answers comes in from the local network"));
  return {chain("lan_answers", std::move(rules))};
}

std::vector<Set> allowance_sets(const Context& context) {
  std::vector<Set> sets;
  const auto& policy = context.policy;
  for (std::size_t i = 0; i < policy.lan.size(); ++i) {
    sets.push_back(interface_set(lan_set(i, "links"), links_named(context, policy.lan[i].links)));
    sets.push_back(prefix_set(lan_set(i, "prefixes4"), Family::ipv4, policy.lan[i].prefixes));
    sets.push_back(prefix_set(lan_set(i, "prefixes6"), Family::ipv6, policy.lan[i].prefixes));
  }
  for (std::size_t i = 0; i < policy.inbound.size(); ++i) {
    sets.push_back(interface_set(service_set(i, "links"), links_named(context, policy.inbound[i].links)));
    sets.push_back(prefix_set(service_set(i, "from4"), Family::ipv4, policy.inbound[i].from));
    sets.push_back(prefix_set(service_set(i, "from6"), Family::ipv6, policy.inbound[i].from));
  }
  if (!policy.endpoints.empty()) {
    sets.push_back(endpoint_set("endpoints4", Family::ipv4, policy.endpoints));
    sets.push_back(endpoint_set("endpoints6", Family::ipv6, policy.endpoints));
    // Looked up with raw payload alone: nft(8) wants a set of its own for that.
    sets.push_back(endpoint_set("quoted_endpoints4", Family::ipv4, policy.endpoints));
    sets.push_back(endpoint_set("quoted_endpoints6", Family::ipv6, policy.endpoints));
  }
  return sets;
}

}  // namespace killswitch::decide
