// connect: locks the machine if it is not locked for the profile yet, and becomes OpenVPN.
#include "commands.hpp"
#include "killswitch/app/connect_arguments.hpp"
#include "killswitch/codec/profile.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/os/files.hpp"

#include <unistd.h>
#include <algorithm>
#include <cerrno>

namespace killswitch::app {

using namespace model;

namespace {

/// Whether what is enabled already has an address for every server of the profile.
bool covers(const Settings& enabled, const Settings& wanted) {
  return std::all_of(wanted.remotes.begin(), wanted.remotes.end(), [&](const PinnedRemote& remote) {
    return std::any_of(enabled.remotes.begin(), enabled.remotes.end(), [&](const PinnedRemote& pinned) {
      return pinned.remote == remote.remote && !pinned.addresses.empty();
    });
  });
}

Result<Status> current_status() {
  const auto text = call_daemon([](serve::Client& client) { return client.status(); });
  if (!text) {
    return fail(text.error());
  }
  return codec::parse_status_json(*text, "status");
}

/// What to enable for this profile; nothing: the machine is locked for it already.
Result<std::optional<Enrolment>> wanted(const Paths& paths, const ConnectCommand& command, bool enabled) {
  const auto known = known_state(paths);
  EnrolmentRequest request;
  request.profiles = {command.profile};
  if (!command.policy.empty()) {
    request.policy = command.policy;
  }
  const bool keeps_policy = enabled && command.policy.empty() && known;
  auto enrolment = enrol(request, paths, known, [&](const std::string& step) {
    if (!keeps_policy) {
      print_note(step + " …");
    }
  });
  if (!enrolment) {
    return fail(enrolment.error());
  }
  if (keeps_policy) {
    if (covers(known->settings, enrolment->settings)) {
      return std::optional<Enrolment>{};
    }
    enrolment->settings.policy = known->settings.policy;
  }
  return std::optional{std::move(*enrolment)};
}

/// Locks the machine for this profile unless it is locked for it already.
/// @return exit_done, or what to end with
int ensure_enabled(const Paths& paths, const ConnectCommand& command) {
  const auto status = current_status();
  if (!status) {
    return report_call(status.error());
  }
  const auto enrolment = wanted(paths, command, status->state != State::disabled);
  if (!enrolment) {
    return report(enrolment.error());
  }
  if (!*enrolment) {
    return exit_done;
  }
  say_what_is_pinned(**enrolment);
  if (!may_lock_from_here(paths, (*enrolment)->settings, command.yes)) {
    return exit_failed;
  }
  const auto settings = codec::render_settings((*enrolment)->settings);
  const auto answer = call_daemon([&](serve::Client& client) { return client.enable(settings); });
  return answer ? exit_done : report_call(answer.error());
}

/// A profile that cannot be read here is OpenVPN's to complain about.
bool queries_servers(const ConnectCommand& command) {
  const auto text = os::read_file(command.profile);
  const auto profile =
      text ? codec::parse_profile(*text, command.profile, [](const std::string& path) { return os::read_file(path); })
           : fail(text.error());
  return !profile || needs_server_query(*profile, command.openvpn_options);
}

}  // namespace

int run_connect(const Paths& paths, const ConnectCommand& command) {
  if (!require_root("connect")) {
    return exit_not_permitted;
  }
  if (const int failed = ensure_enabled(paths, command); failed != exit_done) {
    return failed;
  }
  const auto known = known_state(paths);
  const auto policy = known ? known->settings.policy : Policy{};
  auto arguments = openvpn_command({command.profile, command.openvpn_options, paths.management_socket(),
                                    policy.transport_mark, queries_servers(command)});
  std::vector<char*> words;
  for (auto& argument : arguments) {
    words.push_back(argument.data());
  }
  words.push_back(nullptr);
  ::execvp(words.front(), words.data());
  return report(Error{std::error_code{errno, std::system_category()}, "start openvpn"},
                "The machine is locked. Install it with `apt install openvpn`, or open the machine with "
                "`killswitch disable`.");
}

}  // namespace killswitch::app
