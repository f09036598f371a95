// A policy: what may leave besides the tunnel. Read from JSON (policies/policy.schema.json); the defaults
// below are the strictest values, so that a policy that says nothing allows nothing.
#pragma once

#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/transport.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace killswitch::model {

/// SO_MARK of the transport's sockets: set by OpenVPN itself when it is started with our snippet, else by the daemon on
/// a socket that it proved to be OpenVPN's ("ks").
inline constexpr std::uint32_t default_transport_mark = 0x6b73;

enum class Refusal : std::uint8_t {
  drop,    ///< programs of this host run into timeouts
  reject,  ///< programs of this host get an error at once (TCP reset, ICMP admin-prohibited)
};

/// What a policy can give up, by name. The number is that of the guarantee.
enum class Guarantee : std::uint8_t { fail_closed = 1, one_tunnel = 6, dns = 7, inbound = 11 };
[[nodiscard]] std::string to_string(Guarantee guarantee);  ///< "G1"

/// The local network: this host may talk to `prefixes` on links that are called so, but never asks for names there.
/// Only answers come in. A link is named whole ("eth0") or by its beginning ("wl*").
struct LanAccess {
  std::vector<std::string> links;
  std::vector<Prefix> prefixes;
  bool operator==(const LanAccess&) const = default;
};

/// A service of this host that may be used from a link.
struct InboundService {
  std::vector<std::string> links;
  Protocol protocol{Protocol::tcp};
  Port port;
  std::vector<Prefix> from;
  bool operator==(const InboundService&) const = default;
};

/// The computers on the links `lan` reach the tunnel through this host, and nothing else.
struct Router {
  std::vector<std::string> lan;  ///< names of links, as in LanAccess; empty: this host is no router
  bool masquerade{false};        ///< they appear in the tunnel with this host's address
  bool dhcp{false};              ///< this host is their DHCPv4 and DHCPv6 server
  bool dns{false};               ///< this host answers their questions for names
  bool operator==(const Router&) const = default;
};

struct Policy {
  std::string name;
  std::string description;

  std::uint32_t transport_mark{default_transport_mark};
  std::vector<TransportProgram> transport_programs;  ///< trusted besides OpenVPN's own, once a process is proven

  bool dhcp{false};                 ///< DHCPv4 and DHCPv6 client on links
  bool neighbour_discovery{false};  ///< NDP with hop limit 255 on links (IPv6 does not work without)
  bool pppoe{false};                ///< links may dial in by PPPoE; what it carries obeys the same rules
  bool server_names{false};         ///< while it is needed, anybody may ask for the VPN server's own name on a link

  std::vector<IpAddress> tunnel_resolvers;  ///< used in the tunnel when the server pushes none
  bool any_tunnel_resolver{false};          ///< DNS in the tunnel may go anywhere

  bool host_to_internal{false};    ///< this host and its guests (docker0, virbr0) may talk to each other
  bool internal_to_tunnel{false};  ///< guests may use the tunnel

  std::vector<LanAccess> lan;
  std::vector<InboundService> inbound;
  std::vector<Endpoint> endpoints;  ///< any program of this host may talk to exactly these
  Router router;

  /// Exact names of interfaces that are trusted as the tunnel is. Links (hardware and what stands on it) are not,
  /// unless G1 is waived.
  std::vector<std::string> trusted_interfaces;

  std::vector<Guarantee> waives;  ///< in rising order; exactly those that the rest gives up

  Refusal refusal{Refusal::drop};
  bool operator==(const Policy&) const = default;
};

/// Whether an interface is called so: "eth0" means itself, "wl*" every name that begins so.
[[nodiscard]] bool is_named(const std::vector<std::string>& patterns, std::string_view name);

/// RFC 1918, link-local (169.254.0.0/16, fe80::/10) and unique local (fc00::/7): what a public host never has.
[[nodiscard]] bool is_private(const Prefix& prefix);

/// Ports of DNS, DNS over TLS, mDNS, LLMNR and NetBIOS.
[[nodiscard]] bool is_name_port(Port port);

/// One place of a policy that gives a guarantee up.
struct Concession {
  Guarantee guarantee{Guarantee::fail_closed};
  std::string pointer;  ///< JSON pointer (RFC 6901) into the policy
  std::string words;    ///< what is given up: "198.51.100.0/24 is …"
  bool operator==(const Concession&) const = default;
};
/// In the order of the policy's keys. A policy must waive each of these guarantees, and no others.
[[nodiscard]] std::vector<Concession> concessions(const Policy& policy);

[[nodiscard]] bool waives(const Policy& policy, Guarantee guarantee);
/// Whether waiving `guarantee` changes anything.
[[nodiscard]] bool can_waive(const Policy& policy, Guarantee guarantee);

}  // namespace killswitch::model
