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
  /// There while enabled, beside the settings: tells a state file that was lost from one that never was.
  [[nodiscard]] std::string enabled_marker() const { return configuration_directory + "/enabled"; }
  /// There once the early lock of this boot was verified in the kernel.
  [[nodiscard]] std::string boot_lock_file() const { return runtime_directory + "/boot-lock"; }
  /// What was changed about names, and what was there before.
  [[nodiscard]] std::string dns_journal() const { return state_directory + "/dns.json"; }
  [[nodiscard]] std::string lock_file() const { return runtime_directory + "/killswitchd.lock"; }
  [[nodiscard]] std::string management_socket() const { return runtime_directory + "/openvpn.sock"; }
};

[[nodiscard]] Paths paths_from_environment();

}  // namespace killswitch::app
