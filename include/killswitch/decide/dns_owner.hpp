// Who owns DNS on this machine, and whether what is found is what was asked for. Pure: facts in, plan out.
#pragma once

#include "killswitch/model/world.hpp"

#include <string>
#include <vector>

namespace killswitch::decide {

struct DnsPlan {
  std::vector<model::DnsBackend> backends;  ///< in the order in which they are to be told
  std::vector<std::string> reasons;         ///< for people: what was found, and what follows from it
  bool operator==(const DnsPlan&) const = default;
};

/// Who is to be told of the tunnel's resolvers.
/// @param unfit services that were told and did not do it
[[nodiscard]] DnsPlan plan_dns(const model::DnsFacts& facts, const std::vector<model::DnsBackend>& unfit = {});

/// What in `facts` is not as `setup` wants it, in words; empty: names are asked for there and nowhere else.
[[nodiscard]] std::string dns_difference(const model::DnsFacts& facts, const model::DnsSetup& setup);

/// What NetworkManager's global slot holds when `setup` is in force.
[[nodiscard]] model::GlobalDns global_dns(const model::DnsSetup& setup);

/// What is wanted now; nothing: there is no tunnel, or no resolver is known in it.
[[nodiscard]] std::optional<model::DnsSetup> wanted_dns(const model::World& world);

/// The machine is open, and what was changed for names is being given back: neither done nor given up for now.
[[nodiscard]] bool gives_names_back(const model::World& world);

/// Names are asked for in the tunnel only, or the tunnel has no resolver that there could be a setup of (G13).
[[nodiscard]] bool is_dns_confirmed(const model::World& world);

}  // namespace killswitch::decide
