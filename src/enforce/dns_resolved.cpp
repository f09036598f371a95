// systemd-resolved: every name belongs to the tunnel's link, and no other link has anything to ask with. A link that
// keeps a search domain would be asked for what ends in it, and a hostile lease may claim "com".
// @source org.freedesktop.resolve1(5)
#include "dns_backends.hpp"

namespace killswitch::enforce {
namespace {

using namespace os;

constexpr std::int32_t ipv4_family = 2;   // AF_INET
constexpr std::int32_t ipv6_family = 10;  // AF_INET6

BusCall manager_call(const char* member, model::IfIndex link) {
  return {.destination = "org.freedesktop.resolve1",
          .path = "/org/freedesktop/resolve1",
          .interface = "org.freedesktop.resolve1.Manager",
          .member = member,
          .arguments = {bus_int32(static_cast<std::int32_t>(link.number))},
          .timeout = dns_timeout};
}

BusCall set_servers(model::IfIndex link, const std::vector<model::IpAddress>& servers) {
  BusValues list;
  for (const auto& server : servers) {
    BusValues bytes;
    for (const auto octet : server.octets()) {
      bytes.push_back(bus_byte(octet));
    }
    list.push_back(bus_struct({bus_int32(server.family == model::Family::ipv4 ? ipv4_family : ipv6_family),
                               bus_array("y", std::move(bytes))}));
  }
  auto call = manager_call("SetLinkDNS", link);
  call.arguments.push_back(bus_array("(iay)", std::move(list)));
  return call;
}

BusCall set_domains(model::IfIndex link, const std::vector<std::pair<std::string, bool>>& domains) {
  BusValues list;
  for (const auto& [name, routing] : domains) {
    list.push_back(bus_struct({bus_string(name), bus_boolean(routing)}));
  }
  auto call = manager_call("SetLinkDomains", link);
  call.arguments.push_back(bus_array("(sb)", std::move(list)));
  return call;
}

}  // namespace

std::vector<BusCall> resolved_calls(const model::DnsSetup& setup, const std::vector<model::ResolvedLink>& others) {
  std::vector<std::pair<std::string, bool>> domains = {{".", true}};
  for (const auto& name : setup.search_domains) {
    domains.emplace_back(name, false);
  }
  auto default_route = manager_call("SetLinkDefaultRoute", setup.tunnel);
  default_route.arguments.push_back(bus_boolean(true));
  std::vector<BusCall> calls = {set_servers(setup.tunnel, setup.servers), set_domains(setup.tunnel, domains),
                                std::move(default_route)};
  for (const auto& link : others) {
    if (!link.domains.empty()) {
      calls.push_back(set_domains(link.index, {}));
    }
    if (!link.servers.empty()) {
      calls.push_back(set_servers(link.index, {}));
    }
  }
  return calls;
}

std::vector<BusCall> resolved_restore_calls(const model::DnsJournal& journal) {
  std::vector<BusCall> calls = {manager_call("RevertLink", journal.setup.tunnel)};
  for (const auto& link : journal.resolved) {
    calls.push_back(set_servers(link.index, link.servers));
    calls.push_back(set_domains(link.index, link.domains));
  }
  return calls;
}

}  // namespace killswitch::enforce
