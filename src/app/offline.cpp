#include "killswitch/app/offline.hpp"

#include "killswitch/app/boot_switch.hpp"
#include "killswitch/app/clock.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/enforce/dns.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "killswitch/enforce/flows.hpp"
#include "killswitch/enforce/host_route.hpp"
#include "killswitch/os/borrow_socket.hpp"
#include "killswitch/os/bus.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/log.hpp"
#include "killswitch/serve/client.hpp"
#include "offline_parts.hpp"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <functional>
#include <thread>

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using namespace model;

constexpr auto daemon_patience = 5s;
constexpr auto repair_patience = 1s;
constexpr auto look_again = 10ms;

/// Holds the daemon's lock while we do its work; nothing when a daemon runs.
Result<std::optional<os::Fd>> stand_in(const Paths& paths) {
  if (auto made = os::ensure_directory(paths.runtime_directory, 0755); !made) {
    return fail(made.error());
  }
  return os::try_lock(paths.lock_file());
}

/// The daemon was told through the state file; wait until the kernel shows that it acted.
Outcome wait_for_daemon(const std::function<bool(const Observation&)>& is_done, const char* what) {
  auto firewall = enforce::Firewall::open();
  if (!firewall) {
    return fail(firewall.error());
  }
  const auto deadline = std::chrono::steady_clock::now() + daemon_patience;
  while (std::chrono::steady_clock::now() < deadline) {
    const auto observation = firewall->read();
    if (observation && is_done(*observation)) {
      return done();
    }
    std::this_thread::sleep_for(look_again);
  }
  return fail(
      fmt::format("killswitchd runs but did not {} within {} s. Stop it (`systemctl stop killswitchd`, or end "
                  "its process) and repeat the command",
                  what, daemon_patience.count()));
}

/// The firewall with the right to change our tables, whoever owns them: the socket that owns them is borrowed from the
/// process that keeps it, the service manager for a dead daemon. Ours to do: this is root, and was told to.
Result<enforce::Firewall> open_firewall_of_owner() {
  auto firewall = enforce::Firewall::open();
  if (!firewall) {
    return firewall;
  }
  const auto owner = firewall->foreign_owner();
  if (!owner) {
    return fail(owner.error());
  }
  if (!*owner) {
    return firewall;
  }
  auto socket = os::borrow_netlink_socket(NETLINK_NETFILTER, **owner);
  if (!socket) {
    return fail(socket.error().within(
        "another socket owns the tables. `systemctl stop killswitchd` (and from systemd 254 on `systemctl clean "
        "--what=fdstore killswitchd`) lets go of it; then repeat the command"));
  }
  return enforce::Firewall::adopt(std::move(*socket));
}

Result<Status> lock_now(const Paths& paths, const Settings& settings) {
  auto firewall = open_firewall_of_owner();
  if (!firewall) {
    return fail(firewall.error());
  }
  auto world = look_around(*firewall, World{});
  if (!world) {
    return fail(world.error());
  }
  [[maybe_unused]] const auto effects = decide::step(*world, EnableRequested{settings}, wall_clock());
  world->since = wall_clock();
  const auto audited = decide::compile_audited(*world);
  world->violations = audited.violations;
  const auto before = firewall->read();
  if (const auto applied = firewall->apply(audited.ruleset); !applied) {
    return fail(applied.error());
  }
  auto observation = firewall->read_back(audited.ruleset);
  if (!observation) {
    return fail(observation.error());
  }
  world->observation = std::move(*observation);
  if (auto saved = save_state(paths, *decide::to_save(*world)); !saved) {
    return fail(saved.error().within("the machine is locked, but would not be after a reboot"));
  }
  auto status = decide::describe(*world);
  if (status.enforced && before && !before->present) {
    const auto cut = enforce::cut_flows(decide::transport_endpoints(*world));
    os::log(os::LogLevel::info, to_string(cut));
    status.warnings.insert(status.warnings.end(), cut.problems.begin(), cut.problems.end());
  }
  return status;
}

Outcome save_disabled(const Paths& paths) {
  SavedState state;
  state.enabled = false;
  state.since = wall_clock();
  return save_state(paths, state);
}

/// Routes and names as they were. Files at once; services where there is a bus, and what they keep on disk where there
/// is none.
Outcome give_back(const Paths& paths) {
  const auto routes = enforce::remove_host_routes();
  auto loop = os::EventLoop::create();
  if (!loop) {
    return fail(loop.error());
  }
  auto bus = os::Bus::connect_system(*loop, [](const Error&) {});
  auto restored = enforce::restore_dns({paths.dns_journal()}, bus ? &*bus : nullptr);
  if (!restored) {
    return fail(restored.error().within("the machine is open, but names are not all given back"));
  }
  return routes ? routes : fail(routes.error().within("the machine is open, but a route of ours may stand"));
}

}  // namespace

Result<Status> enable_offline(const Paths& paths, const Settings& settings) {
  if (switched_off_at_boot()) {
    return fail("this machine was booted with killswitch=off on the kernel's command line: reboot without it first");
  }
  auto lock = stand_in(paths);
  if (!lock) {
    return fail(lock.error());
  }
  if (*lock) {
    return lock_now(paths, settings);
  }
  SavedState state;
  state.since = wall_clock();
  state.settings = settings;
  if (auto saved = save_state(paths, state); !saved) {
    return fail(saved.error());
  }
  const auto holds_lock = [](const Observation& seen) {
    return seen.present && decide::audit_structure(seen.ruleset).empty();
  };
  if (auto acted = wait_for_daemon(holds_lock, "lock the machine"); !acted) {
    return fail(acted.error());
  }
  return status_offline(paths);
}

namespace {

Outcome take_tables_away() {
  auto firewall = open_firewall_of_owner();
  return firewall ? firewall->remove() : Outcome{fail(firewall.error())};
}

bool kernel_is_empty(const Observation& seen) {
  return !seen.present;
}

void ask_over_bus() {
  auto loop = os::EventLoop::create();
  auto client = loop ? serve::Client::connect(*loop) : Result<serve::Client>{fail(loop.error())};
  if (client) {
    // It says that it failed: it cannot write the file either. What it did is seen in the kernel.
    [[maybe_unused]] const auto answer = client->disable();
  }
}

/// Nobody puts the tables back. A daemon that is alive would, within milliseconds.
Outcome expect_open() {
  auto firewall = enforce::Firewall::open();
  if (!firewall) {
    return fail(firewall.error());
  }
  const auto deadline = std::chrono::steady_clock::now() + repair_patience;
  while (std::chrono::steady_clock::now() < deadline) {
    const auto observation = firewall->read();
    if (!observation || observation->present) {
      return fail(
          "killswitchd runs, cannot be told, and locks again: `systemctl stop killswitchd` (or end its process) "
          "and repeat the command");
    }
    std::this_thread::sleep_for(look_again);
  }
  return done();
}

/// A daemon may run, and whatever we do it would put right. It is told through the state file, else over the bus. One
/// that does not act hangs: it cannot put anything right either, and finds the file when it goes on.
Result<Opened> open_beside_daemon(const Paths& paths) {
  const auto saved = save_disabled(paths);
  if (saved && wait_for_daemon(kernel_is_empty, "open the machine")) {
    return Opened{};
  }
  if (!saved) {
    ask_over_bus();
  }
  // Nothing to take away is no error.
  for (const auto& outcome : {take_tables_away(), expect_open(), give_back(paths)}) {
    if (!outcome) {
      return fail(outcome.error());
    }
  }
  return Opened{saved ? std::string{} : saved.error().message()};
}

}  // namespace

Result<Opened> disable_offline(const Paths& paths) {
  const auto lock = stand_in(paths);
  if (!lock || !*lock) {
    return open_beside_daemon(paths);  // also when it cannot be known
  }
  // In this order: a crash in between leaves a machine that is still said to be enabled, never the reverse.
  if (auto removed = take_tables_away(); !removed) {
    return fail(removed.error());
  }
  const auto saved = save_disabled(paths);
  if (const auto given = give_back(paths); !given) {
    return fail(given.error());
  }
  return Opened{saved ? std::string{} : saved.error().message()};
}

Result<Status> status_offline(const Paths& paths) {
  auto firewall = enforce::Firewall::open();
  if (!firewall) {
    return fail(firewall.error());
  }
  auto observation = firewall->read();
  if (!observation) {
    return fail(observation.error());
  }
  const auto state = load_state(paths);
  World world = state && *state ? decide::restore(**state) : World{};
  if (switched_off_at_boot() && !observation->present) {
    [[maybe_unused]] const auto effects =
        decide::step(world, SwitchedOffAtBoot{state ? *state : std::nullopt}, wall_clock());
  } else {
    world.enabled = observation->present || asks_for_lock(state);
  }
  if (!state) {
    world.state_error = state.error().message();
  }
  world.kernel = firewall->features();
  world.boot_lock = os::read_file(paths.boot_lock_file()).has_value();
  world.links_known = true;
  // Nobody computed a ruleset to compare with: what can be judged is whether the one in the kernel is closed at its
  // ends. The tunnel that it lets through may or may not stand; without a daemon nobody knows.
  if (observation->present) {
    for (auto& violation : decide::audit_structure(observation->ruleset)) {
      observation->differences.push_back(std::move(violation));
    }
  }
  world.trusted.reset();
  world.report.reset();
  world.observation = std::move(*observation);
  auto status = decide::describe(world);
  // Closed at its ends is less than equal to what was computed: without a daemon nothing was.
  status.enforced = false;
  if (world.enabled) {
    const auto lock = stand_in(paths);
    const bool daemon_dead = lock && *lock;
    status.reasons.insert(status.reasons.begin(),
                          daemon_dead ? "killswitchd is not running: the kernel holds the rules that it left"
                                      : "killswitchd was not asked: this is what the kernel holds");
    if (daemon_dead) {
      status.next.insert(status.next.begin(), "systemctl start killswitchd            starts the daemon again");
    }
  }
  return status;
}

Result<Ruleset> read_rules() {
  auto firewall = enforce::Firewall::open();
  if (!firewall) {
    return fail(firewall.error());
  }
  auto observation = firewall->read();
  if (!observation) {
    return fail(observation.error());
  }
  return std::move(observation->ruleset);
}

}  // namespace killswitch::app
