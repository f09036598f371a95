// Where the program's files are. systemd's variables move directories; nothing in the environment relaxes a rule.
#pragma once

#include <string>

namespace killswitch::app {

struct Paths {
  std::string state_directory;          ///< $STATE_DIRECTORY or /var/lib/killswitch
  std::string runtime_directory;        ///< $RUNTIME_DIRECTORY or /run/killswitch
  std::string configuration_directory;  ///< $CONFIGURATION_DIRECTORY or /etc/killswitch
  std::string data_directory;           ///< where the package put its policies and snippets

  [[nodiscard]] std::string state_file() const { return state_directory + "/state.json"; }
  [[nodiscard]] std::string lock_file() const { return runtime_directory + "/killswitchd.lock"; }
  [[nodiscard]] std::string management_socket() const { return runtime_directory + "/openvpn.sock"; }
};

[[nodiscard]] Paths paths_from_environment();

}  // namespace killswitch::app
