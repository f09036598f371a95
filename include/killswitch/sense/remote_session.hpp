// Is this command given from afar? Answered from the processes above this one, because sudo and su take the session's
// environment away, and an environment can be emptied, but sshd stays our ancestor with its connection open.
#pragma once

#include "killswitch/model/remote_session.hpp"

#include <optional>

namespace killswitch::sense {

/// The session that this process, or the nearest ancestor with one, belongs to. What may not be read is passed over.
[[nodiscard]] std::optional<model::RemoteSession> find_remote_session();

}  // namespace killswitch::sense
