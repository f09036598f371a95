// What each directive means that matters to a kill switch. The table at the end lists them; OpenVPN's other options
// do not change what leaves the machine on a link.
#include "profile_directives.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/names.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <utility>

namespace killswitch::codec::profile {
namespace {

using model::Family;
using model::Protocol;

constexpr std::size_t any_number = 16;          // more words than a line can have
constexpr std::uint32_t max_mark = 0x7fffffff;  // OpenVPN reads it with atoi()
constexpr std::size_t max_unix_path = 107;      // sun_path of sockaddr_un without its final zero
constexpr model::Port default_socks_port{1080};

Failure refuse(const Directive& directive, std::string_view text) {
  return fail(fmt::format("{}{}: {}", at(directive.place), directive.name, text));
}

struct Transport {
  Protocol protocol{Protocol::udp};
  std::optional<Family> family;
};

/// @source OpenVPN 2.6, proto_names in src/openvpn/socket.c
std::optional<Transport> parse_transport(std::string_view text) {
  struct Row {
    std::string_view name;
    Transport transport;
  };
  static constexpr std::array<Row, 9> rows{{{"udp", {Protocol::udp, {}}},
                                            {"udp4", {Protocol::udp, Family::ipv4}},
                                            {"udp6", {Protocol::udp, Family::ipv6}},
                                            {"tcp", {Protocol::tcp, {}}},
                                            {"tcp-client", {Protocol::tcp, {}}},
                                            {"tcp4", {Protocol::tcp, Family::ipv4}},
                                            {"tcp4-client", {Protocol::tcp, Family::ipv4}},
                                            {"tcp6", {Protocol::tcp, Family::ipv6}},
                                            {"tcp6-client", {Protocol::tcp, Family::ipv6}}}};
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name == text; });
  return row == rows.end() ? std::nullopt : std::optional{row->transport};
}

Result<Transport> transport_of(const Directive& directive, const std::string& text) {
  if (const auto transport = parse_transport(text)) {
    return *transport;
  }
  if (text == "tcp-server" || text == "tcp4-server" || text == "tcp6-server") {
    return refuse(directive, fmt::format("'{}' waits for connections; a client needs 'tcp-client'", text));
  }
  return refuse(directive, fmt::format("'{}' is not a protocol (udp, udp4, udp6, tcp, tcp4, tcp6, tcp-client, "
                                       "tcp4-client, tcp6-client)",
                                       printable(text)));
}

Result<model::Port> port_of(const Directive& directive, const std::string& text) {
  auto port = model::parse_port(text);
  if (!port) {
    return refuse(directive, port.error().context);
  }
  return port;
}

Outcome check_host(const Directive& directive, const std::string& text) {
  if (is_host(text)) {
    return done();
  }
  return refuse(directive, fmt::format("'{}' is not a host name or a numeric address", printable(text)));
}

Outcome set_remote(Draft& draft, Connection&, const Directive& directive) {
  const auto& parameters = directive.parameters;
  if (auto outcome = check_host(directive, parameters[0]); !outcome) {
    return outcome;
  }
  RemoteLine line{parameters[0], {}, {}, {}, directive.place};
  if (parameters.size() > 1) {
    const auto port = port_of(directive, parameters[1]);
    if (!port) {
      return fail(port.error());
    }
    line.port = *port;
  }
  if (parameters.size() > 2) {
    const auto transport = transport_of(directive, parameters[2]);
    if (!transport) {
      return fail(transport.error());
    }
    line.protocol = transport->protocol;
    line.family = transport->family;
  }
  draft.remotes.push_back(std::move(line));
  return done();
}

Outcome set_port(Draft&, Connection& connection, const Directive& directive) {
  const auto port = port_of(directive, directive.parameters[0]);
  if (!port) {
    return fail(port.error());
  }
  connection.port = *port;
  return done();
}

Outcome set_proto(Draft&, Connection& connection, const Directive& directive) {
  const auto transport = transport_of(directive, directive.parameters[0]);
  if (!transport) {
    return fail(transport.error());
  }
  connection.protocol = transport->protocol;
  connection.family = transport->family;
  return done();
}

Outcome set_proto_force(Draft& draft, Connection&, const Directive& directive) {
  const auto transport = transport_of(directive, directive.parameters[0]);
  if (!transport) {
    return fail(transport.error());
  }
  draft.forced_protocol = transport->protocol;
  return done();
}

Result<Proxy> proxy_of(const Directive& directive, model::Port default_port) {
  if (auto outcome = check_host(directive, directive.parameters[0]); !outcome) {
    return fail(outcome.error());
  }
  Proxy proxy{directive.parameters[0], default_port, directive.place};
  if (directive.parameters.size() > 1) {
    const auto port = port_of(directive, directive.parameters[1]);
    if (!port) {
      return fail(port.error());
    }
    proxy.port = *port;
  }
  return proxy;
}

Outcome set_http_proxy(Draft&, Connection& connection, const Directive& directive) {
  auto proxy = proxy_of(directive, {});
  if (!proxy) {
    return fail(proxy.error());
  }
  connection.http_proxy = *std::move(proxy);
  return done();
}

Outcome set_socks_proxy(Draft&, Connection& connection, const Directive& directive) {
  auto proxy = proxy_of(directive, default_socks_port);
  if (!proxy) {
    return fail(proxy.error());
  }
  connection.socks_proxy = *std::move(proxy);
  return done();
}

Outcome set_dev(Draft& draft, Connection&, const Directive& directive) {
  if (!is_interface_name(directive.parameters[0])) {
    return refuse(directive, fmt::format("'{}' is not an interface name (1 to 15 printable bytes without '/')",
                                         printable(directive.parameters[0])));
  }
  draft.profile.device = directive.parameters[0];
  return done();
}

Outcome set_dev_type(Draft& draft, Connection&, const Directive& directive) {
  const auto& type = directive.parameters[0];
  if (type != "tun" && type != "tap" && type != "null") {
    return refuse(directive, fmt::format("'{}' is not a device type (tun, tap)", printable(type)));
  }
  draft.profile.device_type = type;
  return done();
}

Outcome set_user(Draft& draft, Connection&, const Directive& directive) {
  if (directive.parameters[0].empty()) {
    return refuse(directive, "the name is empty");
  }
  draft.profile.user = directive.parameters[0];
  return done();
}

Outcome set_mark(Draft& draft, Connection&, const Directive& directive) {
  const auto mark = parse_number(directive.parameters[0], max_mark);
  if (!mark || *mark == 0) {
    return refuse(directive, fmt::format("'{}' is not a decimal number from 1 to {} (OpenVPN reads no other form)",
                                         printable(directive.parameters[0]), max_mark));
  }
  draft.profile.mark = *mark;
  return done();
}

Outcome set_management(Draft& draft, Connection&, const Directive& directive) {
  const auto& parameters = directive.parameters;
  model::ManagementAddress management;
  management.password_file = parameters.size() > 2 ? parameters[2] : "";
  if (parameters[1] == "unix") {
    if (parameters[0].empty() || parameters[0].size() > max_unix_path) {
      return refuse(directive, fmt::format("the path of a unix socket has 1 to {} bytes", max_unix_path));
    }
    management.where = model::UnixSocketPath{parameters[0]};
  } else {
    const auto port = port_of(directive, parameters[1]);
    if (!port) {
      return fail(port.error());
    }
    const auto address = model::parse_ip_address(parameters[0] == "localhost" ? "127.0.0.1" : parameters[0]);
    if (!address) {
      draft.warn(directive.place, fmt::format("management: '{}' is not a numeric address; the channel is not used",
                                              printable(parameters[0])));
      return done();
    }
    management.where = model::TcpAddress{*address, *port};
  }
  if (management.password_file == "stdin") {
    draft.warn(directive.place, "management: its password is typed at OpenVPN's terminal; the channel is not used");
    return done();
  }
  draft.profile.management = std::move(management);
  return done();
}

template <bool model::Profile::*flag>
Outcome set_flag(Draft& draft, Connection&, const Directive&) {
  draft.profile.*flag = true;
  return done();
}

Outcome set_random_hostname(Draft& draft, Connection&, const Directive& directive) {
  draft.profile.remote_random_hostname = true;
  draft.warn(directive.place,
             "remote-random-hostname: the name that OpenVPN asks for cannot be known beforehand; works only through "
             "the management socket (`killswitch connect`)");
  return done();
}

Outcome set_redirect(Draft& draft, Connection&, const Directive& directive) {
  static constexpr std::array<std::string_view, 8> flags{"autolocal", "block-local", "bypass-dhcp", "bypass-dns",
                                                         "def1",      "local",       "ipv6",        "!ipv4"};
  bool ipv4 = true;
  bool ipv6 = false;
  for (const auto& flag : directive.parameters) {
    if (std::find(flags.begin(), flags.end(), flag) == flags.end()) {
      return refuse(directive, fmt::format("unknown flag '{}'", printable(flag)));
    }
    ipv4 = ipv4 && flag != "!ipv4";
    ipv6 = ipv6 || flag == "ipv6";
  }
  draft.profile.redirects_ipv4 = ipv4;
  draft.profile.redirects_ipv6 = draft.profile.redirects_ipv6 || ipv6;
  return done();
}

Outcome refuse_server(Draft&, Connection&, const Directive& directive) {
  return refuse(directive, "this configures an OpenVPN server; killswitch wants the profile of a client");
}

Outcome check_mode(Draft& draft, Connection& connection, const Directive& directive) {
  if (directive.parameters[0] == "p2p") {
    return done();
  }
  if (directive.parameters[0] == "server") {
    return refuse_server(draft, connection, directive);
  }
  return refuse(directive, fmt::format("'{}' is not a mode (p2p)", printable(directive.parameters[0])));
}

Outcome allow_unknown(Draft& draft, Connection&, const Directive& directive) {
  draft.may_be_unknown.insert(draft.may_be_unknown.end(), directive.parameters.begin(), directive.parameters.end());
  return done();
}

using model::Profile;
constexpr std::array<Known, 26> directives{{
    {"config", "FILE", 1, 1, Scope::profile, nullptr},  // the parser itself opens files
    {"dev", "NAME", 1, 1, Scope::profile, set_dev},
    {"dev-type", "tun|tap", 1, 1, Scope::profile, set_dev_type},
    {"http-proxy", "HOST PORT [AUTHFILE] [METHOD]", 2, 4, Scope::anywhere, set_http_proxy},
    {"ignore-unknown-option", "NAME…", 1, any_number, Scope::profile, allow_unknown},
    {"management", "ADDRESS PORT|unix [PASSWORDFILE]", 2, 3, Scope::profile, set_management},
    {"management-client", "", 0, 0, Scope::profile, set_flag<&Profile::management_client>},
    {"management-hold", "", 0, 0, Scope::profile, set_flag<&Profile::management_hold>},
    {"management-query-passwords", "", 0, 0, Scope::profile, set_flag<&Profile::management_query_passwords>},
    {"management-query-remote", "", 0, 0, Scope::profile, set_flag<&Profile::management_query_remote>},
    {"management-up-down", "", 0, 0, Scope::profile, set_flag<&Profile::management_up_down>},
    {"mark", "NUMBER", 1, 1, Scope::profile, set_mark},
    {"mode", "p2p", 1, 1, Scope::profile, check_mode},
    {"port", "PORT", 1, 1, Scope::anywhere, set_port},
    {"proto", "PROTOCOL", 1, 1, Scope::anywhere, set_proto},
    {"proto-force", "udp|tcp", 1, 1, Scope::profile, set_proto_force},
    {"redirect-gateway", "[FLAG…]", 0, any_number, Scope::profile, set_redirect},
    {"redirect-private", "[FLAG…]", 0, any_number, Scope::profile, set_redirect},
    {"remote", "HOST [PORT [PROTOCOL]]", 1, 3, Scope::anywhere, set_remote},
    {"remote-random-hostname", "", 0, 0, Scope::profile, set_random_hostname},
    {"rport", "PORT", 1, 1, Scope::anywhere, set_port},
    {"server", "NETWORK NETMASK", 0, any_number, Scope::profile, refuse_server},
    {"server-bridge", "", 0, any_number, Scope::profile, refuse_server},
    {"server-ipv6", "PREFIX", 0, any_number, Scope::profile, refuse_server},
    {"socks-proxy", "HOST [PORT [AUTHFILE]]", 1, 3, Scope::anywhere, set_socks_proxy},
    {"user", "NAME", 1, 1, Scope::profile, set_user},
}};

}  // namespace

std::string at(const Place& place) {
  return fmt::format("{}:{}: ", place.file, place.line);
}

void Draft::warn(const Place& place, std::string text) {
  profile.warnings.push_back(model::ProfileWarning{place.file, place.line, std::move(text)});
}

const Known* find_directive(std::string_view name) {
  const auto* const found =
      std::find_if(directives.begin(), directives.end(), [&](const Known& known) { return known.name == name; });
  return found == directives.end() ? nullptr : found;
}

}  // namespace killswitch::codec::profile
