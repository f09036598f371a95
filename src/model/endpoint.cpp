#include "killswitch/model/endpoint.hpp"

#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::model {
namespace {

struct Transport {
  Protocol protocol{Protocol::udp};
  std::optional<Family> family;
};

std::optional<Transport> parse_transport(std::string_view text) {
  if (text.size() < 3) {
    return std::nullopt;
  }
  Transport transport;
  const auto name = text.substr(0, 3);
  if (name != "udp" && name != "tcp") {
    return std::nullopt;
  }
  transport.protocol = name == "udp" ? Protocol::udp : Protocol::tcp;
  const auto rest = text.substr(3);
  if (rest == "4" || rest == "6") {
    transport.family = rest == "4" ? Family::ipv4 : Family::ipv6;
  } else if (!rest.empty()) {
    return std::nullopt;
  }
  return transport;
}

}  // namespace

std::string_view to_string(Protocol protocol) {
  return protocol == Protocol::udp ? "udp" : "tcp";
}

std::string to_string(const Endpoint& endpoint) {
  const auto address = to_string(endpoint.address);
  const bool brackets = endpoint.address.family == Family::ipv6;
  return fmt::format("{}{}{}:{}/{}", brackets ? "[" : "", address, brackets ? "]" : "", endpoint.port.number,
                     to_string(endpoint.protocol));
}

std::string to_string(const Remote& remote) {
  const std::string_view family = !remote.family ? "" : *remote.family == Family::ipv4 ? "4" : "6";
  const bool brackets = remote.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}/{}{}", brackets ? "[" : "", remote.host, brackets ? "]" : "", remote.port.number,
                     to_string(remote.protocol), family);
}

Result<Remote> parse_remote(std::string_view text) {
  const auto expected = fmt::format(
      "server '{}': expected HOST:PORT/udp or HOST:PORT/tcp, as in vpn.example.org:1194/udp", printable(text));
  Remote remote;
  if (const auto slash = text.rfind('/'); slash != std::string_view::npos) {
    const auto transport = parse_transport(text.substr(slash + 1));
    if (!transport) {
      return fail(expected);
    }
    remote.protocol = transport->protocol;
    remote.family = transport->family;
    text = text.substr(0, slash);
  }
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    return fail(expected);
  }
  auto port = parse_port(text.substr(colon + 1));
  if (!port) {
    return fail(port.error().within(expected));
  }
  remote.port = *port;
  auto host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (auto address = parse_ip_address(host); !address) {
      return fail(address.error().within(expected));
    }
  } else if (host.find(':') != std::string_view::npos) {
    return fail(expected + " (an IPv6 address needs brackets: [2001:db8::1]:1194/udp)");
  }
  remote.host = host;
  return remote;
}

std::vector<Endpoint> endpoints_of(const std::vector<PinnedRemote>& pinned) {
  std::vector<Endpoint> endpoints;
  for (const auto& entry : pinned) {
    for (const auto& address : entry.addresses) {
      if (!entry.remote.family || *entry.remote.family == address.family) {
        endpoints.push_back(Endpoint{address, entry.remote.port, entry.remote.protocol});
      }
    }
  }
  std::sort(endpoints.begin(), endpoints.end());
  endpoints.erase(std::unique(endpoints.begin(), endpoints.end()), endpoints.end());
  return endpoints;
}

}  // namespace killswitch::model
