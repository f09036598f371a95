// Parts of `compile` that more than one of its files needs. Private to this folder.
#pragma once

#include "killswitch/decide/rules.hpp"
#include "killswitch/model/world.hpp"

#include <optional>
#include <string>
#include <vector>

namespace killswitch::decide {

using Rules = std::vector<model::Rule>;
using Matches = std::vector<model::Match>;

/// A VLAN whose frames leave through another link.
struct CarriedVlan {
  model::Vlan vlan;
  std::string carrier;
  bool judged{true};  ///< it is a link itself; else nothing that it sends is refused
};

/// The conclusions from a world that the rules are made of.
struct Context {
  const model::World& world;
  const model::Policy& policy;
  std::vector<model::Endpoint> endpoints;
  std::optional<model::TrustedTunnel> tunnel;
  std::string tunnel_kind;
  std::vector<model::IfIndex> internal;
  std::vector<model::IfIndex> trusted;
  std::vector<model::IfIndex> lan;
  std::vector<CarriedVlan> vlans;
  std::vector<std::string> egress_devices;  ///< names of all links, sorted, and those that links may come with
};

/// `more` behind `rules`.
void append(Rules& rules, Rules more);
[[nodiscard]] model::Chain chain(std::string name, Rules rules);
/// What nothing before has matched is dropped.
[[nodiscard]] model::Rule final_drop(const char* counter, const char* comment);
[[nodiscard]] model::Chain base_chain(std::string name, model::Hook hook, std::int32_t priority, Rules rules);

/// Where a rule stands: at the hooks of IP packets, or at egress, where frames of every kind pass.
enum class Layer : std::uint8_t { packets, frames };

/// The encrypted transport, outwards: a marked socket, and the exact address, protocol and port of the server.
[[nodiscard]] Rules transport_out(const Context& context, Layer layer);
/// Copies of the marked transport for the daemon, as long as no tunnel is trusted; in front of `transport_out`.
[[nodiscard]] Rules marked_transport_copies(const Context& context);
/// Packets to a server from a socket without the mark: copied for the daemon, and dropped.
[[nodiscard]] Rules refuse_unmarked_transport();
/// Answers to marked sockets, and ICMP errors that quote a packet of one (path MTU).
[[nodiscard]] Rules transport_in(const Context& context);
/// The same for the endpoints in the sets `set`4 and `set`6, and quoted_`set`4 and 6; `what` ends the comments.
[[nodiscard]] Rules answers_of(const std::string& set, const std::string& what);
/// The frame is a fragment behind the first of its packet.
[[nodiscard]] Matches behind_first_fragment(model::Family family);
[[nodiscard]] Rules upkeep_out(const model::Policy& policy, Layer layer);
[[nodiscard]] Rules upkeep_in(const model::Policy& policy);

// --- what a policy names (allowances.cpp) ----------------------------------------------------------------------------

/// Servers that any program may talk to.
[[nodiscard]] Rules endpoints_out(const Context& context, Layer layer);
/// Answers of services that may be used from a link; of TCP only what is no connection request.
[[nodiscard]] Rules services_out(const Context& context, Layer layer);
/// Before the local network is opened: nothing for names, and nothing to the VPN server but the transport. Nothing at
/// all where the policy names no local network.
[[nodiscard]] Rules lan_guards(const Context& context, Layer layer);
/// The local network.
[[nodiscard]] Rules lan_out(const Context& context, Layer layer);
/// Behind the first fragment, which has the ports, there is none to look at.
[[nodiscard]] Rules lan_fragments_out(const Context& context);
/// What comes in for the sake of all of these.
[[nodiscard]] Rules endpoints_in(const model::Policy& policy);
[[nodiscard]] Rules services_in(const Context& context);
[[nodiscard]] Rules lan_in(const Context& context);
/// Chain that `lan_in` goes to, where there is a local network.
[[nodiscard]] std::vector<model::Chain> lan_chains(const Context& context);
[[nodiscard]] std::vector<model::Set> allowance_sets(const Context& context);

// --- the server's own name (server_names.cpp)
// -------------------------------------------------------------------------

/// Where a question for the server's name may be sent, and its answer come in; nothing while no name is needed.
[[nodiscard]] Rules server_names_out(const Context& context, Layer layer);
/// Who is not asked for them: the resolvers behind the tunnel.
[[nodiscard]] std::vector<model::IpAddress> resolvers_behind_tunnel(const model::World& world);
[[nodiscard]] Rules server_names_in(const Context& context);
/// What these rules go to: at the hooks of IP packets, or at egress.
[[nodiscard]] std::vector<model::Chain> server_name_chains(const Context& context, Layer layer);

// --- a router's LAN (router.cpp)
// --------------------------------------------------------------------------------------

[[nodiscard]] bool is_router(const Context& context);
/// What may pass between the computers on the LAN, this host and the tunnel; nothing where there is no LAN.
[[nodiscard]] std::vector<model::Chain> router_chains(const Context& context);

[[nodiscard]] std::vector<model::Set> sets_of(const Context& context);
[[nodiscard]] model::Set endpoint_set(std::string name, model::Family family,
                                      const std::vector<model::Endpoint>& endpoints);
/// The addresses of one family without their ports, for fragments that show none.
[[nodiscard]] model::Set host_set(std::string name, model::Family family,
                                  const std::vector<model::Endpoint>& endpoints);
/// The prefixes of one family.
[[nodiscard]] model::Set prefix_set(std::string name, model::Family family, const std::vector<model::Prefix>& prefixes);
[[nodiscard]] model::Set interface_set(std::string name, const std::vector<model::IfIndex>& interfaces);
/// Ports of DNS, DNS over TLS, mDNS, LLMNR and NetBIOS, of UDP and TCP.
[[nodiscard]] model::Set name_ports_set();
/// Those that the frames at egress are looked up in.
[[nodiscard]] std::vector<model::Set> egress_sets_of(const Context& context);

/// Frames that are no IP packets, and those in PPPoE; the chains and sets that these rules need.
[[nodiscard]] Rules frames_out(const Context& context);
[[nodiscard]] std::vector<model::Chain> frame_chains(const Context& context);
[[nodiscard]] std::vector<model::Set> frame_sets_of(const Context& context);
/// Names that a link may appear with: the kernel's own first names, and those that links had before. Never one that an
/// interface has now, and none that the tunnel, a trusted interface or a router's LAN may have.
[[nodiscard]] std::vector<std::string> expected_devices(const model::World& world);
/// The base chains that lead every frame that leaves one of `devices` to the chain `frames`.
[[nodiscard]] std::vector<model::Chain> egress_chains(const model::KernelFeatures& kernel,
                                                      const std::vector<std::string>& devices);

/// The table that stands at the egress of every link: packet sockets, bridges, macvlan and whatever else never meets
/// the hooks of IP packets.
[[nodiscard]] model::Table egress_table(const Context& context);

}  // namespace killswitch::decide
