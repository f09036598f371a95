// Conclusions that several decisions draw from the same facts: which interface is the tunnel, where the server may
// be, who OpenVPN is, which resolvers count. Derived anew each time, never stored.
#pragma once

#include "killswitch/model/world.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::decide {

/// Whether the rules must stand twice, because a table is lost with the socket that owns it.
[[nodiscard]] bool needs_twin(const model::KernelFeatures& kernel);

/// The same rules under the twin's name, right behind those of `table`: what is refused is counted there.
[[nodiscard]] model::Table twin_of(const model::Table& table);

/// Link kinds that OpenVPN makes: "tun" (tun and tap), "ovpn" (in-tree offload) and "ovpn-dco" (out of tree).
[[nodiscard]] bool is_tunnel_kind(std::string_view kind);

/// Of a tunnel kind, and not another interface than the one that the settings restrict the tunnel to.
[[nodiscard]] bool may_be_tunnel(const model::Link& link, const model::World& world);

/// The interface that `report` names, if it is of a tunnel kind and carries an announced address; without a report the
/// one that a proven process holds (decide/transport).
[[nodiscard]] std::optional<model::TrustedTunnel> match_tunnel(const model::World& world);

/// The class of `link`, after the policy has been asked which interfaces it trusts and where the router's LAN is.
/// Everything that asks for a class asks here.
[[nodiscard]] model::LinkClass class_of(const model::Link& link, const model::World& world,
                                        std::optional<model::IfIndex> tunnel);

/// What is sent to `link` stays in this machine: it is a guest's end of a bridge that is internal or trusted.
[[nodiscard]] bool is_guest_port(const model::Link& link, const model::World& world,
                                 std::optional<model::IfIndex> tunnel);

/// Every destination of the encrypted transport, sorted.
[[nodiscard]] std::vector<model::Endpoint> transport_endpoints(const model::World& world);

/// The connection to the server stands, as far as OpenVPN tells; where nobody tells, the interface speaks for it.
[[nodiscard]] bool is_connected(const model::World& world);

/// Every remote that addresses are wanted of: those of the settings, and those that OpenVPN asked for itself.
[[nodiscard]] std::vector<model::PinnedRemote> all_remotes(const model::World& world);

/// The names that may be asked for on a link now, in lower case, sorted: those of the servers, while the tunnel does
/// not stand and where the policy lets them be asked for (G7).
[[nodiscard]] std::vector<std::string> names_in_question(const model::World& world);

/// SO_MARK of OpenVPN's packets.
[[nodiscard]] std::uint32_t transport_mark(const model::World& world);

/// An enrolled VPN connection of NetworkManager, and what NetworkManager says of it (null: it knows none such).
struct Vpn {
  const model::NetworkManagerVpn* enrolled;
  const model::VpnConnection* said;
};
[[nodiscard]] std::vector<Vpn> enrolled_vpns(const model::World& world);

[[nodiscard]] bool any_vpn_is(const model::World& world, model::VpnState state);

/// The resolvers of the tunnel: those that the server pushed and that can be reached there, else the policy's.
struct Resolvers {
  std::vector<model::IpAddress> accepted;  ///< in the order in which they are to be asked
  std::vector<std::string> refused;        ///< pushed ones that are of no use, each with the reason
};
[[nodiscard]] Resolvers judge_resolvers(const model::World& world);

/// The accepted ones, sorted: the only ones that may be asked in the tunnel.
[[nodiscard]] std::vector<model::IpAddress> tunnel_resolvers(const model::World& world);

/// A management peer that OpenVPN itself opened: it runs with our snippet, so its packets carry our mark.
[[nodiscard]] bool runs_with_snippet(const model::World& world);

}  // namespace killswitch::decide
