#include "killswitch/codec/networkmanager_vpn.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/names.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <optional>

namespace killswitch::codec {
namespace {

using model::Family;
using model::Port;
using model::Protocol;
using model::Remote;
using Data = std::map<std::string, std::string>;

constexpr std::size_t most_remotes = 64;  // as many as OpenVPN itself takes

struct Transport {
  std::string_view name;
  Protocol protocol;
  std::optional<Family> family;
};
constexpr std::array<Transport, 9> transports{{{"udp", Protocol::udp, {}},
                                               {"udp4", Protocol::udp, Family::ipv4},
                                               {"udp6", Protocol::udp, Family::ipv6},
                                               {"tcp", Protocol::tcp, {}},
                                               {"tcp4", Protocol::tcp, Family::ipv4},
                                               {"tcp6", Protocol::tcp, Family::ipv6},
                                               {"tcp-client", Protocol::tcp, {}},
                                               {"tcp4-client", Protocol::tcp, Family::ipv4},
                                               {"tcp6-client", Protocol::tcp, Family::ipv6}}};

std::string value_of(const Data& data, const char* key) {
  const auto found = data.find(key);
  return found == data.end() ? std::string{} : std::string{trim(found->second)};
}

Failure bad_entry(std::string_view entry, std::string_view problem) {
  return fail(fmt::format("remote '{}': {}; expected HOST[:PORT[:PROTOCOL]], as in vpn.example.org:1194:udp",
                          printable(entry), problem));
}

std::optional<Port> port_of(std::string_view text) {
  const auto number = parse_number(text, UINT16_MAX);
  return number && *number != 0 ? std::optional{Port{static_cast<std::uint16_t>(*number)}} : std::nullopt;
}

struct Parts {
  std::string_view host;
  std::vector<std::string_view> rest;  ///< port and protocol, where they are said
};

/// An address of IPv6 has colons of its own: it stands in brackets, or alone.
std::optional<Parts> take_apart(std::string_view entry) {
  if (entry.front() == '[') {
    const auto end = entry.find(']');
    if (end == std::string_view::npos) {
      return std::nullopt;
    }
    const auto behind = entry.substr(end + 1);
    const auto host = entry.substr(1, end - 1);
    const auto address = model::parse_ip_address(host);
    if (!address || address->family != Family::ipv6 || (!behind.empty() && behind.front() != ':')) {
      return std::nullopt;
    }
    return Parts{host, behind.empty() ? std::vector<std::string_view>{} : split(behind.substr(1), ':')};
  }
  if (model::parse_ip_address(entry)) {
    return Parts{entry, {}};
  }
  auto fields = split(entry, ':');
  const auto host = fields.front();
  fields.erase(fields.begin());
  return Parts{host, std::move(fields)};
}

Result<Remote> parse_entry(std::string_view entry, const Remote& defaults) {
  const auto parts = take_apart(entry);
  if (!parts || parts->rest.size() > 2) {
    return bad_entry(entry, "it has too many colons, or no address of IPv6 in its brackets");
  }
  if (!is_host(parts->host)) {
    return bad_entry(entry, "the host is neither a name nor an address");
  }
  Remote remote = defaults;
  remote.host = parts->host;
  if (!parts->rest.empty() && !parts->rest[0].empty()) {
    const auto port = port_of(parts->rest[0]);
    if (!port) {
      return bad_entry(entry, "the port is none from 1 to 65535");
    }
    remote.port = *port;
  }
  if (parts->rest.size() == 2) {
    const auto found = std::find_if(transports.begin(), transports.end(),
                                    [&](const Transport& transport) { return transport.name == parts->rest[1]; });
    if (found == transports.end()) {
      return bad_entry(entry, "the protocol is unknown");
    }
    remote.protocol = found->protocol;
    remote.family = found->family;
  }
  return remote;
}

/// What makes a connection go elsewhere than its remotes say.
Outcome check_destination(const Data& data) {
  if (const auto proxy = value_of(data, "proxy-type"); !proxy.empty() && proxy != "none") {
    return fail("it goes through a proxy, which cannot be enrolled: use the profile (enable --config)");
  }
  if (value_of(data, "remote-random-hostname") == "yes") {
    return fail("remote-random-hostname: nobody can say beforehand which name it will ask for");
  }
  return done();
}

}  // namespace

Result<std::vector<Remote>> parse_vpn_data(const Data& data) {
  if (auto usual = check_destination(data); !usual) {
    return fail(usual.error());
  }
  Remote defaults;
  defaults.protocol = value_of(data, "proto-tcp") == "yes" ? Protocol::tcp : Protocol::udp;
  if (const auto text = value_of(data, "port"); !text.empty()) {
    const auto port = port_of(text);
    if (!port) {
      return fail(fmt::format("port '{}': expected a number from 1 to 65535", printable(text)));
    }
    defaults.port = *port;
  }
  auto list = value_of(data, "remote");
  std::replace_if(
      list.begin(), list.end(), [](char c) { return c == ',' || c == '\t'; }, ' ');
  std::vector<Remote> remotes;
  for (const auto entry : split(list, ' ')) {
    if (entry.empty()) {
      continue;
    }
    auto remote = parse_entry(entry, defaults);
    if (!remote) {
      return fail(remote.error());
    }
    if (std::find(remotes.begin(), remotes.end(), *remote) == remotes.end()) {
      remotes.push_back(std::move(*remote));
    }
  }
  if (remotes.empty() || remotes.size() > most_remotes) {
    return fail(fmt::format("remote: expected 1 to {} servers, found {}", most_remotes, remotes.size()));
  }
  return remotes;
}

bool is_uuid(std::string_view text) {
  constexpr std::string_view form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  const auto fits = [](char c, char wanted) {
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    return wanted == 'x' ? hex : c == '-';
  };
  return std::equal(text.begin(), text.end(), form.begin(), form.end(), fits);
}

}  // namespace killswitch::codec
