// The facts that the daemon knows. `decide::compile` and `decide::describe` see nothing else.
#pragma once

#include "killswitch/model/dns.hpp"
#include "killswitch/model/host_route.hpp"
#include "killswitch/model/kernel.hpp"
#include "killswitch/model/link.hpp"
#include "killswitch/model/management.hpp"
#include "killswitch/model/networkmanager.hpp"
#include "killswitch/model/settings.hpp"
#include "killswitch/model/transport.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

struct ManagementPeer {
  management::Direction direction{management::Direction::openvpn_connected};
  std::uint32_t pid{0};  ///< of OpenVPN, as the kernel says of the unix socket; 0: not known
  std::string state;     ///< last >STATE: name; empty: none yet
  std::string detail;
  bool holding{false};                                ///< OpenVPN waits for its release
  bool adopted{false};                                ///< kept over our restart; what it had asked before is lost
  std::optional<management::RemoteQuery> unanswered;  ///< OpenVPN waits until a server is known
  std::map<std::string, std::uint32_t> attempts;      ///< per queried remote: how many addresses were handed out
  std::optional<IpAddress> server;                    ///< the address that it was told to use last
  bool operator==(const ManagementPeer&) const = default;
};

/// Booted with `killswitch=off`: nothing is enforced until the next boot, whatever the state file says.
struct SwitchedOff {
  std::optional<SavedState> state;  ///< what the file says, and goes on to say; nothing: it is no good or not there
  bool operator==(const SwitchedOff&) const = default;
};

/// Questions for the names of servers that the daemon had asked aloud.
struct NameQuestions {
  std::chrono::sys_seconds asked_at{};
  std::uint32_t in_vain{0};  ///< so often since something was learned or the network changed
  bool operator==(const NameQuestions&) const = default;
};

struct World {
  bool enabled{true};  ///< until the state file says otherwise
  std::chrono::sys_seconds since{};
  Settings settings;
  std::optional<Trial> trial;
  std::optional<SwitchedOff> switched_off;
  bool boot_lock{false};  ///< the early lock of this boot was seen in the kernel before the network

  Links links;
  bool links_known{false};
  std::vector<std::string> past_links;  ///< names that links had, latest last; not those of tunnels and guests
  std::map<management::ConnectionId, ManagementPeer> peers;
  std::optional<management::ConnectionId> reporter;  ///< whose announcement `report` is; nothing: from before a restart
  std::optional<TunnelReport> report;                ///< what OpenVPN announced last and did not take back
  std::optional<TrustedTunnel> trusted;  ///< `report` matched with a link; renewed by decide::step after every event
  std::vector<Endpoint> learned;         ///< numeric remotes that OpenVPN named over the root-only socket
  std::vector<PinnedRemote> asked_for;   ///< remotes with a name that it asked for there while none were set
  TransportWorld transport;
  NetworkManagerWorld networkmanager;
  NameQuestions names;

  DnsWorld dns;
  RouteWorld route;

  KernelFeatures kernel;
  std::optional<Observation> observation;  ///< nothing: the kernel was not read since the last change
  Tampering tampering;
  std::chrono::sys_seconds tampering_said{};  ///< when the journal was told last
  std::string firewall_error;                 ///< of the last apply; empty: it went well
  std::vector<std::string> violations;  ///< why the computed ruleset was replaced by the strictest; empty: it was not
  std::string state_error;              ///< of the state file; empty: none
  std::string openvpn_error;            ///< last thing OpenVPN complained about; empty: none
  bool operator==(const World&) const = default;
};

}  // namespace killswitch::model
