// What a policy names besides the tunnel: local networks, services, servers, interfaces, a router's links; and the
// guarantees that it gives up for them.
#include "policy_allowances.hpp"

#include "killswitch/codec/names.hpp"

#include <algorithm>
#include <array>

namespace killswitch::codec {
namespace {

using model::Guarantee;
using model::Prefix;

OrderedJson write_prefixes(const std::vector<Prefix>& prefixes) {
  auto json = OrderedJson::array();
  for (const auto& prefix : prefixes) {
    json.push_back(model::to_string(prefix));
  }
  return json;
}

void read_links(const JsonCursor& cursor, std::vector<std::string>& links) {
  for (const auto& item : cursor.items()) {
    auto& link = links.emplace_back();
    item.read(link);
    const bool begins = link.ends_with('*');
    const auto name = std::string_view{link}.substr(0, link.size() - (begins ? 1 : 0));
    const bool whole = is_interface_name(name) || (begins && name.empty());
    if (!whole || name.find('*') != std::string_view::npos) {
      item.mismatch("the name of a link, or its beginning with a final '*'");
    } else if (std::count(links.begin(), links.end(), link) > 1) {
      item.refuse("this link stands here twice");
    }
  }
  if (links.empty()) {
    cursor.mismatch("at least one link");
  }
}

/// Addresses that are on no link, and prefixes so wide that nothing would be left to protect.
bool is_usable(const Prefix& prefix) {
  static constexpr std::array nowhere = {"0.0.0.0/8", "127.0.0.0/8", "::/96", "::ffff:0:0/96"};
  constexpr std::uint8_t widest = 7;  // fc00::/7
  return prefix.length >= widest && std::none_of(nowhere.begin(), nowhere.end(), [&](const char* text) {
           const auto range = model::parse_prefix(text);
           return range && (range->contains(prefix.address) || prefix.contains(range->address));
         });
}

enum class Width : std::uint8_t { limited, any };

void read_prefixes(const JsonCursor& cursor, std::vector<Prefix>& prefixes, Width width) {
  for (const auto& item : cursor.items()) {
    Prefix prefix;
    item.read_parsed(prefix, "a prefix as 192.168.1.0/24, with no bits set behind its length", model::parse_prefix);
    if (width == Width::limited && !is_usable(prefix)) {
      item.mismatch("a prefix of at least 7 bits that is on a link");
    }
    for (const auto& other : prefixes) {
      if (other.contains(prefix.address) || prefix.contains(other.address)) {
        item.refuse("overlaps " + model::to_string(other) + ", which stands here already");
      }
    }
    prefixes.push_back(prefix);
  }
  if (prefixes.empty()) {
    cursor.mismatch("at least one prefix");
  }
}

void read_lan(const JsonCursor& cursor, model::Policy& policy) {
  for (const auto& item : cursor.items()) {
    item.expect_object({"links", "prefixes"});
    auto& lan = policy.lan.emplace_back();
    read_links(item.required("links", "names of links"), lan.links);
    read_prefixes(item.required("prefixes", "prefixes"), lan.prefixes, Width::limited);
  }
}

void read_inbound(const JsonCursor& cursor, model::Policy& policy) {
  for (const auto& item : cursor.items()) {
    item.expect_object({"links", "protocol", "port", "from"});
    auto& service = policy.inbound.emplace_back();
    read_links(item.required("links", "names of links"), service.links);
    read_protocol(item.required("protocol", "\"udp\" or \"tcp\""), service.protocol);
    read_port(item.required("port", "a port"), service.port);
    read_prefixes(item.required("from", "prefixes"), service.from, Width::any);
  }
}

/// As to_string(Endpoint) writes it; nothing is left to be guessed.
Result<model::Endpoint> parse_endpoint(std::string_view text) {
  if (!text.ends_with("/udp") && !text.ends_with("/tcp")) {
    return fail("no protocol");
  }
  const auto remote = model::parse_remote(text);
  if (!remote) {
    return fail(remote.error());
  }
  const auto address = model::parse_ip_address(remote->host);
  if (!address) {
    return fail(address.error());
  }
  return model::Endpoint{*address, remote->port, remote->protocol};
}

void read_endpoints(const JsonCursor& cursor, model::Policy& policy) {
  static constexpr std::array nowhere = {"0.0.0.0/8", "127.0.0.0/8",   "224.0.0.0/3",
                                         "::/96",     "::ffff:0:0/96", "ff00::/8"};
  for (const auto& item : cursor.items()) {
    model::Endpoint endpoint;
    item.read_parsed(endpoint, "address, port and protocol as 192.0.2.9:443/tcp or [2001:db8::9]:443/tcp",
                     parse_endpoint);
    if (std::any_of(nowhere.begin(), nowhere.end(), [&](const char* text) {
          const auto range = model::parse_prefix(text);
          return range && range->contains(endpoint.address);
        })) {
      item.mismatch("the address of one other computer");
    }
    if (std::find(policy.endpoints.begin(), policy.endpoints.end(), endpoint) != policy.endpoints.end()) {
      item.refuse("this server stands here twice");
    }
    policy.endpoints.push_back(endpoint);
  }
}

void read_router(const JsonCursor& cursor, model::Router& router) {
  cursor.expect_object({"lan", "masquerade", "services"});
  const auto lan = cursor.required("lan", "names of links");
  read_links(lan, router.lan);
  if (model::is_named(router.lan, "")) {
    lan.refuse("\"*\" names every link, also the one to the VPN server");
  }
  cursor.optional("masquerade").read(router.masquerade);
  const auto services = cursor.optional("services");
  for (const auto& item : services.present() ? services.items() : std::vector<JsonCursor>{}) {
    bool model::Router::*service = nullptr;
    item.read_choice<bool model::Router::*>(service, {{"dhcp", &model::Router::dhcp}, {"dns", &model::Router::dns}});
    if (service == nullptr) {
      return;
    }
    if (router.*service) {
      item.refuse("this service stands here twice");
    }
    router.*service = true;
  }
}

void read_trusted(const JsonCursor& cursor, model::Policy& policy) {
  for (const auto& item : cursor.items()) {
    auto& name = policy.trusted_interfaces.emplace_back();
    read_interface(item, name);
    if (name.find('*') != std::string::npos) {
      item.mismatch("the whole name of an interface");
    } else if (name == "lo") {
      item.refuse("the loopback interface is never closed");
    } else if (model::is_named(policy.router.lan, name)) {
      item.refuse("this interface is one of /router/lan, which is not trusted");
    } else if (std::count(policy.trusted_interfaces.begin(), policy.trusted_interfaces.end(), name) > 1) {
      item.refuse("this interface stands here twice");
    }
  }
}

/// The place that `pointer` names, for its errors. Pointers of concessions need no escapes.
JsonCursor place(JsonCursor cursor, std::string_view pointer) {
  while (pointer.size() > 1) {
    pointer.remove_prefix(1);
    const auto token = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(token.size());
    if (token.front() >= '0' && token.front() <= '9') {
      cursor = cursor.items().at(static_cast<std::size_t>(std::stoul(std::string{token})));
    } else {
      cursor = cursor.optional(token);
    }
  }
  return cursor;
}

void read_waives(const JsonCursor& cursor, model::Policy& policy) {
  for (const auto& item : cursor.items()) {
    Guarantee guarantee{};
    item.read_choice<Guarantee>(guarantee, {{"G1", Guarantee::fail_closed},
                                            {"G6", Guarantee::one_tunnel},
                                            {"G7", Guarantee::dns},
                                            {"G11", Guarantee::inbound}});
    if (model::waives(policy, guarantee)) {
      item.refuse("this guarantee stands here twice");
    } else if (!model::can_waive(policy, guarantee)) {
      item.refuse("nothing in this policy breaks " + to_string(guarantee) + ": a waiver must be needed");
    }
    policy.waives.push_back(guarantee);
  }
  std::sort(policy.waives.begin(), policy.waives.end());
}

}  // namespace

void write_allowances(OrderedJson& json, const model::Policy& policy) {
  auto& lan = json["lan"] = OrderedJson::array();
  for (const auto& entry : policy.lan) {
    lan.push_back({{"links", entry.links}, {"prefixes", write_prefixes(entry.prefixes)}});
  }
  auto& inbound = json["inbound"] = OrderedJson::array();
  for (const auto& service : policy.inbound) {
    inbound.push_back({{"links", service.links},
                       {"protocol", std::string{to_string(service.protocol)}},
                       {"port", service.port.number},
                       {"from", write_prefixes(service.from)}});
  }
  auto& endpoints = json["endpoints"] = OrderedJson::array();
  for (const auto& endpoint : policy.endpoints) {
    endpoints.push_back(to_string(endpoint));
  }
  if (!policy.router.lan.empty()) {
    auto services = OrderedJson::array();
    if (policy.router.dhcp) {
      services.push_back("dhcp");
    }
    if (policy.router.dns) {
      services.push_back("dns");
    }
    json["router"] = {{"lan", policy.router.lan}, {"masquerade", policy.router.masquerade}, {"services", services}};
  }
  json["trusted_interfaces"] = policy.trusted_interfaces;
  auto& waived = json["waives"] = OrderedJson::array();
  for (const auto guarantee : policy.waives) {
    waived.push_back(to_string(guarantee));
  }
}

void read_allowances(const JsonCursor& cursor, model::Policy& policy) {
  const auto read_if_present = [&](std::string_view key, auto read) {
    if (const auto value = cursor.optional(key); value.present()) {
      read(value, policy);
    }
  };
  read_if_present("lan", read_lan);
  read_if_present("inbound", read_inbound);
  read_if_present("endpoints", read_endpoints);
  if (const auto router = cursor.optional("router"); router.present()) {
    read_router(router, policy.router);
  }
  read_if_present("trusted_interfaces", read_trusted);
  read_if_present("waives", read_waives);
  for (const auto& concession : model::concessions(policy)) {
    if (!model::waives(policy, concession.guarantee)) {
      const auto name = to_string(concession.guarantee);
      place(cursor, concession.pointer)
          .refuse("this gives up " + name + ": " + concession.words + "; if it is meant, \"waives\" must name \"" +
                  name + "\"");
      return;
    }
  }
}

}  // namespace killswitch::codec
