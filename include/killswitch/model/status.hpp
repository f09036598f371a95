// What `killswitch status` says. Field names are those of the JSON contract (policies/status.schema.json).
#pragma once

#include "killswitch/model/kernel.hpp"
#include "killswitch/model/settings.hpp"
#include "killswitch/model/tunnel.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

enum class State : std::uint8_t { disabled, blocked, connecting, protected_ };
[[nodiscard]] std::string_view to_string(State state);

struct TunnelStatus {
  std::string interface;
  bool up{false};
  std::vector<InterfaceAddress> addresses;
  std::string server_host;  ///< as the profile names it; empty: unknown
  std::optional<Endpoint> server;
  TunnelSource source{TunnelSource::management};
  bool operator==(const TunnelStatus&) const = default;
};

/// The lock is on trial (`enable --try`).
struct TrialStatus {
  std::chrono::sys_seconds until{};
  bool reverts_to_enabled{false};  ///< to the settings before; else to disabled
  std::string policy;              ///< of these settings
  bool operator==(const TrialStatus&) const = default;
};

struct Status {
  State state{State::blocked};
  bool enforced{false};  ///< the kernel was read and held exactly what was computed
  std::chrono::sys_seconds since{};
  std::string policy;
  std::vector<std::string> reasons;  ///< why not protected
  std::vector<std::string> warnings;
  std::vector<std::string> next;     ///< what to do now, commands first
  std::optional<TrialStatus> trial;  ///< nothing: what is in force stays
  bool switched_off{false};          ///< booted with `killswitch=off`
  bool boot_lock{false};             ///< this boot was locked before the network
  std::optional<TunnelStatus> tunnel;
  std::vector<PinnedRemote> servers;
  std::string transport;             ///< which process carries the tunnel and how it was proven, in words
  std::vector<std::string> open;     ///< what may leave outside the tunnel at this moment, in words
  std::vector<IpAddress> resolvers;  ///< the only ones that may be asked in the tunnel
  std::string dns_backend;           ///< who is told of them, joined by '+'; "none": resolv.conf is not managed
  bool dns_applied{false};           ///< names were seen to be asked for there and nowhere else
  std::vector<std::string> search_domains;
  std::vector<std::string> dns_reasons;  ///< why this backend, which resolvers were refused, what does not hold
  std::uint64_t dns_foreign_writes{0};   ///< changes by other programs that were undone
  std::chrono::sys_seconds dns_last_foreign_write{};  ///< of the last of them; zero: none
  std::string ipv6;                                   ///< "tunnelled" or "refused"
  std::map<std::string, CounterValue> blocked;        ///< by class: dns, ipv6, lan, forwarded, inbound, other, impostor
  Ownership ownership{Ownership::none};
  bool egress_hook{false};
  Tampering tampering;
  bool operator==(const Status&) const = default;
};

}  // namespace killswitch::model
