// Would locking the machine cut the session over which it is locked?
#pragma once

#include "killswitch/model/remote_session.hpp"
#include "killswitch/model/world.hpp"

#include <optional>
#include <string>

namespace killswitch::decide {

struct CutSession {
  std::string interface;  ///< over which it comes; empty: unknown
  bool operator==(const CutSession&) const = default;
};

/// Asks the ruleset itself: a packet of the session, and its answer, through what `locked` compiles to.
/// @param locked the world as it will be
/// @return nothing when both pass, or when the session does not leave this machine
[[nodiscard]] std::optional<CutSession> session_cut_by(const model::World& locked, const model::RemoteSession& session);

}  // namespace killswitch::decide
