// Command lines of `killswitch connect`: which words are its own, which are OpenVPN's, and the command line that
// OpenVPN is executed with. Pure functions; app/command_connect.cpp executes the result.
#pragma once

#include "killswitch/model/profile.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace killswitch::app {

/// The words of a command line without the program's name, divided at the first `--` of `killswitch connect`.
struct DividedCommandLine {
  std::vector<std::string> own;      ///< for the parser of `killswitch`
  std::vector<std::string> openvpn;  ///< what follows `--`, unchanged; empty for every other subcommand
  bool operator==(const DividedCommandLine&) const = default;
};

/// Divides before CLI11 parses: its versions disagree about `--`, and 2.1 hands it on among the positional words.
/// @param words the command line without the program's name
[[nodiscard]] DividedCommandLine divide_command_line(const std::vector<std::string>& words);

/// Whether OpenVPN has to ask killswitchd which address a server has. Each question costs it a second, however fast the
/// answer is, and servers that are numeric, or behind a proxy, need none.
/// @param options of the user, for OpenVPN; they can name servers of their own
/// @source OpenVPN 2.6 src/openvpn/init.c, ce_management_query_remote(); measured
[[nodiscard]] bool needs_server_query(const model::Profile& profile, const std::vector<std::string>& options);

struct OpenVpnCommand {
  std::string profile;               ///< file
  std::vector<std::string> options;  ///< of the user, for OpenVPN; those of the kill switch follow them and win
  std::string management_socket;     ///< path of the Unix socket that killswitchd listens at
  std::uint32_t mark{0};             ///< SO_MARK of the packets that carry the tunnel
  bool queries_servers{true};        ///< see needs_server_query
};
/// @return the words to execute, the program's name first
[[nodiscard]] std::vector<std::string> openvpn_command(const OpenVpnCommand& command);

}  // namespace killswitch::app
