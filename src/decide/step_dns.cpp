// The part of `step` that deals with names: what is found is compared with what is wanted after every event, and a
// difference is an effect. A foreign write is nothing but such a difference.
#include "killswitch/decide/dns_owner.hpp"
#include "killswitch/decide/facts.hpp"
#include "step_parts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;
using Activity = DnsWorld::Activity;

// A service that starts is there after a moment; one that hangs for longer is not waited for.
constexpr std::uint32_t most_failures = 6;

/// Services that come, go or change their manner may do better than before.
bool services_changed(const DnsFacts& before, const DnsFacts& now) {
  const auto manner = [](const DnsFacts& facts) {
    return facts.networkmanager ? facts.networkmanager->mode + "/" + facts.networkmanager->rc_manager : std::string{};
  };
  return before.resolved.has_value() != now.resolved.has_value() || manner(before) != manner(now) ||
         before.restarts != now.restarts;
}

/// What did not work may work now.
void begin_anew(DnsWorld& dns) {
  dns.unfit.clear();
  dns.failures = 0;
}

std::string difference_at(const DnsWorld& dns, DnsBackend backend) {
  auto alone = *dns.setup;
  alone.backends = {backend};
  return dns_difference(*dns.facts, alone);
}

/// Only those that differ are told: NetworkManager tells systemd-resolved in its turn whenever it is told something.
void ask(DnsWorld& dns, Effects& effects) {
  if (!difference_at(dns, DnsBackend::file).empty()) {
    dns.reasons = plan_dns(*dns.facts, dns.unfit).reasons;
  }
  dns.activity = Activity::applying;
  dns.engaged = true;
  std::vector<DnsBackend> tell;
  for (const auto backend : dns.setup->backends) {
    if (!difference_at(dns, backend).empty()) {
      tell.push_back(backend);
    }
  }
  effects.push_back(ApplyDns{*dns.setup, std::move(tell), *dns.facts});
}

/// A link that gets its lease anew is told to systemd-resolved every time; that is no tampering.
bool is_foreign_write(const DnsWorld& dns) {
  return std::any_of(dns.setup->backends.begin(), dns.setup->backends.end(), [&](DnsBackend backend) {
    return backend != DnsBackend::resolved && !difference_at(dns, backend).empty();
  });
}

void give_up_on(DnsWorld& dns, DnsBackend backend) {
  if (backend != DnsBackend::file && std::find(dns.unfit.begin(), dns.unfit.end(), backend) == dns.unfit.end()) {
    dns.unfit.push_back(backend);
  }
}

/// What was done has no effect: another way is looked for, else it is tried again later. A failure that may pass speaks
/// against a backend only when it does not pass.
void draw_conclusions(DnsWorld& dns, const DnsApplied& event) {
  dns.error.clear();
  dns.failures = event.failures.empty() ? 0 : dns.failures + 1;
  for (const auto& failure : event.failures) {
    dns.error = fmt::format("{}: {}", to_string(failure.backend), failure.reason);
    if (!failure.passing || dns.failures >= most_failures) {
      give_up_on(dns, failure.backend);
    }
  }
  if (!dns.facts || dns_difference(*dns.facts, *dns.setup).empty()) {
    return;
  }
  if (event.failures.empty()) {
    const auto& told = dns.setup->backends;
    const bool by_manager = std::find(told.begin(), told.end(), DnsBackend::networkmanager) != told.end();
    if (by_manager && !difference_at(dns, DnsBackend::networkmanager).empty()) {
      give_up_on(dns, DnsBackend::networkmanager);
      return;
    }
  }
  dns.stalled = true;
}

}  // namespace

void on_dns(World& world, const DnsFound& event, Effects& /*effects*/) {
  auto& dns = world.dns;
  if (dns.facts == event.facts) {
    return;
  }
  if (dns.facts && services_changed(*dns.facts, event.facts)) {
    begin_anew(dns);
  }
  dns.facts = event.facts;
  dns.stalled = false;
}

void on_dns(World& world, const DnsEngaged& event, Effects& /*effects*/) {
  world.dns.engaged = true;
  if (world.enabled) {
    world.dns.setup = event.setup;
    world.dns.was_confirmed = true;  // what differs now was written while nobody looked
  }
}

void on_dns(World& world, const DnsApplied& event, Effects& effects) {
  auto& dns = world.dns;
  if (dns.activity != Activity::applying || dns.setup != event.setup) {
    return;  // something else is wanted meanwhile
  }
  dns.activity = Activity::idle;
  const auto before = dns.error;
  draw_conclusions(dns, event);
  if (!dns.error.empty() && dns.error != before) {
    effects.push_back(LogLine{LogLine::Level::warning, "names: " + dns.error});
  }
}

void on_dns(World& world, const DnsRestored& event, Effects& effects) {
  auto& dns = world.dns;
  if (dns.activity != Activity::restoring) {
    return;
  }
  dns.activity = Activity::idle;
  dns.engaged = !event.error.empty();
  dns.stalled = dns.engaged;
  if (dns.error != event.error && !event.error.empty()) {
    effects.push_back(LogLine{LogLine::Level::warning, "names are not all given back yet: " + event.error});
  }
  dns.error = event.error;
}

void on_dns(World& world, const DnsRetryDue& /*event*/, Effects& /*effects*/) {
  world.dns.stalled = false;
}

namespace {

/// No tunnel stands, and who could say where the server is does not answer: that is the dead tunnel's resolver, as long
/// as names stay as they were. Those of the links are asked again; the firewall lets them hear one name (G7).
bool needs_links_resolvers(const World& world) {
  constexpr std::uint32_t patience = 2;
  // NetworkManager's plugin asks for itself, whatever is known already.
  const bool somebody_asks = world.names.in_vain >= patience || any_vpn_is(world, VpnState::connecting);
  return !world.trusted && world.links_known && somebody_asks && !names_in_question(world).empty();
}

/// Something else is wanted than before.
void change_to(DnsWorld& dns, const DnsSetup& wanted, Effects& effects) {
  const bool same_servers = dns.setup && dns.setup->servers == wanted.servers;
  dns.was_confirmed = dns.was_confirmed && same_servers;
  if (!same_servers || dns.setup->tunnel != wanted.tunnel) {
    dns.failures = 0;
  }
  if (dns.setup && dns.setup->backends != wanted.backends) {
    dns.reasons.clear();
  }
  dns.setup = wanted;
  dns.stalled = false;
  if (!dns_difference(*dns.facts, *dns.setup).empty() || dns.activity != Activity::idle || !dns.engaged) {
    ask(dns, effects);
  }
}

}  // namespace

void renew_dns(World& world, std::chrono::sys_seconds now, Effects& effects) {
  auto& dns = world.dns;
  if (!world.enabled || needs_links_resolvers(world)) {
    dns.setup.reset();
    dns.was_confirmed = false;
    // Not before somebody has looked: a service that runs must be told, not only its file on disk.
    if (dns.engaged && dns.facts && dns.activity != Activity::restoring && !dns.stalled) {
      dns.activity = Activity::restoring;
      effects.emplace_back(RestoreDns{});
    }
    return;
  }
  auto wanted = wanted_dns(world);
  if (!wanted) {
    return;
  }
  if (dns.setup && dns.setup->tunnel != wanted->tunnel && !dns.unfit.empty()) {
    begin_anew(dns);
    wanted = wanted_dns(world);
  }
  if (dns.setup != wanted || dns.activity == Activity::restoring) {
    change_to(dns, *wanted, effects);
    return;
  }
  if (dns.activity != Activity::idle) {
    return;
  }
  if (dns_difference(*dns.facts, *dns.setup).empty()) {
    dns.was_confirmed = true;
    dns.error.clear();
    return;
  }
  if (std::exchange(dns.was_confirmed, false) && is_foreign_write(dns)) {
    ++dns.foreign_writes;
    dns.last_foreign_write = now;
  }
  if (!dns.stalled) {
    ask(dns, effects);
  }
}

}  // namespace killswitch::decide
