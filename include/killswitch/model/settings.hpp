// What the user asked for: the argument of `enable`, kept in the state file until `disable`.
#pragma once

#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/networkmanager.hpp"
#include "killswitch/model/policy.hpp"
#include "killswitch/model/profile.hpp"
#include "killswitch/model/transport.hpp"
#include "killswitch/model/tunnel.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

struct Settings {
  Policy policy;                                     ///< whole, so that a boot needs no other file
  std::vector<PinnedRemote> remotes;                 ///< empty: learned from OpenVPN over the management socket
  std::vector<TransportProgram> transport_programs;  ///< trusted besides OpenVPN's own: helpers that carry it (stunnel)
  std::optional<std::uint32_t> profile_mark;         ///< `mark` of the profile; instead of the policy's
  bool via_proxy{false};                             ///< `remotes` are those of an HTTP or SOCKS proxy
  std::string interface;                             ///< only an interface of this name may be the tunnel; empty: any
  std::optional<ManagementAddress> management;    ///< where OpenVPN listens; nothing: it connects to us or not at all
  std::vector<NetworkManagerVpn> networkmanager;  ///< VPN connections of NetworkManager; `remotes` holds theirs as well
  bool operator==(const Settings&) const = default;
};

/// Now, on two clocks: people set the one, nobody the other.
struct Moment {
  std::chrono::sys_seconds wall{};
  std::string boot;               ///< random name of this boot of the kernel
  std::chrono::seconds uptime{};  ///< since boot, suspend included
  bool operator==(const Moment&) const = default;
};

/// `enable --try`: the lock reverts to what was before unless it is confirmed in time. Within one boot `uptime` counts;
/// over a reboot the wall clock does, and never for longer than was asked for.
struct Trial {
  std::chrono::seconds duration{};  ///< as asked for
  std::chrono::sys_seconds until{};
  std::string boot;  ///< in which `uptime_until` counts
  std::chrono::seconds uptime_until{};
  std::optional<Settings> before;  ///< nothing: disabled
  bool operator==(const Trial&) const = default;
};

inline constexpr std::chrono::seconds shortest_trial{5};
inline constexpr std::chrono::seconds longest_trial{86400};

/// The state file. A file that cannot be read means enabled with no settings: everything is refused.
struct SavedState {
  bool enabled{true};
  std::chrono::sys_seconds since{};
  Settings settings;
  std::optional<TrustedTunnel> tunnel;
  std::optional<Trial> trial;
  bool operator==(const SavedState&) const = default;
};

}  // namespace killswitch::model
