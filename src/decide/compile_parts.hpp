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

/// The conclusions from a world that the rules are made of.
struct Context {
  const model::World& world;
  const model::Policy& policy;
  std::vector<model::Endpoint> endpoints;
  std::vector<std::uint32_t> users;
  std::optional<model::TrustedTunnel> tunnel;
  std::string tunnel_kind;
  std::vector<model::IfIndex> internal;
  std::vector<std::string> egress_devices;  ///< names of all links, sorted
};

/// Where a rule stands: at the hooks of IP packets, or at egress, where frames of every kind pass.
enum class Layer : std::uint8_t { packets, frames };

/// The encrypted transport, outwards: who sends it, and the exact address, protocol and port of the server.
[[nodiscard]] Rules transport_out(const Context& context, Layer layer);
/// Answers of the transport, and ICMP errors that quote a packet of it (path MTU).
[[nodiscard]] Rules transport_in();
[[nodiscard]] Rules upkeep_out(const model::Policy& policy, Layer layer);
[[nodiscard]] Rules upkeep_in(const model::Policy& policy);

[[nodiscard]] std::vector<model::Set> sets_of(const Context& context);
/// Those that the frames at egress are looked up in.
[[nodiscard]] std::vector<model::Set> egress_sets_of(const Context& context);

/// The table that stands at the egress of every link: packet sockets, bridges, macvlan and whatever else never meets
/// the hooks of IP packets.
[[nodiscard]] model::Table egress_table(const Context& context);

}  // namespace killswitch::decide
