// What NetworkManager has saved for a VPN connection. Private to this folder.
#pragma once

#include "killswitch/model/networkmanager.hpp"
#include "killswitch/os/bus.hpp"

#include <string>
#include <vector>

namespace killswitch::sense {

inline constexpr const char* nm_settings_path = "/org/freedesktop/NetworkManager/Settings";
inline constexpr const char* nm_settings = "org.freedesktop.NetworkManager.Settings";
inline constexpr const char* nm_settings_connection = "org.freedesktop.NetworkManager.Settings.Connection";

struct SavedVpn {
  std::string uuid;
  std::string id;
  std::vector<model::Remote> remotes;
  std::string unusable;  ///< why there are no remotes
};

/// @param settings the answer of GetSettings: a{sa{sv}}
[[nodiscard]] SavedVpn saved_vpn_of(const os::BusValue& settings);

[[nodiscard]] os::BusCall get_settings(std::string service, std::string path);

}  // namespace killswitch::sense
