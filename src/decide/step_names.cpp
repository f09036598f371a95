// Learning where the VPN server is while the machine is locked: when its name is asked for, and what an answer teaches.
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/model/server_name.hpp"
#include "step_parts.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;
using namespace std::chrono_literals;

// Whoever answers can be anybody on the link; so many addresses of one name are believed at a time.
constexpr std::size_t most_addresses = 16;
constexpr auto first_pause = 2s;
constexpr auto last_pause = 300s;
// Answers that are good for a moment only, or for weeks, are asked for again within these.
constexpr std::chrono::seconds shortest_life = 60s;
constexpr std::chrono::seconds longest_life = 86400s;

std::chrono::seconds pause_after(std::uint32_t in_vain) {
  constexpr std::uint32_t steps = 8;
  return in_vain == 0 ? 0s : std::min<std::chrono::seconds>(first_pause * (1U << std::min(in_vain, steps)), last_pause);
}

/// @return whether an address is new
bool learn(PinnedRemote& pinned, const ServerNameAnswered& answer, std::chrono::sys_seconds now) {
  bool is_new = false;
  bool fits = false;
  for (const auto& address : answer.addresses) {
    if (pinned.remote.family && *pinned.remote.family != address.family) {
      continue;
    }
    fits = true;
    auto& known = pinned.addresses;
    if (std::find(known.begin(), known.end(), address) == known.end()) {
      known.insert(known.begin(), address);
      is_new = true;
    }
  }
  if (fits) {
    pinned.addresses.resize(std::min(pinned.addresses.size(), most_addresses));
    pinned.resolved_at = now;
    pinned.expires = now + std::clamp(answer.lifetime, shortest_life, longest_life);
    pinned.failure.clear();
  }
  return is_new;
}

bool can_ask(const World& world) {
  return std::any_of(world.links.begin(), world.links.end(), [](const auto& entry) {
    const auto& link = entry.second;
    return link.index != loopback_ifindex && link.up && !is_tunnel_kind(link.kind) &&
           std::any_of(link.addresses.begin(), link.addresses.end(), [](const InterfaceAddress& held) {
             const auto& bytes = held.address.bytes;
             return held.address.family == Family::ipv4 || bytes[0] != 0xfe || (bytes[1] & 0xc0U) != 0x80U;
           });
  });
}

}  // namespace

void learn_server(World& world, const ServerNameAnswered& answer, std::chrono::sys_seconds now, Effects& effects) {
  bool is_new = false;
  for (auto* remotes : {&world.settings.remotes, &world.asked_for}) {
    for (auto& pinned : *remotes) {
      if (same_name(pinned.remote.host, answer.name)) {
        is_new = learn(pinned, answer, now) || is_new;
        world.names.in_vain = 0;
      }
    }
  }
  if (!is_new) {
    return;
  }
  std::string addresses;
  for (const auto& address : answer.addresses) {
    addresses += (addresses.empty() ? "" : ", ") + to_string(address);
  }
  effects.emplace_back(
      LogLine{LogLine::Level::info, fmt::format("{} was asked for and is {}", answer.name, addresses)});
  effects.emplace_back(SaveState{});
  answer_waiting(world, effects);
}

std::optional<std::chrono::sys_seconds> next_question(const World& world) {
  const auto names = names_in_question(world);
  if (names.empty() || !is_verified(world) || !can_ask(world)) {
    return std::nullopt;
  }
  std::optional<std::chrono::sys_seconds> next;
  const auto earliest = world.names.asked_at + pause_after(world.names.in_vain);
  for (const auto& pinned : all_remotes(world)) {
    if (wire_name(pinned.remote.host).empty()) {
      continue;
    }
    const auto due = pinned.addresses.empty() ? earliest : std::max(earliest, pinned.expires);
    next = next ? std::min(*next, due) : due;
  }
  return next;
}

}  // namespace killswitch::decide
