// enable, confirm, disable: the commands that change whether the machine is locked.
#include "commands.hpp"
#include "killswitch/app/offline.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/codec/duration.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/serve/client.hpp"
#include "text_agent.hpp"

#include <fmt/format.h>

namespace killswitch::app {
namespace {

using namespace model;

constexpr const char* no_daemon_advice =
    "Start it with `systemctl start killswitchd`, or do without it: `sudo killswitch enable|disable --offline`.";

}  // namespace

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

int report_call(const Error& error) {
  const bool missing = error.code == serve::ClientError::bus_unreachable ||
                       error.code == serve::ClientError::daemon_not_running ||
                       error.code == serve::ClientError::no_answer;
  return report(error, missing ? no_daemon_advice : "");
}

namespace {

/// Nothing: the user does not want it after all.
using Answer = std::optional<std::string>;

Result<Answer> enable(const Paths& paths, const EnableCommand& command, std::optional<std::chrono::seconds> trial) {
  auto enrolment =
      enrol(command.request, paths, known_state(paths), [](const std::string& step) { print_note(step + " …"); });
  if (!enrolment) {
    return fail(enrolment.error());
  }
  say_what_is_pinned(*enrolment);
  if (!may_lock_from_here(paths, enrolment->settings, command.yes || trial)) {
    return Answer{};
  }
  if (command.offline) {
    const auto status = enable_offline(paths, enrolment->settings);
    return status ? Result<Answer>{Answer{codec::render_status_json(*status)}} : fail(status.error());
  }
  const auto settings = codec::render_settings(enrolment->settings);
  const TextAgent agent;
  const auto status = call_daemon([&](serve::Client& client) { return client.enable(settings, trial); });
  return status ? Result<Answer>{Answer{*status}} : fail(status.error());
}

}  // namespace

int run_enable(const Paths& paths, const EnableCommand& command) {
  std::optional<std::chrono::seconds> trial;
  if (!command.trial.empty()) {
    const auto duration = codec::parse_duration(command.trial, shortest_trial, longest_trial);
    if (!duration) {
      print_note("killswitch: --try: " + duration.error().message());
      return exit_usage;
    }
    trial = *duration;
  }
  if (command.offline && !require_root("enable --offline")) {
    return exit_not_permitted;
  }
  const auto status = enable(paths, command, trial);
  if (!status) {
    return report_call(status.error());
  }
  if (!*status) {
    return exit_failed;
  }
  const int exit = print_status(**status, command.output);
  if (trial) {
    print_note(fmt::format("On trial for {}: `killswitch confirm` keeps it, else what was before comes back.",
                           codec::render_duration(*trial)));
  }
  return exit;
}

int run_confirm(Output output) {
  const TextAgent agent;
  const auto status = call_daemon([](serve::Client& client) { return client.confirm(); });
  return status ? print_status(*status, output) : report_call(status.error());
}

namespace {

int disable_without_daemon(const Paths& paths, Output output) {
  if (!require_root("disable --offline")) {
    return exit_not_permitted;
  }
  const auto opened = disable_offline(paths);
  if (!opened) {
    return report(opened.error(), "The machine is still locked.");
  }
  const auto status = status_offline(paths);
  const int exit =
      status ? print_status(codec::render_status_json(*status), output) : report(status.error().within("status"));
  if (opened->unsaved.empty()) {
    return exit;
  }
  print_note("killswitch: the machine is open, but it locks again at the next boot or start of killswitchd: " +
             opened->unsaved);
  print_note(fmt::format("            Make {} writable and repeat the command, or boot with killswitch=off.",
                         paths.state_directory));
  return exit_failed;
}

}  // namespace

int run_disable(const Paths& paths, const DisableCommand& command) {
  if (command.offline) {
    return disable_without_daemon(paths, command.output);
  }
  const TextAgent agent;
  const auto status = call_daemon([](serve::Client& client) { return client.disable(); });
  return status ? print_status(*status, command.output) : report_call(status.error());
}

}  // namespace killswitch::app
