// What the daemon is asked to do besides keeping the ruleset right. Effects are carried out after the ruleset
// that belongs to them is in the kernel: tighten first, loosen last.
#pragma once

#include "killswitch/model/dns.hpp"
#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/host_route.hpp"
#include "killswitch/model/management.hpp"

#include <chrono>
#include <string>
#include <variant>
#include <vector>

namespace killswitch::model {

struct SubscribeManagement {
  management::ConnectionId connection;
};  ///< state notifications on, current state asked
struct ReleaseHold {
  management::ConnectionId connection;
};
struct UseRemote {
  management::ConnectionId connection;
  IpAddress address;
  Port port;
};  ///< remote MOD
struct AcceptRemote {
  management::ConnectionId connection;
};  ///< remote ACCEPT
struct SkipRemote {
  management::ConnectionId connection;
};  ///< remote SKIP
struct RestartOpenVpn {
  management::ConnectionId connection;
};  ///< SIGUSR1: it asks anew what it had asked a daemon that is gone
struct AskPassword {
  management::ConnectionId connection;
  std::string realm;
  bool username{false};
};
struct SendChannelPassword {
  management::ConnectionId connection;
};
struct SaveState {};
/// Look at the clock again after this time, suspend included.
struct WakeForTrial {
  std::chrono::seconds after{};
};
/// Names are to be asked for as `setup` says; what was there before is kept first.
struct ApplyDns {
  DnsSetup setup;
  std::vector<DnsBackend> tell;  ///< those of the setup's that are not as they should be
  DnsFacts before;
};
/// What was there before is put back.
struct RestoreDns {};
/// The host route of ours: `before` goes, `after` comes. HostRouteChanged says how it went.
struct ChangeHostRoute {
  std::optional<HostRoute> before;
  std::optional<HostRoute> after;
};
struct LogLine {
  enum class Level : std::uint8_t { info, warning, error } level{Level::info};
  std::string text;
};

using Effect =
    std::variant<SubscribeManagement, ReleaseHold, UseRemote, AcceptRemote, SkipRemote, RestartOpenVpn, AskPassword,
                 SendChannelPassword, SaveState, WakeForTrial, ApplyDns, RestoreDns, ChangeHostRoute, LogLine>;

}  // namespace killswitch::model
