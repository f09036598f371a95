// The subcommands of `killswitch`. Each prints for people (or JSON with --json) and returns the exit status.
#pragma once

#include "killswitch/app/enrolment.hpp"
#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"
#include "killswitch/model/link.hpp"
#include "killswitch/serve/client.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::app {

/// Part of the command's contract.
enum ExitStatus : int { exit_done = 0, exit_failed = 1, exit_usage = 2, exit_disabled = 3, exit_not_permitted = 4 };

enum class Output { text, json };

struct EnableCommand {
  EnrolmentRequest request;
  std::string trial;  ///< "60s"; empty: until `disable`
  bool yes{false};    ///< also when it cuts the session that it is given in
  bool offline{false};
  Output output{Output::text};
};
[[nodiscard]] int run_enable(const Paths& paths, const EnableCommand& command);

[[nodiscard]] int run_confirm(Output output);

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

struct BlockedCommand {
  bool follow{false};
  Output output{Output::text};
};
[[nodiscard]] int run_blocked(const Paths& paths, const BlockedCommand& command);

struct ConnectCommand {
  std::string profile;
  std::string policy;
  bool yes{false};  ///< as in EnableCommand
  std::vector<std::string> openvpn_options;
};
[[nodiscard]] int run_connect(const Paths& paths, const ConnectCommand& command);

struct HookCommand {
  std::string interface;
  std::string action;  ///< of NetworkManager-dispatcher(8); one that is unknown is ignored
};
[[nodiscard]] int run_hook(const Paths& paths, const HookCommand& command);

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
/// One request to the daemon.
[[nodiscard]] Result<std::string> call_daemon(const std::function<Result<std::string>(serve::Client&)>& request);
/// As `report`, with what to do when there is no daemon.
[[nodiscard]] int report_call(const Error& error);
/// What the state file says, as far as it can be read.
[[nodiscard]] std::optional<model::SavedState> known_state(const Paths& paths);
[[nodiscard]] Result<model::Links> current_links();
void say_what_is_pinned(const Enrolment& enrolment);
/// Enabling from afar may cut the very session: warns, and asks where somebody can answer.
/// @param agreed `--yes`, or a trial, which reverts by itself
/// @return whether to go on
[[nodiscard]] bool may_lock_from_here(const Paths& paths, const model::Settings& settings, bool agreed);
void print(const std::string& text);
void print_note(const std::string& text);  ///< standard error

}  // namespace killswitch::app
