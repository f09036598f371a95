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

bool needs_server_query(const model::Profile& profile, const std::vector<std::string>& options) {
  const bool names_servers = std::any_of(options.begin(), options.end(), [](const std::string& word) {
    return word == "--remote" || word == "--config" || word == "--connection";
  });
  const auto is_numeric = [](const model::Remote& remote) { return model::parse_ip_address(remote.host).has_value(); };
  return names_servers || profile.remote_random_hostname ||
         (!profile.via_proxy && !std::all_of(profile.remotes.begin(), profile.remotes.end(), is_numeric));
}

std::vector<std::string> openvpn_command(const OpenVpnCommand& command) {
  std::vector<std::string> words = {"openvpn", "--config", command.profile};
  words.insert(words.end(), command.options.begin(), command.options.end());
  // The last of several values of an option counts, so that the user's cannot take OpenVPN off the kill switch.
  const std::vector<std::string> own = {
      "--management",      command.management_socket, "unix",   "--management-client",
      "--management-hold", "--management-up-down",    "--mark", std::to_string(command.mark)};
  words.insert(words.end(), own.begin(), own.end());
  if (command.queries_servers) {
    words.emplace_back("--management-query-remote");
  }
  return words;
}

}  // namespace killswitch::app
