// Whose sockets are the transport's, and which interface is therefore the tunnel: what the kernel shows of a process is
// judged here. A name, a user ID or an address proves nothing; see model/transport.hpp for the facts.
#pragma once

#include "killswitch/model/transport.hpp"
#include "killswitch/model/tunnel.hpp"
#include "killswitch/model/world.hpp"

#include <optional>
#include <string>
#include <vector>

namespace killswitch::decide {

/// OpenVPN 2 and 3 where distributions install them, then what the policy and the user added.
[[nodiscard]] std::vector<model::TransportProgram> transport_programs(const model::World& world);

/// Exactly one of the two is not empty.
struct Judgement {
  std::string program;  ///< path of the trusted program that the process runs
  std::string refusal;  ///< why it does not count, in words
};

/// A process is proven when its executable is the file of a trusted program, in the daemon's network namespace, and no
/// unprivileged user has it in hand: it is root's or holds CAP_NET_ADMIN in the daemon's user namespace, or runs as the
/// system user that the program's entry names, and no process traces it.
[[nodiscard]] Judgement judge_process(const model::ProcessFacts& process,
                                      const std::vector<model::ProgramFile>& programs);

/// What the prover is to look for; nothing while disabled.
[[nodiscard]] std::optional<model::TransportSearch> transport_search(const model::World& world);

/// The interface of a tunnel kind that a proven process holds, where that process (or a proven helper that was named
/// for it) sends to a pinned server. Guided OpenVPN announces its interface itself and is left out.
[[nodiscard]] std::optional<model::TrustedTunnel> match_process_tunnel(const model::World& world);

/// A proven process sends to a server that is pinned.
[[nodiscard]] bool is_transport_at_work(const model::World& world);

/// Proven processes that send to a pinned server, in words: "openvpn (pid 4711, /usr/sbin/openvpn), marked".
[[nodiscard]] std::string describe_transport(const model::World& world);

}  // namespace killswitch::decide
