// enable, disable, connect: the commands that change whether the machine is locked.
#include "commands.hpp"
#include "killswitch/app/offline.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/codec/status_text.hpp"
#include "killswitch/serve/client.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>

namespace killswitch::app {
namespace {

using namespace model;

constexpr const char* no_daemon_advice =
    "Start it with `systemctl start killswitchd`, or do without it: the same command with --offline.";

std::optional<SavedState> known_state(const Paths& paths) {
  auto state = load_state(paths);
  return state ? std::move(*state) : std::nullopt;
}

void say_what_is_pinned(const Enrolment& enrolment) {
  for (const auto& warning : enrolment.warnings) {
    print_note("warning: " + warning);
  }
  for (const auto& pinned : enrolment.settings.remotes) {
    std::vector<std::string> addresses;
    for (const auto& endpoint : endpoints_of({pinned})) {
      addresses.push_back(to_string(endpoint.address));
    }
    if (addresses.empty()) {
      print_note(fmt::format("warning: {}: nothing pinned: {}", to_string(pinned.remote), pinned.failure));
    } else {
      print_note(fmt::format("pinned   {} = {}", to_string(pinned.remote), fmt::join(addresses, ", ")));
    }
  }
}

Result<std::string> call_daemon(const std::function<Result<std::string>(serve::Client&)>& request) {
  auto loop = os::EventLoop::create();
  if (!loop) {
    return fail(loop.error());
  }
  auto client = serve::Client::connect(*loop);
  if (!client) {
    return fail(client.error());
  }
  return request(*client);
}

bool is_daemon_missing(const Error& error) {
  return error.code == serve::ClientError::bus_unreachable || error.code == serve::ClientError::daemon_not_running;
}

int report_call(const Error& error) {
  return report(error, is_daemon_missing(error) ? no_daemon_advice : "");
}

Result<std::string> enable(const Paths& paths, const EnableCommand& command) {
  auto enrolment =
      enrol(command.request, paths, known_state(paths), [](const std::string& step) { print_note(step + " …"); });
  if (!enrolment) {
    return fail(enrolment.error());
  }
  say_what_is_pinned(*enrolment);
  if (command.offline) {
    const auto status = enable_offline(paths, enrolment->settings);
    if (!status) {
      return fail(status.error());
    }
    return codec::render_status_json(*status);
  }
  const auto settings = codec::render_settings(enrolment->settings);
  return call_daemon([&](serve::Client& client) { return client.enable(settings); });
}

}  // namespace

int run_enable(const Paths& paths, const EnableCommand& command) {
  if (!require_root("enable")) {
    return exit_not_permitted;
  }
  const auto status = enable(paths, command);
  return status ? print_status(*status, command.output) : report_call(status.error());
}

int run_disable(const Paths& paths, const DisableCommand& command) {
  if (!require_root("disable")) {
    return exit_not_permitted;
  }
  if (command.offline) {
    if (const auto opened = disable_offline(paths); !opened) {
      return report(opened.error());
    }
    const auto status = status_offline(paths);
    return status ? print_status(codec::render_status_json(*status), command.output) : report(status.error());
  }
  const auto status = call_daemon([](serve::Client& client) { return client.disable(); });
  return status ? print_status(*status, command.output) : report_call(status.error());
}

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

/// Locks the machine for this profile unless it is locked for it already.
Outcome ensure_enabled(const Paths& paths, const ConnectCommand& command) {
  const auto status = current_status();
  if (!status) {
    return fail(status.error());
  }
  const auto known = known_state(paths);
  const bool enabled = status->state != State::disabled;
  EnableCommand enabling;
  enabling.request.profiles = {command.profile};
  if (!command.policy.empty()) {
    enabling.request.policy = command.policy;
  }
  if (enabled && command.policy.empty() && known) {
    Enrolment wanted;
    auto enrolment = enrol(enabling.request, paths, known, [](const std::string&) {});
    if (!enrolment) {
      return fail(enrolment.error());
    }
    if (covers(known->settings, enrolment->settings)) {
      return done();
    }
    enrolment->settings.policy = known->settings.policy;
    say_what_is_pinned(*enrolment);
    const auto settings = codec::render_settings(enrolment->settings);
    const auto answer = call_daemon([&](serve::Client& client) { return client.enable(settings); });
    return answer ? done() : Outcome{fail(answer.error())};
  }
  const auto answer = enable(paths, enabling);
  return answer ? done() : Outcome{fail(answer.error())};
}

std::vector<std::string> openvpn_arguments(const Paths& paths, const ConnectCommand& command, const Policy& policy) {
  std::vector<std::string> arguments = {"openvpn", "--config", command.profile};
  arguments.insert(arguments.end(), command.openvpn_options.begin(), command.openvpn_options.end());
  // Ours come last, so that nothing before can take OpenVPN off the kill switch.
  for (const auto& word :
       {std::string{"--management"}, paths.management_socket(), std::string{"unix"}, std::string{"--management-client"},
        std::string{"--management-hold"}, std::string{"--management-query-remote"}, std::string{"--management-up-down"},
        std::string{"--mark"}, std::to_string(policy.transport_mark)}) {
    arguments.push_back(word);
  }
  return arguments;
}

}  // namespace

int run_connect(const Paths& paths, const ConnectCommand& command) {
  if (!require_root("connect")) {
    return exit_not_permitted;
  }
  if (const auto locked = ensure_enabled(paths, command); !locked) {
    return report_call(locked.error());
  }
  const auto known = known_state(paths);
  auto arguments = openvpn_arguments(paths, command, known ? known->settings.policy : Policy{});
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
