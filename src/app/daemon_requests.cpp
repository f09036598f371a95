// What the daemon does for others: D-Bus requests and the passwords that OpenVPN asks for.
#include "killswitch/app/clock.hpp"
#include "killswitch/app/daemon.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/codec/duration.hpp"
#include "killswitch/codec/nft_text.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/dns_owner.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/os/log.hpp"

#include <fmt/format.h>
#include <utility>

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using namespace model;

// A boot has no bus for a while: that is tried often and not worth a line in the journal.
constexpr auto first_bus_retry = 200ms;
constexpr auto bus_retry_delay = 2s;
constexpr int patient_bus_attempts = 100;

/// Something of this machine went wrong, as opposed to the request being bad.
Failure failed(std::string what) {
  return fail(Error{std::make_error_code(std::errc::io_error), std::move(what)});
}

}  // namespace

void Daemon::connect_bus() {
  auto bus = os::Bus::connect_system(loop_, [this](const Error& error) {
    os::log(os::LogLevel::warning, error.message());
    suspend_.reset();
    waiting_for_names_.clear();
    manager_.reset();
    use_bus(nullptr);
    bus_.reset();
    connect_bus();
  });
  std::string problem;
  if (bus) {
    bus_.emplace(std::move(*bus));
    auto manager = serve::Manager::start(*bus_, handlers(), announced_);
    if (manager) {
      manager_.emplace(std::move(*manager));
      bus_problem_.clear();
      bus_attempts_ = 0;
      watch_suspend();
      use_bus(&*bus_);
      return;
    }
    problem = manager.error().message();
    bus_.reset();
  } else {
    problem = bus.error().message();
  }
  // No bus is normal early in a boot and in a container; the lock does not need it.
  const bool patient = ++bus_attempts_ < patient_bus_attempts;
  if (!patient && problem != bus_problem_) {
    os::log(os::LogLevel::warning, fmt::format("not on the bus yet: {}", problem));
    bus_problem_ = std::move(problem);
  }
  if (auto timer = loop_.after(patient ? first_bus_retry : bus_retry_delay, [this] { connect_bus(); })) {
    bus_retry_ = std::move(*timer);
  }
}

void Daemon::watch_suspend() {
  auto watch = sense::SuspendWatch::start(*bus_, [this] {
    links_->resync();
    post(Resumed{});
  });
  if (!watch) {
    os::log(os::LogLevel::warning, watch.error().message());
    return;
  }
  suspend_.emplace(std::move(*watch));
}

serve::Handlers Daemon::handlers() {
  serve::Handlers handlers;
  handlers.enable = [this](const serve::EnableCall& call) { return enable(call); };
  handlers.confirm = [this] { return confirm(); };
  handlers.disable = [this](const serve::Answer& answer) { disable(answer); };
  handlers.status = [this] { return Result<std::string>{status_json()}; };
  handlers.resync = [this] { return resync(); };
  handlers.rules = [this] { return Result<std::string>{applied_ ? codec::render_nft_text(*applied_) : std::string{}}; };
  return handlers;
}

namespace {

/// What a caller who is not root may not have done with root's rights: a management socket is connected to by us, and
/// its password file read and sent there.
Outcome check_caller(const Settings& settings, serve::Caller caller) {
  if (caller != serve::Caller::root && settings.management) {
    return fail("settings: /management: only root may name a management socket and a password file: use sudo");
  }
  return done();
}

Outcome check_trial(const std::optional<std::chrono::seconds>& trial) {
  if (trial && (*trial < shortest_trial || *trial > longest_trial)) {
    return fail(fmt::format("a trial lasts from {} to {}, not {}", codec::render_duration(shortest_trial),
                            codec::render_duration(longest_trial), codec::render_duration(*trial)));
  }
  return done();
}

}  // namespace

Outcome Daemon::save_ahead(const EnableRequested& request) {
  auto ahead = world_;
  [[maybe_unused]] const auto effects = decide::step(ahead, request, wall_clock());
  const auto state = decide::to_save(ahead);
  if (!state) {
    return failed("the state file cannot be used");
  }
  auto text = codec::render_state(*state);
  if (const auto again = codec::parse_state(text, "state"); !again) {
    return fail(again.error().within("the settings are too large to be kept"));
  }
  if (!request.trial) {
    return done();  // saved after the lock: whoever locks for good prefers a lock that is forgotten at a reboot to none
  }
  if (const auto saved = save_state(paths_, *state); !saved) {
    return failed(saved.error().message() + "; without it a trial could not revert after a crash. Nothing was changed");
  }
  saved_ = std::move(text);
  return done();
}

Result<std::string> Daemon::enable(const serve::EnableCall& call) {
  if (world_.switched_off) {
    return failed("this machine was booted with killswitch=off on the kernel's command line: reboot without it first");
  }
  auto settings = codec::parse_settings(call.settings_json, "settings");
  if (!settings) {
    return fail(settings.error());
  }
  EnableRequested request{std::move(*settings)};
  if (call.trial) {
    request.trial = TrialRequest{*call.trial, now_on_both_clocks()};
  }
  for (const auto& checked : {check_caller(request.settings, call.caller), check_trial(call.trial)}) {
    if (!checked) {
      return fail(checked.error());
    }
  }
  if (auto saved = save_ahead(request); !saved) {
    return fail(saved.error());
  }
  post(std::move(request));
  applied_.reset();
  reconcile();
  openvpn_->connect_to(world_.settings.management);
  if (!world_.firewall_error.empty()) {
    return failed("the lock could not be put into the kernel, it is tried again: " + world_.firewall_error);
  }
  if (!world_.state_error.empty()) {
    return failed("the machine is locked, but " + world_.state_error);
  }
  return status_json();
}

Result<std::string> Daemon::confirm() {
  if (!world_.trial) {
    return failed(world_.enabled ? "there is no trial to confirm: the lock stays as it is"
                                 : "there is no trial to confirm: the machine is open (was the trial over already?)");
  }
  post(TrialConfirmed{});
  reconcile();
  if (!world_.state_error.empty()) {
    return failed("confirmed, but " + world_.state_error);
  }
  return status_json();
}

void Daemon::disable(const serve::Answer& answer) {
  post(DisableRequested{});
  reconcile();
  openvpn_->connect_to({});
  if (!world_.firewall_error.empty()) {
    return answer(failed("the machine is still locked: " + world_.firewall_error));
  }
  if (!world_.state_error.empty()) {
    return answer(failed("the machine is open, but " + world_.state_error));
  }
  waiting_for_names_.push_back(answer);
  answer_disabled();
}

void Daemon::answer_disabled() {
  if (waiting_for_names_.empty() || decide::gives_names_back(world_)) {
    return;
  }
  const auto result = world_.enabled      ? failed("the kill switch was enabled again meanwhile")
                      : world_.dns.engaged ? failed("the machine is open, but names are not all given back: " +
                                                    world_.dns.error + ". It is tried again")
                                           : Result<std::string>{status_json()};
  for (const auto& answer : std::exchange(waiting_for_names_, {})) {
    answer(result);
  }
}

Result<std::string> Daemon::resync() {
  links_->resync();
  names_->look();
  networkmanager_->look();
  reconcile();
  return status_json();
}

std::string Daemon::status_json() {
  if (world_.enabled && applied_) {
    // What is said is what the kernel holds now, not what it held then; a difference is repaired by the way. What the
    // kernel has told already comes first, so that a cause is not taken for tampering that nobody saw.
    catch_up();
    reconcile();
    [[maybe_unused]] const bool verified = applied_ && observe();
    reconcile();
  }
  return codec::render_status_json(decide::describe(world_));
}

void Daemon::announce() {
  const auto status = decide::describe(world_);
  serve::Summary summary{std::string{to_string(status.state)}, status.policy, status.enforced};
  if (summary == announced_) {
    return;
  }
  announced_ = std::move(summary);
  os::log(os::LogLevel::info,
          fmt::format("{}{}", announced_.state, status.reasons.empty() ? "" : ": " + status.reasons.front()));
  if (auto told = os::notify_status(announced_.state); !told) {
    os::log(os::LogLevel::debug, told.error().message());
  }
  if (!manager_) {
    return;
  }
  if (auto told = manager_->announce(announced_, codec::render_status_json(status)); !told) {
    os::log(os::LogLevel::debug, told.error().message());
  }
}

void Daemon::ask_password(const AskPassword& request) {
  if (!request.username) {
    ask_secret(request);
    return;
  }
  sense::Question question{fmt::format("User name for OpenVPN ({}):", request.realm), sense::Question::Echo::yes};
  const auto asked = questions_->ask(std::move(question), [this, request](const Result<std::string>& name) {
    auto line = name ? codec::encode_username(request.realm, *name) : fail(name.error());
    if (!line) {
      os::log(os::LogLevel::warning, line.error().within("OpenVPN gets no user name").message());
      return;
    }
    send(request.connection, std::move(*line));
    ask_secret(request);
  });
  if (!asked) {
    os::log(os::LogLevel::warning, asked.error().message());
  }
}

void Daemon::ask_secret(const AskPassword& request) {
  sense::Question question{fmt::format("Password for OpenVPN ({}):", request.realm), sense::Question::Echo::no};
  const auto asked = questions_->ask(std::move(question), [this, request](const Result<std::string>& secret) {
    auto line = secret ? codec::encode_password(request.realm, *secret) : fail(secret.error());
    if (!line) {
      os::log(os::LogLevel::warning, line.error().within("OpenVPN gets no password").message());
      return;
    }
    send(request.connection, std::move(*line));  // wiped once it is sent
  });
  if (!asked) {
    os::log(os::LogLevel::warning, asked.error().message());
  }
}

}  // namespace killswitch::app
