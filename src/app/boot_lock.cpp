#include "killswitch/app/boot_lock.hpp"

#include "killswitch/app/state_file.hpp"
#include "killswitch/codec/kernel_command_line.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "killswitch/os/files.hpp"
#include "offline_parts.hpp"

#include <fmt/format.h>
#include <chrono>

namespace killswitch::app {
namespace {

using namespace model;

constexpr const char* way_back =
    "Way back: `killswitch disable --offline`, or start once with killswitch=off on the kernel command line";
constexpr std::string_view off_switch = "killswitch=off";

/// A command line that cannot be read switches nothing off: the lock is the rule.
bool is_switched_off(const std::string& file) {
  const auto text = os::read_file(file);
  return text && codec::is_switched_off(*text);
}

/// Whether the kernel holds a lock that is closed at its ends. It is left alone: it may be the daemon's, with a tunnel.
bool stands_already(enforce::Firewall& firewall) {
  const auto seen = firewall.read();
  return seen && seen->present && seen->differences.empty() && decide::audit_structure(seen->ruleset).empty();
}

Outcome apply_and_verify(enforce::Firewall& firewall, const Ruleset& ruleset) {
  if (const auto applied = firewall.apply(ruleset); !applied) {
    return fail(applied.error());
  }
  const auto seen = firewall.read_back(ruleset);
  if (!seen) {
    return fail(seen.error());
  }
  if (!seen->present || !seen->differences.empty()) {
    return fail(fmt::format("the kernel does not hold what was asked of it: {}",
                            seen->differences.empty() ? "no table" : seen->differences.front()));
  }
  return done();
}

std::string describe_lock(const World& world, std::chrono::steady_clock::time_point began) {
  const auto taken = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began);
  return fmt::format("locked before the network: policy {}, {} server addresses, in {:.1f} ms",
                     world.settings.policy.name, decide::transport_endpoints(world).size(), taken.count());
}

}  // namespace

Result<BootLock> lock_at_boot(const Paths& paths, const std::string& kernel_command_line) {
  using Kind = BootLock::Kind;
  const auto began = std::chrono::steady_clock::now();
  const auto state = load_state(paths);
  if (!asks_for_lock(state)) {
    return BootLock{};
  }
  if (is_switched_off(kernel_command_line)) {
    return BootLock{
        Kind::switched_off,
        fmt::format("{} on the kernel command line: NOT locked before the network, although enabled", off_switch)};
  }
  auto firewall = enforce::Firewall::open();
  if (!firewall) {
    return fail(firewall.error());
  }
  if (stands_already(*firewall)) {
    return BootLock{Kind::stands, {}};
  }
  World world = state ? decide::restore(**state) : World{};
  if (auto seen = look_around(*firewall, world)) {
    world = std::move(*seen);  // else with no interface known: nothing passes
  }
  const auto audited = decide::compile_audited(world);
  if (const auto held = apply_and_verify(*firewall, audited.ruleset); !held) {
    if (stands_already(*firewall)) {
      return BootLock{Kind::stands, {}};  // somebody was quicker
    }
    return fail(held.error());
  }
  if (!state || !audited.violations.empty()) {
    const auto why = state ? "its ruleset breaks a guarantee: " + audited.violations.front() : state.error().message();
    return BootLock{Kind::refuses_all, fmt::format("locked, and everything is refused: {}. {}", why, way_back)};
  }
  return BootLock{Kind::locked, describe_lock(world, began)};
}

}  // namespace killswitch::app
