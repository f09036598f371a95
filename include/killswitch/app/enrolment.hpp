// From what the user gave (`--config`, `--server`, `--policy`, …) to the settings that the daemon gets. Reads files,
// asks NetworkManager and the resolver, so it belongs before the lock.
#pragma once

#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"
#include "killswitch/model/settings.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::app {

struct EnrolmentRequest {
  std::vector<std::string> profiles;            ///< .ovpn files
  std::vector<std::string> servers;             ///< HOST:PORT/udp
  std::vector<std::string> networkmanager;      ///< VPN connections of NetworkManager, by name or UUID
  std::vector<std::string> transport_programs;  ///< PATH or PATH:USER of helpers that carry OpenVPN
  std::string policy{"laptop"};
  std::string interface;  ///< the only interface that may be the tunnel; empty: any
};

struct Enrolment {
  model::Settings settings;
  std::vector<std::string> warnings;
};

/// @param known what is enabled now: its addresses are used for a name that does not resolve (the machine may be
/// locked)
/// @param progress told before each thing that may take long
[[nodiscard]] Result<Enrolment> enrol(const EnrolmentRequest& request, const Paths& paths,
                                      const std::optional<model::SavedState>& known,
                                      const std::function<void(const std::string&)>& progress);

}  // namespace killswitch::app
