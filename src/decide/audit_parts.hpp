// Parts of the audit that more than one of its files needs. Private to this folder.
#pragma once

#include "killswitch/model/packet.hpp"
#include "killswitch/model/world.hpp"

#include <optional>
#include <string>
#include <vector>

namespace killswitch::decide {

using Violations = std::vector<std::string>;

struct Probe {
  std::string leak;
  model::Packet packet;
};

/// An interface that packets must not use as they like: a link, a router's LAN, or one that nobody has told us of.
struct WayOut {
  model::IfIndex index;
  std::string name;
  std::string kind;
  model::LinkClass link_class{model::LinkClass::link};
};

inline constexpr model::IfIndex unknown_interface{0x7fffffff};

/// Of TCP with `port`, a connection request.
[[nodiscard]] model::Packet packet_to(const model::IpAddress& destination, std::uint8_t protocol,
                                      std::optional<std::uint16_t> port);

/// Told from the policy itself, not from rules: whether `packet` of this host may leave by `way` besides upkeep and
/// the transport.
[[nodiscard]] bool may_leave(const model::World& world, const WayOut& way, const model::Packet& packet);

/// The same for `packet` of another computer: whether what the policy names, or the transport, lets it in by `way`.
[[nodiscard]] bool may_enter(const model::World& world, const WayOut& way, const model::Packet& packet);

/// One packet to each side of every allowance of the policy.
[[nodiscard]] std::vector<Probe> allowance_probes(const model::World& world);

/// What must not come in by a link: connection requests and questions, but for what the policy names.
void check_input(const model::Ruleset& ruleset, const model::World& world, const std::vector<WayOut>& ways,
                 Violations& found);

/// Nothing is forwarded to a link, and to a LAN only what the tunnel brings; names are asked in the tunnel of its
/// resolvers alone.
void check_forwarding(const model::Ruleset& ruleset, const model::World& world, const std::vector<WayOut>& ways,
                      Violations& found);

/// What stands right beside what must pass: upkeep, the transport, the tunnel and answers with one thing about them
/// that is not so.
void check_edges(const model::Ruleset& ruleset, const model::World& world, const std::vector<WayOut>& ways,
                 Violations& found);

}  // namespace killswitch::decide
