// The state file ↔ JSON: settings, the tunnel that was trusted last, and a trial.
#include "killswitch/codec/state_json.hpp"

#include "json_parts.hpp"

#include <cstdint>

namespace killswitch::codec {
namespace {

using model::SavedState;
using model::Trial;
using model::TrustedTunnel;
using model::TunnelSource;

constexpr std::uint64_t most_seconds = UINT32_MAX;  // of uptime: a century
constexpr std::uint32_t max_ifindex = INT32_MAX;    // the kernel's interface index is a positive int

OrderedJson write_tunnel(const TrustedTunnel& tunnel) {
  const auto& report = tunnel.report;
  auto addresses = OrderedJson::array();
  for (const auto& address : report.addresses) {
    addresses.push_back(model::to_string(address));
  }
  OrderedJson json{{"index", tunnel.index.number}, {"interface", report.interface}, {"addresses", addresses}};
  if (report.server) {
    json["server"] = write_endpoint(*report.server);
  }
  json["resolvers"] = write_addresses(report.resolvers);
  json["search_domains"] = report.search_domains;
  json["source"] = model::to_string(report.source);
  return json;
}

void read_tunnel(const JsonCursor& cursor, TrustedTunnel& tunnel) {
  cursor.expect_object({"index", "interface", "addresses", "server", "resolvers", "search_domains", "source"});
  auto& report = tunnel.report;
  cursor.required("index", "an interface index").read(tunnel.index.number, 1, max_ifindex);
  read_interface(cursor.required("interface", "an interface name"), report.interface);
  read_interface_addresses(cursor.required("addresses", "the addresses of the tunnel"), report.addresses);
  if (const auto server = cursor.optional("server"); server.present()) {
    read_endpoint(server, report.server.emplace());
  }
  if (const auto resolvers = cursor.optional("resolvers"); resolvers.present()) {
    read_addresses(resolvers, report.resolvers);
  }
  if (const auto domains = cursor.optional("search_domains"); domains.present()) {
    read_texts(domains, report.search_domains);
  }
  cursor.required("source", "who told of the tunnel")
      .read_choice<TunnelSource>(report.source,
                                 {{"management", TunnelSource::management},
                                  {"process", TunnelSource::process},
                                  {"profile", TunnelSource::process},           // both of version 0.1: what they
                                  {"networkmanager", TunnelSource::process}});  // trusted has to be proven now
}

OrderedJson write_trial(const Trial& trial) {
  OrderedJson json{{"duration", trial.duration.count()},
                   {"until", render_time(trial.until)},
                   {"boot", trial.boot},
                   {"uptime_until", trial.uptime_until.count()},
                   {"before", nullptr}};
  if (trial.before) {
    json["before"] = write_settings(*trial.before);
  }
  return json;
}

void read_seconds(const JsonCursor& cursor, std::chrono::seconds& seconds, std::uint64_t most) {
  std::uint64_t count = 0;
  cursor.read(count, 0, most);
  seconds = std::chrono::seconds{count};
}

void read_trial(const JsonCursor& cursor, Trial& trial) {
  cursor.expect_object({"duration", "until", "boot", "uptime_until", "before"});
  read_seconds(cursor.required("duration", "seconds"), trial.duration,
               static_cast<std::uint64_t>(model::longest_trial.count()));
  read_time(cursor.required("until", "a time"), trial.until);
  cursor.required("boot", "the name of a boot").read(trial.boot);
  read_seconds(cursor.required("uptime_until", "seconds"), trial.uptime_until, most_seconds);
  if (const auto before = cursor.required("before", "settings or null"); before.present() && !before.is_null()) {
    read_settings(before, trial.before.emplace());
  }
}

}  // namespace

std::string render_state(const SavedState& state) {
  OrderedJson json{{"version", 1},
                   {"enabled", state.enabled},
                   {"since", render_time(state.since)},
                   {"settings", write_settings(state.settings)}};
  if (state.tunnel) {
    json["tunnel"] = write_tunnel(*state.tunnel);
  }
  if (state.trial) {
    json["trial"] = write_trial(*state.trial);
  }
  return pretty(json);
}

Result<SavedState> parse_state(std::string_view text, const std::string& source) {
  return read_json<SavedState>(text, source, [](const JsonCursor& root, SavedState& state) {
    root.expect_object({"version", "enabled", "since", "settings", "tunnel", "trial"});
    read_version(root);
    root.required("enabled", "true or false").read(state.enabled);
    read_time(root.required("since", "a time"), state.since);
    read_settings(root.required("settings", "settings"), state.settings);
    if (const auto tunnel = root.optional("tunnel"); tunnel.present()) {
      read_tunnel(tunnel, state.tunnel.emplace());
    }
    if (const auto trial = root.optional("trial"); trial.present()) {
      read_trial(trial, state.trial.emplace());
    }
  });
}

}  // namespace killswitch::codec
