#include "killswitch/app/connect_arguments.hpp"

#include <algorithm>

namespace killswitch::app {

DividedCommandLine divide_command_line(const std::vector<std::string>& words) {
  if (words.empty() || words.front() != "connect") {
    return {words, {}};
  }
  const auto separator = std::find(words.begin(), words.end(), "--");
  DividedCommandLine divided{{words.begin(), separator}, {}};
  if (separator != words.end()) {
    divided.openvpn.assign(separator + 1, words.end());
  }
  return divided;
}

std::vector<std::string> openvpn_command(const std::string& profile, const std::vector<std::string>& options,
                                         const std::string& management_socket, std::uint32_t mark) {
  std::vector<std::string> command = {"openvpn", "--config", profile};
  command.insert(command.end(), options.begin(), options.end());
  // The last of several values of an option counts, so that the user's cannot take OpenVPN off the kill switch.
  const std::vector<std::string> own = {"--management",
                                        management_socket,
                                        "unix",
                                        "--management-client",
                                        "--management-hold",
                                        "--management-query-remote",
                                        "--management-up-down",
                                        "--mark",
                                        std::to_string(mark)};
  command.insert(command.end(), own.begin(), own.end());
  return command;
}

}  // namespace killswitch::app
