// Status → text. State first, then facts in two columns, then what to do next.
#include "killswitch/codec/status_text.hpp"

#include "json_parts.hpp"
#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <string_view>

namespace killswitch::codec {
namespace {

using model::Ownership;
using model::State;
using model::Status;

constexpr std::size_t shown_servers = 4;  // lines; one screen is 24
constexpr std::size_t shown_reasons = 5;
constexpr std::size_t shown_next = 6;
constexpr std::size_t longest_open = 500;  // characters; a policy may open much

/// What is open, as the end of a headline: never less than what is so.
std::string open_of(const Status& status) {
  return status.open.empty() ? "nothing is open" : "open: " + printable(join(status.open, "; "), longest_open);
}

std::string headline(const Status& status) {
  if (status.switched_off) {
    return "DISABLED FOR THIS BOOT (killswitch=off on the kernel's command line): NOTHING IS ENFORCED";
  }
  if (!status.enforced && status.state != State::disabled) {
    return fmt::format("NOT VERIFIED: the installed ruleset does not match the computed one (target state: {})",
                       model::to_string(status.state));
  }
  switch (status.state) {
    case State::disabled: return "DISABLED: traffic may leave outside the VPN";
    case State::blocked: return "BLOCKED: the VPN is down. Until it is back, " + open_of(status);
    case State::connecting: return "CONNECTING: OpenVPN is at work. Until it is done, " + open_of(status);
    case State::protected_:
      return fmt::format("PROTECTED: traffic leaves through {}. Besides, {}",
                         status.tunnel ? printable(status.tunnel->interface) : std::string{"the VPN"}, open_of(status));
  }
  return "BLOCKED";
}

void line(std::string& text, std::string_view label, std::string_view value) {
  text += fmt::format("  {:<10} {}\n", label, value);
}

void list(std::string& text, std::string_view label, const std::vector<std::string>& values, std::size_t limit) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i == limit && values.size() > limit + 1) {
      line(text, "", fmt::format("… and {} more (killswitch status --json)", values.size() - limit));
      return;
    }
    line(text, i == 0 ? label : "", printable(values[i]));
  }
}

template <typename Address>
std::string addresses_of(const std::vector<Address>& addresses) {
  std::vector<std::string> words;
  words.reserve(addresses.size());
  for (const auto& address : addresses) {
    words.push_back(model::to_string(address));
  }
  return join(words, ", ");
}

std::string tunnel_of(const model::TunnelStatus& tunnel) {
  auto text = fmt::format("{}, {}", printable(tunnel.interface), tunnel.up ? "up" : "down");
  if (!tunnel.addresses.empty()) {
    text += ", " + addresses_of(tunnel.addresses);
  }
  return text;
}

std::string server_of(const model::TunnelStatus& tunnel) {
  auto host = printable(tunnel.server_host);
  if (!tunnel.server) {
    return host;
  }
  const auto endpoint = model::to_string(*tunnel.server);
  return host.empty() || tunnel.server_host == model::to_string(tunnel.server->address)
             ? endpoint
             : fmt::format("{} = {}", host, endpoint);
}

std::string pinned_of(const model::PinnedRemote& pinned) {
  const auto name = printable(model::to_string(pinned.remote));
  if (pinned.addresses.empty()) {
    return fmt::format("{}: no address{}{}", name, pinned.failure.empty() ? "" : ", ", printable(pinned.failure));
  }
  const auto addresses = addresses_of(pinned.addresses);
  return addresses == pinned.remote.host ? name : fmt::format("{} = {}", name, addresses);
}

void servers(std::string& text, const Status& status) {
  if (status.tunnel && (status.tunnel->server || !status.tunnel->server_host.empty())) {
    line(text, "server", server_of(*status.tunnel));
    return;
  }
  std::vector<std::string> lines;
  lines.reserve(status.servers.size() + 1);
  for (const auto& pinned : status.servers) {
    lines.push_back(pinned_of(pinned));
  }
  if (lines.empty()) {
    lines.emplace_back("none known yet; OpenVPN names it over the management socket");
  }
  list(text, "server", lines, shown_servers);
}

std::string dns_of(const Status& status) {
  const auto resolvers = status.resolvers.empty() ? "no resolver" : addresses_of(status.resolvers);
  if (status.dns_backend.empty() || status.dns_backend == "none") {
    return resolvers + " (resolv.conf is left as it is)";
  }
  auto text =
      fmt::format("{} ({}{}", resolvers, printable(status.dns_backend), status.dns_applied ? "" : ", not confirmed");
  if (status.dns_foreign_writes > 0) {
    text += fmt::format(", {} foreign write{} undone", status.dns_foreign_writes,
                        status.dns_foreign_writes == 1 ? "" : "s");
    if (status.dns_last_foreign_write != std::chrono::sys_seconds{}) {
      text += fmt::format(", the last at {}", render_time(status.dns_last_foreign_write));
    }
  }
  return text + ")";
}

std::string kernel_of(const Status& status) {
  const auto verified = status.enforced ? "rules verified" : "rules NOT verified";
  switch (status.ownership) {
    case Ownership::none: return fmt::format("{}, no tables of ours", verified);
    case Ownership::plain: return fmt::format("{}, another program can remove them", verified);
    case Ownership::owner: return fmt::format("{}, owned by the daemon", verified);
    case Ownership::owner_twin: return fmt::format("{}, owned by the daemon and held a second time", verified);
    case Ownership::owner_persist: return fmt::format("{}, owned and persistent", verified);
  }
  return verified;
}

std::string blocked_of(const Status& status) {
  std::uint64_t packets = 0;
  std::string parts;
  for (const auto& [name, value] : status.blocked) {
    packets += value.packets;
    if (value.packets > 0) {
      parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", printable(name), value.packets);
    }
  }
  return fmt::format("{} packet{}{}", packets, packets == 1 ? "" : "s", parts.empty() ? "" : ": " + parts);
}

std::string tampering_of(const model::Tampering& tampering) {
  auto words = fmt::format("{} change{} of our rules by other programs, ", tampering.attempts,
                           tampering.attempts == 1 ? "" : "s");
  words += tampering.repaired == tampering.attempts ? "repaired" : fmt::format("{} repaired", tampering.repaired);
  if (tampering.last) {
    const auto& touch = tampering.last->touch;
    words +=
        fmt::format("; last {}: {}{}", render_time(tampering.last->time), printable(touch.what),
                    touch.program.empty() ? "" : fmt::format(", by {} (pid {})", printable(touch.program), touch.pid));
  }
  return words;
}

void facts(std::string& text, const Status& status) {
  if (status.since != std::chrono::sys_seconds{}) {
    line(text, "since", render_time(status.since));
  }
  line(text, "policy", status.policy.empty() ? "none: the strictest rules" : printable(status.policy));
  if (status.tunnel) {
    line(text, "tunnel", tunnel_of(*status.tunnel));
  }
  servers(text, status);
  if (!status.transport.empty()) {
    line(text, "transport", printable(status.transport));
  }
  line(text, "dns", dns_of(status));
  line(text, "ipv6", printable(status.ipv6));
  line(text, "kernel", kernel_of(status));
  if (status.boot_lock) {
    line(text, "boot", "was locked before the network");
  }
  line(text, "refused", blocked_of(status));
  if (status.tampering.attempts > 0) {
    line(text, "tampering", tampering_of(status.tampering));
  }
}

std::string trial_of(const model::TrialStatus& trial) {
  const auto before = trial.reverts_to_enabled ? fmt::format("the settings before (policy {})", printable(trial.policy))
                                               : std::string{"disabled"};
  return fmt::format("until {}, then {} again, unless confirmed", render_time(trial.until), before);
}

}  // namespace

std::string render_status_text(const Status& status) {
  auto text = fmt::format("killswitch: {}\n", headline(status));
  list(text, "because", status.reasons, shown_reasons);
  list(text, "warning", status.warnings, shown_reasons);
  if (status.trial) {
    line(text, "trial", trial_of(*status.trial));
  }
  if (status.state != State::disabled) {
    facts(text, status);
  }
  text += '\n';
  list(text, "next:", status.next, shown_next);
  return text;
}

}  // namespace killswitch::codec
