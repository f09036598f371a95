#include "killswitch/app/daemon.hpp"

#include "killswitch/app/clock.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/decide/transport.hpp"
#include "killswitch/enforce/flows.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/log.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using namespace model;

constexpr auto first_retry = 100ms;
constexpr auto last_retry = 5000ms;
constexpr const char* firewall_descriptor = "nft";  // its name in the service manager's store

void complain(const Outcome& outcome) {
  if (!outcome) {
    os::log(os::LogLevel::warning, outcome.error().message());
  }
}

os::LogLevel level_of(LogLine::Level level) {
  switch (level) {
    case LogLine::Level::info: return os::LogLevel::info;
    case LogLine::Level::warning: return os::LogLevel::warning;
    case LogLine::Level::error: return os::LogLevel::error;
  }
  return os::LogLevel::info;
}

Result<os::Fd> take_lock(const Paths& paths) {
  if (auto made = os::ensure_directory(paths.runtime_directory, 0755); !made) {
    return fail(made.error());
  }
  auto lock = os::try_lock(paths.lock_file());
  if (!lock) {
    return fail(lock.error());
  }
  if (!*lock) {
    return fail(fmt::format("another killswitchd is running: {} is locked", paths.lock_file()));
  }
  return std::move(**lock);
}

/// The socket that an earlier process owned the tables with, so that they are never without an owner; else a new one.
Result<enforce::Firewall> open_firewall(std::vector<os::NamedFd>& stored) {
  for (auto& entry : stored) {
    if (entry.name == firewall_descriptor) {
      auto adopted = enforce::Firewall::adopt(std::move(entry.fd));
      if (adopted) {
        return adopted;
      }
      os::log(os::LogLevel::warning, adopted.error().message());
      complain(os::forget_fd(firewall_descriptor));  // useless to the next process as well
    }
  }
  return enforce::Firewall::open();
}

}  // namespace

Daemon::Daemon(os::EventLoop& loop, Paths paths, os::Fd lock, enforce::Firewall firewall,
               std::vector<os::NamedFd> stored)
    : loop_{loop},
      paths_{std::move(paths)},
      lock_{std::move(lock)},
      firewall_{std::move(firewall)},
      stored_{std::move(stored)},
      prover_{loop, [this](Event event) { post(std::move(event)); }} {}

Result<std::unique_ptr<Daemon>> Daemon::create(os::EventLoop& loop, Paths paths) {
  auto lock = take_lock(paths);
  if (!lock) {
    return fail(lock.error());
  }
  auto stored = os::take_stored_fds();
  auto firewall = open_firewall(stored);
  if (!firewall) {
    return fail(firewall.error());
  }
  return std::unique_ptr<Daemon>{
      new Daemon{loop, std::move(paths), std::move(*lock), std::move(*firewall), std::move(stored)}};
}

Outcome Daemon::start() {
  post(KernelProbed{firewall_.features()});
  if (os::read_file(paths_.boot_lock_file())) {
    post(BootLockNoted{});
  }
  watch_ruleset();  // before anything is read: what changes afterwards is told
  restore_state();
  post(TrialTime{now_on_both_clocks()});  // a trial that is over reverts before anything else
  take_up_routes();
  start_prover();  // before the interfaces are known: what holds the tunnel must be known by then
  auto links = sense::LinkSensor::start(loop_, [this](Event event) {
    route_stale_ = true;
    post(std::move(event));
  });
  reconcile();  // with or without the interfaces: what is not known is refused
  if (!links) {
    return fail(links.error());
  }
  links_.emplace(std::move(*links));
  complain(os::store_fd(firewall_descriptor, firewall_.fd()));
  start_openvpn_sensor();
  start_names();
  watch_networkmanager();
  auto server_names = sense::ServerNameSensor::start(loop_, [this](Event event) { post(std::move(event)); });
  if (server_names) {
    server_names_ = std::move(*server_names);
  } else {
    complain(fail(server_names.error()));  // servers are then known by the addresses that were pinned
  }

  // A wake-up that brought no fact (another program changed its own tables) changes nothing.
  auto drained = loop_.when_drained([this] {
    if (!queue_.empty()) {
      reconcile();
    }
  });
  if (!drained) {
    return fail(drained.error());
  }
  sources_.push_back(std::move(*drained));
  watch_state_file();
  reconcile();
  connect_bus();
  if (!bus_) {
    use_bus(nullptr);
  }
  return done();
}

void Daemon::watch_ruleset() {
  auto watch = sense::RulesetWatch::start(loop_, firewall_.port_id(), [this](Event event) {
    if (std::holds_alternative<RulesetTouched>(event)) {
      firewall_.distrust();
    }
    post(std::move(event));
  });
  if (!watch) {
    // Owned tables do not need it, and every status reads the kernel.
    os::log(os::LogLevel::warning, watch.error().message());
    return;
  }
  ruleset_watch_.emplace(std::move(*watch));
}

void Daemon::catch_up() {
  if (links_) {
    links_->catch_up();
  }
  if (ruleset_watch_) {
    ruleset_watch_->catch_up();
  }
}

void Daemon::start_prover() {
  prover_.start();
  for (auto& kept : stored_) {
    if (kept.fd) {
      prover_.adopt(kept);
    }
  }
  prover_.search(decide::transport_search(world_));
}

void Daemon::start_openvpn_sensor() {
  questions_.emplace(loop_);
  openvpn_.emplace(loop_, [this](Event event) { on_openvpn(std::move(event)); });
  adopting_ = true;
  for (auto& entry : stored_) {
    if (entry.fd) {
      complain(openvpn_->adopt(entry.name, std::move(entry.fd)));
    }
  }
  adopting_ = false;
  stored_.clear();
  complain(openvpn_->listen(paths_.management_socket()));
  for (const auto& [name, fd] : openvpn_->descriptors()) {
    complain(os::store_fd(name, fd));
  }
  openvpn_->connect_to(world_.settings.management);
}

void Daemon::on_openvpn(Event event) {
  // The kernel told about an interface before OpenVPN did; facts are taken in that order.
  links_->catch_up();
  if (auto* opened = std::get_if<ManagementOpened>(&event)) {
    opened->adopted = adopting_;
    const auto wanted = sense::OpenVpnSensor::descriptor_name(opened->connection);
    for (const auto& [name, fd] : openvpn_->descriptors()) {
      if (name == wanted) {
        complain(os::store_fd(name, fd));
      }
    }
  }
  if (const auto* closed = std::get_if<ManagementClosed>(&event)) {
    complain(os::forget_fd(sense::OpenVpnSensor::descriptor_name(closed->connection)));
  }
  post(std::move(event));
}

std::vector<Effect> Daemon::drain_queue() {
  std::vector<Effect> effects;
  while (!queue_.empty()) {
    const Event event = std::move(queue_.front());
    queue_.pop_front();
    for (auto& effect : decide::step(world_, event, wall_clock())) {
      effects.push_back(std::move(effect));
    }
  }
  return effects;
}

void Daemon::reconcile() {
  // What was observed may have consequences of its own (a hold to release): go on until nothing new comes.
  do {
    auto effects = drain_queue();
    enforce();
    for (auto& effect : drain_queue()) {
      effects.push_back(std::move(effect));
    }
    // What is remembered waits for the disk; names and OpenVPN need not wait for that.
    std::stable_partition(effects.begin(), effects.end(),
                          [](const Effect& effect) { return !std::holds_alternative<SaveState>(effect); });
    for (const auto& effect : effects) {
      perform(effect);
    }
    look_at_route();
    prover_.search(decide::transport_search(world_));
  } while (!queue_.empty());
  retry_names_later();
  retry_route_later();
  plan_question();
  if (networkmanager_) {
    watch_networkmanager();  // those of the settings that are in force now
  }
  announce();
  answer_disabled();
}

void Daemon::enforce() {
  if (world_.enabled) {
    enforce_enabled();
  } else {
    enforce_disabled();
  }
}

void Daemon::enforce_enabled() {
  survivors_ = survivors_ || removed_;
  removed_ = false;
  auto audited = decide::compile_audited(world_);
  if (applied_ == audited.ruleset && decide::is_verified(world_)) {
    return;
  }
  if (world_.violations != audited.violations) {
    post(RulesetRefused{audited.violations});
  }
  applied_ = std::move(audited.ruleset);
  // Twice: when something else is found than was thought to be there, everything is replaced at once.
  if (!apply_and_observe() && !apply_and_observe()) {
    applied_.reset();
    retry_later();
    return;
  }
  retry_delay_ = 0ms;
  retry_ = {};
  if (std::exchange(survivors_, false)) {
    cut_survivors();
  }
}

void Daemon::cut_survivors() {
  const auto report = enforce::cut_flows(decide::transport_endpoints(world_));
  os::log(os::LogLevel::info, to_string(report));
  for (const auto& problem : report.problems) {
    os::log(os::LogLevel::warning, problem);
  }
}

bool Daemon::apply_and_observe() {
  if (const auto applied = firewall_.apply(*applied_); !applied) {
    post(FirewallFailed{applied.error()});
    return false;
  }
  return observe();
}

void Daemon::enforce_disabled() {
  if (removed_) {
    return;
  }
  applied_.reset();
  if (const auto removed = firewall_.remove(); !removed) {
    post(FirewallFailed{removed.error()});
    retry_later();
    return;
  }
  removed_ = true;
  post(FirewallObserved{});
}

void Daemon::plan_question() {
  const auto due = server_names_ ? decide::next_question(world_) : std::nullopt;
  if (due == question_due_) {
    return;
  }
  question_due_ = due;
  question_ = {};
  if (!due) {
    return;
  }
  const auto delay = std::max<std::chrono::seconds>(*due - wall_clock(), 0s);
  auto timer = loop_.after(delay, [this] {
    question_due_.reset();
    server_names_->ask(decide::names_in_question(world_));
    post(ServerNamesAsked{});
    reconcile();
  });
  if (timer) {
    question_ = std::move(*timer);
  }
}

bool Daemon::observe() {
  auto observation = firewall_.read_back(*applied_);
  if (!observation) {
    post(FirewallFailed{observation.error()});
    return false;
  }
  const bool verified = observation->present && observation->differences.empty();
  post(FirewallObserved{std::move(*observation)});
  return verified;
}

void Daemon::retry_later() {
  retry_delay_ = retry_delay_ == 0ms ? first_retry : std::min(retry_delay_ * 2, last_retry);
  auto timer = loop_.after(retry_delay_, [this] {
    applied_.reset();  // whatever the kernel holds, it is replaced as a whole
    reconcile();
  });
  if (timer) {
    retry_ = std::move(*timer);
  }
}

namespace {

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace

void Daemon::perform(const Effect& effect) {
  std::visit(Overloaded{
                 [this](const SubscribeManagement& e) {
                   send(e.connection, codec::encode_state_on());
                   send(e.connection, codec::encode_state());
                 },
                 [this](const ReleaseHold& e) { send(e.connection, codec::encode_hold_release()); },
                 [this](const UseRemote& e) { send(e.connection, codec::encode_remote_mod(e.address, e.port)); },
                 [this](const AcceptRemote& e) { send(e.connection, codec::encode_remote_accept()); },
                 [this](const SkipRemote& e) { send(e.connection, codec::encode_remote_skip()); },
                 [this](const RestartOpenVpn& e) { send(e.connection, codec::encode_restart()); },
                 [this](const AskPassword& e) { ask_password(e); },
                 [this](const SendChannelPassword& e) { complain(openvpn_->send_channel_password(e.connection)); },
                 [this](const SaveState&) { save(); },
                 [this](const WakeForTrial& e) { wake_for_trial(e.after); },
                 [this](ApplyDns e) {
                   e.before.resolv_conf = names_->resolv_conf_now();  // what is given back is what was there last
                   dns_->apply(e);
                 },
                 [this](const RestoreDns&) { dns_->restore(); },
                 [this](const ChangeHostRoute& e) { change_route(e); },
                 [](const LogLine& e) { os::log(level_of(e.level), e.text); },
             },
             effect);
}

void Daemon::send(management::ConnectionId connection, std::string line) {
  // A connection that closed meanwhile says so by its own event.
  if (auto sent = openvpn_->send(connection, std::move(line)); !sent) {
    os::log(os::LogLevel::debug, sent.error().message());
  }
}

}  // namespace killswitch::app
