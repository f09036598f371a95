// Policy ↔ JSON, and the combinations that make no sense.
#include "killswitch/codec/policy_json.hpp"

#include "json_parts.hpp"
#include "policy_allowances.hpp"

#include <algorithm>
#include <array>

namespace killswitch::codec {
namespace {

using model::Policy;
using model::Refusal;

constexpr std::size_t max_name = 64;
constexpr std::uint32_t max_mark = 0xffffffff;

bool is_policy_name(std::string_view name) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= max_name && std::all_of(name.begin(), name.end(), allowed);
}

struct SpecialPrefix {
  std::string_view prefix;
  std::string_view what;
};
/// Addresses that no resolver behind the tunnel has; the first that fits is named.
/// @source IANA special-purpose address registries (RFC 6890)
constexpr std::array<SpecialPrefix, 10> special_prefixes{{{"0.0.0.0/8", "an unspecified address"},
                                                          {"127.0.0.0/8", "a loopback address"},
                                                          {"169.254.0.0/16", "a link-local address"},
                                                          {"224.0.0.0/4", "a multicast address"},
                                                          {"240.0.0.0/4", "a reserved or broadcast address"},
                                                          {"::/128", "an unspecified address"},
                                                          {"::1/128", "a loopback address"},
                                                          {"fe80::/10", "a link-local address"},
                                                          {"ff00::/8", "a multicast address"},
                                                          {"::ffff:0:0/96", "an IPv4 address written as IPv6"}}};

/// Why `address` cannot be that of a resolver behind the tunnel; empty: it can.
std::string_view resolver_objection(const model::IpAddress& address) {
  for (const auto& special : special_prefixes) {
    const auto prefix = model::parse_prefix(special.prefix);
    if (prefix && prefix->contains(address)) {
      return special.what;
    }
  }
  return "";
}

void read_dns(const JsonCursor& dns, Policy& policy) {
  dns.expect_object({"tunnel_resolvers", "any_tunnel_resolver"});
  if (const auto resolvers = dns.optional("tunnel_resolvers"); resolvers.present()) {
    for (const auto& item : resolvers.items()) {
      auto& address = policy.tunnel_resolvers.emplace_back();
      read_address(item, address);
      if (const auto objection = resolver_objection(address); !objection.empty()) {
        item.mismatch("the address of a resolver behind the tunnel, not " + std::string{objection});
      }
    }
  }
  const auto any = dns.optional("any_tunnel_resolver");
  any.read(policy.any_tunnel_resolver);
  if (policy.any_tunnel_resolver && !policy.tunnel_resolvers.empty()) {
    any.refuse("true contradicts \"tunnel_resolvers\": name the resolvers or allow any, not both");
  }
}

}  // namespace

OrderedJson write_policy(const Policy& policy) {
  OrderedJson transport = {{"mark", policy.transport_mark}};
  if (!policy.transport_programs.empty()) {
    transport["programs"] = write_transport_programs(policy.transport_programs);
  }
  OrderedJson json = {{"version", 1},
                      {"name", policy.name},
                      {"description", policy.description},
                      {"transport", std::move(transport)},
                      {"links",
                       {{"dhcp", policy.dhcp},
                        {"neighbour_discovery", policy.neighbour_discovery},
                        {"server_names", policy.server_names}}},
                      {"dns",
                       {{"tunnel_resolvers", write_addresses(policy.tunnel_resolvers)},
                        {"any_tunnel_resolver", policy.any_tunnel_resolver}}},
                      {"internal", {{"host", policy.host_to_internal}, {"tunnel", policy.internal_to_tunnel}}}};
  if (policy.pppoe) {
    json["links"]["pppoe"] = true;
  }
  write_allowances(json, policy);
  json["refusal"] = policy.refusal == Refusal::reject ? "reject" : "drop";
  return json;
}

void read_policy(const JsonCursor& cursor, PolicyName name_rule, Policy& policy) {
  cursor.expect_object({"version", "name", "description", "transport", "links", "dns", "internal", "lan", "inbound",
                        "endpoints", "router", "trusted_interfaces", "waives", "refusal"});
  read_version(cursor);
  const auto name = cursor.required("name", "a name");
  name.read(policy.name);
  if (!is_policy_name(policy.name) && !(policy.name.empty() && name_rule == PolicyName::may_be_empty)) {
    name.mismatch("a name of 1 to 64 letters a-z, digits and '-'");
  }
  cursor.optional("description").read(policy.description);
  if (const auto transport = cursor.optional("transport"); transport.present()) {
    transport.expect_object({"identify", "mark", "programs"});
    if (const auto identify = transport.optional("identify"); identify.present()) {
      // Of version 0.1, where "automatic" also meant users: the mark alone counts now, whichever of the two it is.
      bool ignored = false;
      identify.read_choice<bool>(ignored, {{"automatic", false}, {"mark", true}});
    }
    if (const auto programs = transport.optional("programs"); programs.present()) {
      read_transport_programs(programs, policy.transport_programs);
    }
    transport.optional("mark").read(policy.transport_mark, 1, max_mark);
  }
  if (const auto links = cursor.optional("links"); links.present()) {
    links.expect_object({"dhcp", "neighbour_discovery", "pppoe", "server_names"});
    links.optional("dhcp").read(policy.dhcp);
    links.optional("neighbour_discovery").read(policy.neighbour_discovery);
    links.optional("pppoe").read(policy.pppoe);
    links.optional("server_names").read(policy.server_names);
  }
  if (const auto dns = cursor.optional("dns"); dns.present()) {
    read_dns(dns, policy);
  }
  if (const auto internal = cursor.optional("internal"); internal.present()) {
    internal.expect_object({"host", "tunnel"});
    internal.optional("host").read(policy.host_to_internal);
    internal.optional("tunnel").read(policy.internal_to_tunnel);
  }
  read_allowances(cursor, policy);
  cursor.optional("refusal").read_choice<Refusal>(policy.refusal,
                                                  {{"reject", Refusal::reject}, {"drop", Refusal::drop}});
}

Result<Policy> parse_policy(std::string_view text, const std::string& source_name) {
  return read_json<Policy>(text, source_name, [](const JsonCursor& root, Policy& policy) {
    read_policy(root, PolicyName::required, policy);
  });
}

std::string render_policy(const Policy& policy) {
  return pretty(write_policy(policy));
}

}  // namespace killswitch::codec
