// The environment of >UPDOWN:UP: the variables that OpenVPN also gives its scripts. Much of it was pushed by the
// server, so every value is parsed strictly; a bad one is skipped and named.
// @source openvpn(8), "Environmental Variables"; OpenVPN src/openvpn/{init,options,tun}.c
#include "killswitch/base/text.hpp"
#include "killswitch/codec/management.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <bit>

namespace killswitch::codec {
namespace {

using namespace model;
using Environment = std::map<std::string, std::string, std::less<>>;

// resolv.conf takes three; what a server pushes beyond these is not worth a rule.
constexpr std::size_t resolver_limit = 16;
constexpr std::size_t search_domain_limit = 32;
constexpr std::uint16_t dns_port = 53;

class Reader {
public:
  Reader(const Environment& environment, const std::optional<management::RemoteQuery>& asked)
      : environment_{environment}, asked_{asked} {}

  Result<DecodedReport> read() {
    report_.interface = value("dev");
    if (!is_device_name(report_.interface)) {
      return fail(fmt::format("dev='{}' is not the name of an interface", printable(report_.interface)));
    }
    read_ipv4();
    read_ipv6();
    if (report_.addresses.empty()) {
      problems_.emplace_back("no usable address");
      return fail(join(problems_, "; "));
    }
    read_server();
    read_dns_servers();
    read_foreign_options();
    return DecodedReport{std::move(report_), std::move(problems_)};
  }

private:
  [[nodiscard]] std::string value(std::string_view name) const {
    const auto found = environment_.find(name);
    return found == environment_.end() ? std::string{} : found->second;
  }
  void skip(std::string_view name, std::string_view why) { problems_.push_back(fmt::format("{}: {}", name, why)); }

  std::optional<IpAddress> address(std::string_view name) {
    const auto text = value(name);
    if (text.empty()) {
      return std::nullopt;
    }
    auto parsed = parse_ip_address(text);
    if (!parsed) {
      skip(name, parsed.error().message());
      return std::nullopt;
    }
    return *parsed;
  }

  void read_ipv4();
  void read_ipv6();
  void read_server();
  [[nodiscard]] std::optional<Protocol> protocol_to(const IpAddress& server, Port port) const;
  void read_dns_servers();
  void read_foreign_options();
  void add_resolver(std::string_view name, std::string_view text, std::string_view port);
  void add_search_domain(std::string_view name, std::string_view text);
  /// The values of PREFIX1, PREFIX2, … in the order of their numbers.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> numbered(std::string_view prefix) const;

  const Environment& environment_;
  const std::optional<management::RemoteQuery>& asked_;
  TunnelReport report_;
  std::vector<std::string> problems_;
};

/// One host: neither unspecified nor multicast nor broadcast.
bool is_unicast(const IpAddress& address) {
  if (address == IpAddress{address.family, {}}) {
    return false;
  }
  if (address.family == Family::ipv6) {
    return address.bytes[0] != 0xff;
  }
  return address.bytes[0] != 0 && address.bytes[0] < 224;
}

std::optional<std::uint8_t> length_of_mask(std::string_view text) {
  const auto mask = parse_ip_address(text);
  if (!mask || mask->family != Family::ipv4) {
    return std::nullopt;
  }
  std::uint32_t bits = 0;
  for (const auto octet : mask->octets()) {
    bits = bits << 8U | octet;
  }
  const auto length = static_cast<std::uint8_t>(std::countl_one(bits));
  if (length < 32 && bits << length != 0) {
    return std::nullopt;
  }
  return length;
}

/// Without a mask (topology p2p and net30: ifconfig_remote) the address stands for itself.
void Reader::read_ipv4() {
  const auto local = address("ifconfig_local");
  if (!local) {
    return;
  }
  if (local->family != Family::ipv4 || !is_unicast(*local) || is_loopback(*local)) {
    skip("ifconfig_local", to_string(*local) + " cannot be a tunnel's IPv4 address");
    return;
  }
  std::uint8_t length = 32;
  if (const auto mask = value("ifconfig_netmask"); !mask.empty()) {
    const auto parsed = length_of_mask(mask);
    if (!parsed || *parsed == 0) {
      skip("ifconfig_netmask", fmt::format("'{}' is not a netmask", printable(mask)));
      return;
    }
    length = *parsed;
  }
  report_.addresses.push_back(InterfaceAddress{*local, length});
}

void Reader::read_ipv6() {
  const auto local = address("ifconfig_ipv6_local");
  if (!local) {
    return;
  }
  if (local->family != Family::ipv6 || !is_unicast(*local) || is_loopback(*local)) {
    skip("ifconfig_ipv6_local", to_string(*local) + " cannot be a tunnel's IPv6 address");
    return;
  }
  std::uint8_t length = 128;
  if (const auto bits = value("ifconfig_ipv6_netbits"); !bits.empty()) {
    const auto parsed = parse_number(bits, 128);
    if (!parsed || *parsed == 0) {
      skip("ifconfig_ipv6_netbits", fmt::format("'{}' is not a prefix length", printable(bits)));
      return;
    }
    length = static_cast<std::uint8_t>(*parsed);
  }
  report_.addresses.push_back(InterfaceAddress{*local, length});
}

void Reader::read_server() {
  auto server = address("trusted_ip");
  if (!server) {
    server = address("trusted_ip6");
  }
  if (!server) {
    return;
  }
  server = without_mapping(*server);
  const auto port = parse_port(value("trusted_port"));
  if (!port) {
    skip("trusted_port", port.error().message());
  } else if (!is_unicast(*server)) {
    skip("trusted_ip", to_string(*server) + " cannot be a server's address");
  } else if (const auto protocol = protocol_to(*server, *port)) {
    report_.server = Endpoint{*server, *port, *protocol};
  } else {
    skip("proto_N", "the profile's remotes do not say which protocol leads to the server");
  }
}

/// OpenVPN does not say which of its remotes it uses, unless it asked (>REMOTE). Otherwise the ones that fit
/// decide if they agree.
std::optional<Protocol> Reader::protocol_to(const IpAddress& server, Port port) const {
  if (asked_) {
    return asked_->protocol;
  }
  struct Candidate {
    int fit;
    Protocol protocol;
  };
  std::vector<Candidate> candidates;
  for (const auto& [name, text] : numbered("proto_")) {
    const auto number = name.substr(std::string_view{"proto_"}.size());
    const auto transport = parse_openvpn_protocol(text);
    if (!transport || (transport->family == Family::ipv4 && server.family == Family::ipv6)) {
      continue;
    }
    const auto host = parse_ip_address(value("remote_" + number));
    const auto remote_port = parse_port(value("remote_port_" + number));
    // The address itself says more than the port, and the port (a proxy has its own) more than nothing.
    const int by_address = !host ? 1 : without_mapping(*host) == server ? 2 : 0;
    const int by_port = remote_port && *remote_port == port ? 4 : 0;
    candidates.push_back({by_port + by_address, transport->protocol});
  }
  int best = 0;
  for (const auto& candidate : candidates) {
    best = std::max(best, candidate.fit);
  }
  std::optional<Protocol> agreed;
  for (const auto& candidate : candidates) {
    if (candidate.fit == best && agreed && *agreed != candidate.protocol) {
      return std::nullopt;
    }
    if (candidate.fit == best) {
      agreed = candidate.protocol;
    }
  }
  return agreed;
}

std::vector<std::pair<std::string, std::string>> Reader::numbered(std::string_view prefix) const {
  std::vector<std::pair<std::uint32_t, std::pair<std::string, std::string>>> found;
  for (auto at = environment_.lower_bound(prefix); at != environment_.end() && at->first.starts_with(prefix); ++at) {
    if (const auto number = parse_number(std::string_view{at->first}.substr(prefix.size()))) {
      found.emplace_back(*number, *at);
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<std::pair<std::string, std::string>> ordered;
  ordered.reserve(found.size());
  for (auto& entry : found) {
    ordered.push_back(std::move(entry.second));
  }
  return ordered;
}

/// `dns server` of 2.6: dns_server_N_address_M with dns_server_N_port_M; before its release
/// dns_server_N_address4 and _address6. They come in the order of their priority.
void Reader::read_dns_servers() {
  constexpr std::string_view prefix = "dns_server_";
  std::vector<std::uint32_t> servers;
  for (auto at = environment_.lower_bound(prefix); at != environment_.end() && at->first.starts_with(prefix); ++at) {
    const auto rest = std::string_view{at->first}.substr(prefix.size());
    const auto number = parse_number(rest.substr(0, rest.find('_')));
    if (number && std::find(servers.begin(), servers.end(), *number) == servers.end()) {
      servers.push_back(*number);
    }
  }
  std::sort(servers.begin(), servers.end());
  for (const auto server : servers) {
    const auto base = fmt::format("{}{}_", prefix, server);
    for (const auto& [name, text] : numbered(base + "address_")) {
      const auto number = name.substr(base.size() + std::string_view{"address_"}.size());
      add_resolver(name, text, value(base + "port_" + number));
    }
    for (const std::string family : {"4", "6"}) {
      if (const auto text = value(base + "address" + family); !text.empty()) {
        add_resolver(base + "address" + family, text, value(base + "port" + family));
      }
    }
  }
  for (const auto& [name, text] : numbered("dns_search_domain_")) {
    add_search_domain(name, text);
  }
}

/// foreign_option_N=dhcp-option DNS 192.0.2.1
void Reader::read_foreign_options() {
  for (const auto& [name, text] : numbered("foreign_option_")) {
    std::vector<std::string_view> words;
    for (const auto word : split(text, ' ')) {
      if (!word.empty()) {
        words.push_back(word);
      }
    }
    if (words.size() < 2 || words[0] != "dhcp-option") {
      continue;
    }
    const auto argument = words.size() == 3 ? words[2] : std::string_view{};
    if (words[1] == "DNS" || words[1] == "DNS6") {
      add_resolver(name, argument, {});
    } else if (words[1] == "DOMAIN" || words[1] == "DOMAIN-SEARCH" || words[1] == "ADAPTER_DOMAIN_SUFFIX") {
      add_search_domain(name, argument);
    }
  }
}

/// @param text an address, perhaps with its own port and server name: "192.0.2.1:53", "[2001:db8::1]:53#name"
/// @param port of a variable of its own; may be empty
void Reader::add_resolver(std::string_view name, std::string_view text, std::string_view port) {
  auto bare = text.substr(0, text.find('#'));
  if (const auto end = bare.find(']'); bare.starts_with('[') && end != std::string_view::npos) {
    const auto behind = bare.substr(end + 1);
    if (behind.empty() || behind.starts_with(':')) {
      port = behind.empty() ? port : behind.substr(1);
      bare = bare.substr(1, end - 1);
    }
  } else if (std::count(bare.begin(), bare.end(), ':') == 1) {
    port = bare.substr(bare.find(':') + 1);
    bare = bare.substr(0, bare.find(':'));
  }
  const auto parsed = parse_ip_address(bare);
  if (!parsed || !is_unicast(*parsed)) {
    skip(name, fmt::format("'{}' is not the address of a resolver", printable(text, 80)));
    return;
  }
  if (!port.empty() && parse_number(port, 65535) != dns_port) {
    skip(name, fmt::format("resolv.conf cannot name a resolver on port {}", printable(port, 80)));
    return;
  }
  auto& resolvers = report_.resolvers;
  const auto resolver = without_mapping(*parsed);
  if (std::find(resolvers.begin(), resolvers.end(), resolver) != resolvers.end()) {
    return;
  }
  if (resolvers.size() == resolver_limit) {
    skip(name, fmt::format("more than {} resolvers", resolver_limit));
    return;
  }
  resolvers.push_back(resolver);
}

void Reader::add_search_domain(std::string_view name, std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  if (text.empty() || text.size() > 253 || text.starts_with('-') || !std::all_of(text.begin(), text.end(), fits)) {
    skip(name, fmt::format("'{}' is not a domain", printable(text, 80)));
    return;
  }
  auto& domains = report_.search_domains;
  if (std::find(domains.begin(), domains.end(), text) != domains.end()) {
    return;
  }
  if (domains.size() == search_domain_limit) {
    skip(name, fmt::format("more than {} search domains", search_domain_limit));
    return;
  }
  domains.emplace_back(text);
}

}  // namespace

std::optional<OpenVpnProtocol> parse_openvpn_protocol(std::string_view text) {
  OpenVpnProtocol transport;
  if (text.starts_with("udp")) {
    transport.protocol = Protocol::udp;
  } else if (text.starts_with("tcp")) {
    transport.protocol = Protocol::tcp;
  } else {
    return std::nullopt;
  }
  auto rest = text.substr(3);
  if (rest.starts_with('4') || rest.starts_with('6')) {
    transport.family = rest.front() == '4' ? Family::ipv4 : Family::ipv6;
    rest.remove_prefix(1);
  }
  const bool role = transport.protocol == Protocol::tcp && (rest == "-client" || rest == "-server");
  if (!rest.empty() && !role) {
    return std::nullopt;
  }
  return transport;
}

bool is_device_name(std::string_view text) {
  const auto fits = [](char c) { return c > ' ' && c < '\x7f' && c != '/' && c != ':'; };
  return !text.empty() && text.size() < 16 && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), fits);
}

IpAddress without_mapping(const IpAddress& address) {
  static constexpr std::array<std::uint8_t, 12> mapping{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.family != Family::ipv6 || !std::equal(mapping.begin(), mapping.end(), address.bytes.begin())) {
    return address;
  }
  return make_ip_address(Family::ipv4, address.octets().subspan(mapping.size()));
}

bool is_tunnel_variable(std::string_view name) {
  static constexpr std::array<std::string_view, 9> exact{
      "dev",        "ifconfig_local", "ifconfig_netmask", "ifconfig_ipv6_local", "ifconfig_ipv6_netbits",
      "trusted_ip", "trusted_ip6",    "trusted_port",     "ifconfig_remote"};
  static constexpr std::array<std::string_view, 6> prefixes{"remote_",         "remote_port_", "proto_",
                                                            "foreign_option_", "dns_server_",  "dns_search_domain_"};
  return std::find(exact.begin(), exact.end(), name) != exact.end() ||
         std::any_of(prefixes.begin(), prefixes.end(), [&](auto prefix) { return name.starts_with(prefix); });
}

Result<DecodedReport> decode_tunnel_environment(const Environment& environment,
                                                const std::optional<management::RemoteQuery>& asked) {
  return Reader{environment, asked}.read();
}

}  // namespace killswitch::codec
