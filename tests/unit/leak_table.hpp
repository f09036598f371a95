// What must pass and what must not, told by hand from the guarantees: packet by packet, hook by hook, for each shipped
// policy. Written independently of the rules (it knows no rule), so that a rule that goes missing is noticed.
#pragma once

#include "killswitch/model/packet.hpp"
#include "killswitch/model/world.hpp"

#include <string>
#include <vector>

namespace killswitch::test {

/// One packet at one hook, and what must become of it there. Every hook must refuse by itself.
struct Row {
  std::string name;
  model::Packet packet;
  bool passes{false};
  std::string counter;  ///< under which the refusal counts; empty: not asked
};

/// A laptop with Wi-Fi, a tunnel, a bridge of guests, a LAN (br-lan), and a server in the local network besides those
/// of the profile.
[[nodiscard]] model::World table_world(const model::Policy& policy);
/// The same before the tunnel stands, with an OpenVPN that is known by its user alone.
[[nodiscard]] model::World table_world_blocked(const model::Policy& policy);

[[nodiscard]] std::vector<Row> leak_table(const model::World& world);

/// Packets of this host into the tunnel, as nearly all are: any protocol, no question for names.
[[nodiscard]] std::vector<Row> tunnel_traffic();

}  // namespace killswitch::test
