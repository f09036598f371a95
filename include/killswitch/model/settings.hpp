// What the user asked for: the argument of `enable`, kept in the state file until `disable`.
#pragma once

#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/policy.hpp"
#include "killswitch/model/profile.hpp"
#include "killswitch/model/tunnel.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

struct Settings {
  Policy policy;                               ///< whole, so that a boot needs no other file
  std::vector<PinnedRemote> remotes;           ///< empty: learned from OpenVPN over the management socket
  std::vector<std::uint32_t> transport_users;  ///< uids besides root that OpenVPN may run as
  std::optional<std::uint32_t> profile_mark;   ///< `mark` of the profile; instead of the policy's
  bool via_proxy{false};                       ///< `remotes` are those of an HTTP or SOCKS proxy
  std::string interface;  ///< the tunnel's name when OpenVPN runs without management; empty: not said
  std::optional<ManagementAddress> management;  ///< where OpenVPN listens; nothing: it connects to us or not at all
  bool operator==(const Settings&) const = default;
};

/// The state file. A file that cannot be read means enabled with no settings: everything is refused.
struct SavedState {
  bool enabled{true};
  std::chrono::sys_seconds since{};
  Settings settings;
  std::optional<TrustedTunnel> tunnel;
  bool operator==(const SavedState&) const = default;
};

}  // namespace killswitch::model
