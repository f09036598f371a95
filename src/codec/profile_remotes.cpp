// From the lines of a profile to the servers that OpenVPN will try: defaults, <connection> blocks and proxies.
// @source OpenVPN 2.6, options_postprocess_mutate() and options_postprocess_verify_ce() in src/openvpn/options.c
#include "killswitch/base/text.hpp"
#include "profile_directives.hpp"

#include <fmt/format.h>
#include <utility>

namespace killswitch::codec::profile {
namespace {

using model::Family;
using model::Protocol;
using model::Remote;

std::vector<Connection> connections_of(Draft& draft) {
  if (!draft.connections.empty()) {
    for (const auto& line : draft.remotes) {
      draft.warn(line.place, "remote: not used, as in OpenVPN, because there are <connection> blocks");
    }
    return std::move(draft.connections);
  }
  std::vector<Connection> connections;
  for (const auto& line : draft.remotes) {
    Connection connection = draft.global;  // as it stands at the end of the profile
    apply_remote(connection, line);
    connections.push_back(std::move(connection));
  }
  return connections;
}

/// The destination that a link sees.
Result<Remote> destination_of(Draft& draft, const Connection& connection) {
  const auto& [host, port, protocol, family, http, socks, place] = connection;
  if (http && socks) {
    return fail(at(http->place) + "http-proxy: cannot be used together with socks-proxy");
  }
  if (http) {
    if (protocol != Protocol::tcp) {
      return fail(fmt::format("{}http-proxy: carries TCP only, and the server '{}' is reached over UDP (proto tcp)",
                              at(http->place), host));
    }
    return Remote{http->host, http->port, Protocol::tcp, family};
  }
  if (socks && protocol == Protocol::udp) {
    draft.warn(socks->place,
               "socks-proxy: OpenVPN over UDP talks to a relay address that the proxy names only later; it stays "
               "blocked (proto tcp works)");
    return Remote{socks->host, socks->port, Protocol::tcp, Family::ipv4};  // OpenVPN does UDP over SOCKS in IPv4 only
  }
  if (socks) {
    return Remote{socks->host, socks->port, Protocol::tcp, family};
  }
  return Remote{host, port, protocol, family};
}

}  // namespace

void apply_remote(Connection& connection, const RemoteLine& line) {
  connection.host = line.host;
  connection.place = line.place;
  connection.port = line.port.value_or(connection.port);
  connection.protocol = line.protocol.value_or(connection.protocol);
  if (line.family) {  // "udp" after a global "proto udp6" stays with IPv6, as in connection_entry_load_re()
    connection.family = line.family;
  }
}

Result<model::Profile> finish(Draft draft, const std::string& path) {
  for (const auto& connection : connections_of(draft)) {
    if (draft.forced_protocol && *draft.forced_protocol != connection.protocol) {
      continue;  // OpenVPN passes it over
    }
    auto destination = destination_of(draft, connection);
    if (!destination) {
      return fail(destination.error());
    }
    draft.profile.via_proxy = draft.profile.via_proxy || connection.http_proxy || connection.socks_proxy;
    draft.profile.remotes.push_back(*std::move(destination));
  }
  if (draft.profile.remotes.empty()) {
    return fail(fmt::format("{}: no usable remote: add a line such as 'remote vpn.example.org 1194 udp'", path));
  }
  return std::move(draft.profile);
}

}  // namespace killswitch::codec::profile
