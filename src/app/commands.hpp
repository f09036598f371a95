// The subcommands of `killswitch`. Each prints for people (or JSON with --json) and returns the exit status.
#pragma once

#include "killswitch/app/enrolment.hpp"
#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"

#include <string>
#include <vector>

namespace killswitch::app {

/// Part of the command's contract.
enum ExitStatus : int { exit_done = 0, exit_failed = 1, exit_usage = 2, exit_disabled = 3, exit_not_permitted = 4 };

enum class Output { text, json };

struct EnableCommand {
  EnrolmentRequest request;
  bool offline{false};
  Output output{Output::text};
};
[[nodiscard]] int run_enable(const Paths& paths, const EnableCommand& command);

struct DisableCommand {
  bool offline{false};
  Output output{Output::text};
};
[[nodiscard]] int run_disable(const Paths& paths, const DisableCommand& command);

struct StatusCommand {
  bool watch{false};
  Output output{Output::text};
};
[[nodiscard]] int run_status(const Paths& paths, const StatusCommand& command);

[[nodiscard]] int run_rules(const Paths& paths, Output output);

[[nodiscard]] int run_test(const Paths& paths, Output output);

/// @param packet in the grammar of codec/packet_text.hpp
[[nodiscard]] int run_explain(const std::string& packet, Output output);

struct ConnectCommand {
  std::string profile;
  std::string policy;
  std::vector<std::string> openvpn_options;
};
[[nodiscard]] int run_connect(const Paths& paths, const ConnectCommand& command);

[[nodiscard]] int run_policy_list(const Paths& paths, Output output);
[[nodiscard]] int run_policy_show(const Paths& paths, const std::string& name_or_file);
[[nodiscard]] int run_policy_check(const std::string& file);

// Shared by them.
/// Says what failed on standard error and gives the exit status that belongs to it.
[[nodiscard]] int report(const Error& error, const std::string& advice = {});
/// The status as JSON: the daemon's word, or, without a daemon, what the kernel and the state file say.
[[nodiscard]] Result<std::string> ask_status(const Paths& paths);
[[nodiscard]] int print_status(const std::string& status_json, Output output);
[[nodiscard]] bool require_root(const char* command);
void print(const std::string& text);
void print_note(const std::string& text);  ///< standard error

}  // namespace killswitch::app
