#include "killswitch/decide/step.hpp"

#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/trial.hpp"
#include "step_parts.hpp"

#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

struct Stepper {
  World& world;
  std::chrono::sys_seconds now;
  Effects effects;

  void log(LogLine::Level level, std::string text) { effects.push_back(LogLine{level, std::move(text)}); }

  /// A link that goes or gets another name may come again with this one.
  void remember(const Link& link) {
    constexpr std::size_t most_names = 64;
    const auto tunnel = world.trusted ? std::optional{world.trusted->index} : std::nullopt;
    // Docker's and podman's ends of a guest have a new random name each time.
    const bool passing = link.kind == "veth" && link.name.starts_with("veth");
    if (passing || is_tunnel_kind(link.kind) || class_of(link, world, tunnel) != LinkClass::link ||
        is_guest_port(link, world, tunnel)) {
      return;
    }
    std::erase(world.past_links, link.name);
    world.past_links.push_back(link.name);
    if (world.past_links.size() > most_names) {
      world.past_links.erase(world.past_links.begin());
    }
  }

  void on(const LinksListed& event) {
    world.links = event.links;
    world.links_known = true;
  }

  void on(const LinkChanged& event) {
    if (const auto before = world.links.find(event.link.index);
        before != world.links.end() && before->second.name != event.link.name) {
      remember(before->second);
    }
    auto& link = world.links[event.link.index];
    auto addresses = std::move(link.addresses);
    auto routes = std::move(link.wide_routes);
    link = event.link;
    link.addresses = std::move(addresses);
    // An interface that goes down loses its IPv4 routes without a word.
    link.wide_routes = link.up ? std::move(routes) : std::vector<Prefix>{};
  }

  void on(const LinkRemoved& event) {
    if (const auto link = world.links.find(event.index); link != world.links.end()) {
      remember(link->second);
    }
    world.links.erase(event.index);
    // Kernels before 6.16 take their egress hook away with the device, also when one of the same name comes at once:
    // what was verified is no longer.
    world.observation.reset();
  }

  void on(const AddressAdded& event) {
    const auto link = world.links.find(event.index);
    if (link == world.links.end()) {
      return;
    }
    auto& addresses = link->second.addresses;
    const auto place = std::lower_bound(addresses.begin(), addresses.end(), event.address);
    if (place == addresses.end() || *place != event.address) {
      addresses.insert(place, event.address);
      world.names = {};  // another network, or the same one again: what did not answer there may answer now
    }
  }

  void on(const AddressRemoved& event) {
    if (const auto link = world.links.find(event.index); link != world.links.end()) {
      std::erase(link->second.addresses, event.address);
    }
  }

  void on(const RouteAdded& event) {
    if (event.replaces) {
      for (auto& [index, link] : world.links) {
        std::erase(link.wide_routes, event.destination);
      }
    }
    const auto link = world.links.find(event.index);
    if (link == world.links.end()) {
      return;
    }
    auto& routes = link->second.wide_routes;
    routes.insert(std::upper_bound(routes.begin(), routes.end(), event.destination), event.destination);
  }

  void on(const RouteRemoved& event) {
    const auto link = world.links.find(event.index);
    if (link == world.links.end()) {
      return;
    }
    // Once: another of the same destination, with another metric or in another table, may remain.
    auto& routes = link->second.wide_routes;
    if (const auto found = std::find(routes.begin(), routes.end(), event.destination); found != routes.end()) {
      routes.erase(found);
    }
  }

  void on(const LinksUnknown& event) {
    for (const auto& [index, link] : world.links) {
      remember(link);
    }
    world.links.clear();
    world.links_known = false;
    log(LogLine::Level::warning, "interfaces are read anew: " + event.reason);
  }

  void on(const ManagementOpened& event) { on_management(world, event, effects); }
  void on(const ManagementClosed& event) { on_management(world, event, effects); }
  void on(const ManagementReceived& event) { on_management(world, event, effects); }

  void on(const EnableRequested& event) {
    if (world.switched_off) {
      log(LogLine::Level::error, "not enabled: this machine was booted with killswitch=off");
      return;
    }
    auto trial = event.trial ? std::optional{begin_trial(world, *event.trial)} : std::nullopt;
    enable_with(world, event.settings, now, effects);
    world.trial = std::move(trial);
    if (world.trial) {
      effects.emplace_back(WakeForTrial{world.trial->duration});
    }
  }

  void on(const DisableRequested& /*event*/) { disable(world, now, effects); }
  void on(const TrialConfirmed& event) { on_trial(world, event, effects); }
  void on(const TrialTime& event) { on_trial(world, event, effects); }

  void on(const SwitchedOffAtBoot& event) {
    world.enabled = false;
    world.switched_off = SwitchedOff{event.state};
    log(LogLine::Level::warning,
        "killswitch=off is on the kernel's command line: NOTHING IS ENFORCED until the next boot without it; the state "
        "file is left as it is");
  }

  void on(const ServerNameAnswered& event) { learn_server(world, event, now, effects); }

  void on(const ServerNamesAsked& /*event*/) {
    world.names.asked_at = now;
    ++world.names.in_vain;
  }

  void on(const BootLockNoted& /*event*/) { world.boot_lock = true; }
  void on(const KernelProbed& event) { world.kernel = event.features; }

  void on(const FirewallObserved& event) { on_observed(world, event, now, effects); }
  void on(const RulesetTouched& event) { on_tampering(world, event, now, effects); }

  void on(const RulesetUnknown& event) {
    world.observation.reset();
    if (world.enabled) {
      log(LogLine::Level::info, "the rules in the kernel are verified anew: " + event.reason);
    }
  }

  void on(const Resumed& /*event*/) {
    world.observation.reset();
    if (world.enabled) {
      log(LogLine::Level::info, "the machine slept: interfaces and rules are verified anew");
    }
  }

  void on(const FirewallFailed& event) {
    const auto text = event.error.message();
    if (world.firewall_error != text) {
      log(LogLine::Level::error, text);
    }
    world.firewall_error = text;
    world.observation.reset();
  }

  void on(const RulesetRefused& event) {
    if (world.violations != event.violations) {
      for (const auto& violation : event.violations) {
        log(LogLine::Level::error,
            "everything is refused, because the computed ruleset breaks a guarantee: " + violation);
      }
    }
    world.violations = event.violations;
  }

  void on(const DnsFound& event) { on_dns(world, event, effects); }
  void on(const DnsEngaged& event) { on_dns(world, event, effects); }
  void on(const DnsApplied& event) { on_dns(world, event, effects); }
  void on(const DnsRestored& event) { on_dns(world, event, effects); }
  void on(const DnsRetryDue& event) { on_dns(world, event, effects); }

  void on(const HostRouteTouched& /*event*/) { world.route.stalled = false; }  // the way is asked for anew
  void on(const ServerRouteFound& event) { on_route(world, event); }
  void on(const HostRouteChanged& event) { on_route(world, event, effects); }
  void on(const NetworkManagerFound& event) { on_networkmanager(world, event); }
  void on(const TransportProven& event) { on_transport(world, event, effects); }
  void on(const TransportEnded& event) { on_transport(world, event); }
  void on(const TransportRefused& event) { on_transport(world, event, now, effects); }
  void on(const TransportProofUnavailable& event) { on_transport(world, event, effects); }

  void on(const StateSaved& /*event*/) { world.state_error.clear(); }

  void on(const StateSaveFailed& event) {
    auto text = event.error.message() + "; the machine would not find its present setting after a reboot or a restart";
    if (world.state_error != text) {  // it is tried again and again
      log(LogLine::Level::error, text);
    }
    world.state_error = std::move(text);
  }

  void on(const StateUnreadable& event) {
    world.trial.reset();  // nothing that was not read reverts a lock
    world.state_error = event.error.message();
    log(LogLine::Level::error, world.state_error +
                                   "; the machine is locked with no settings. Way back: `killswitch "
                                   "enable …` with your profile, or `killswitch disable`");
  }
};

/// Trust follows from the facts; what the tunnel was is remembered for a restart of the daemon.
void renew_trust(World& world, Effects& effects) {
  if (!world.links_known) {
    return;
  }
  const auto before = world.trusted;
  if (world.trusted && world.links.find(world.trusted->index) == world.links.end()) {
    forget_report(world);  // one that comes later under its name is another one, until it is announced or proven (G6)
  }
  world.trusted = match_tunnel(world);
  if (world.trusted != before) {
    effects.emplace_back(SaveState{});
  }
}

void release_holds(World& world, Effects& effects) {
  if (world.enabled && !is_verified(world)) {
    return;
  }
  for (auto& [connection, peer] : world.peers) {
    if (peer.holding) {
      peer.holding = false;
      effects.emplace_back(ReleaseHold{connection});
    }
  }
}

}  // namespace

void enable_with(World& world, Settings settings, std::chrono::sys_seconds now, Effects& effects) {
  if (!world.enabled) {
    world.since = now;
    world.tampering = {};
  }
  world.enabled = true;
  world.settings = std::move(settings);
  world.trial.reset();
  world.learned.clear();
  world.asked_for.clear();
  world.names = {};
  world.state_error.clear();
  world.openvpn_error.clear();
  world.observation.reset();
  effects.emplace_back(SaveState{});
  answer_waiting(world, effects);
}

void disable(World& world, std::chrono::sys_seconds now, Effects& effects) {
  if (world.enabled) {
    world.since = now;
  }
  world.enabled = false;
  world.settings = Settings{};
  world.trial.reset();
  if (world.switched_off) {
    world.since = now;
    world.switched_off->state = SavedState{};
    world.switched_off->state->enabled = false;
    world.switched_off->state->since = now;
  }
  world.dns.stalled = false;  // names are given back at once, whatever was waited for
  world.learned.clear();
  world.asked_for.clear();
  world.names = {};
  world.state_error.clear();
  world.observation.reset();
  effects.emplace_back(SaveState{});
  answer_waiting(world, effects);
}

bool is_verified(const World& world) {
  return world.firewall_error.empty() && world.observation && world.observation->present &&
         world.observation->differences.empty();
}

std::vector<Effect> step(World& world, const Event& event, std::chrono::sys_seconds now) {
  Stepper stepper{world, now, {}};
  std::visit([&](const auto& particular) { stepper.on(particular); }, event);
  renew_trust(world, stepper.effects);
  renew_dns(world, now, stepper.effects);
  renew_route(world, now, stepper.effects);
  release_holds(world, stepper.effects);
  return std::move(stepper.effects);
}

World restore(const SavedState& saved) {
  World world;
  world.enabled = saved.enabled;
  world.since = saved.since;
  world.settings = saved.settings;
  world.trial = saved.trial;
  world.trusted = saved.tunnel;
  if (saved.tunnel && saved.tunnel->report.source == TunnelSource::management) {
    world.report = saved.tunnel->report;
  }
  return world;
}

std::optional<SavedState> to_save(const World& world) {
  if (world.switched_off) {
    return world.switched_off->state;
  }
  return SavedState{world.enabled, world.since, world.settings, world.trusted, world.trial};
}

}  // namespace killswitch::decide
