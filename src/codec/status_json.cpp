// Status ↔ JSON. `blocked` holds packets by class at its top level, as the contract has it, and packets with bytes
// in `classes`.
#include "killswitch/codec/status_json.hpp"

#include "json_parts.hpp"

#include <array>
#include <string_view>

namespace killswitch::codec {
namespace {

using model::CounterValue;
using model::Ownership;
using model::State;
using model::Status;
using model::TunnelSource;
using model::TunnelStatus;

/// Classes that are always there, counted or not.
constexpr std::array<std::string_view, 8> classes{"dns", "ipv6",    "lan",   "forwarded",
                                                  "raw", "inbound", "other", "impostor"};

OrderedJson write_server(const TunnelStatus& tunnel) {
  if (!tunnel.server && tunnel.server_host.empty()) {
    return nullptr;
  }
  OrderedJson json{{"host", tunnel.server_host}, {"address", nullptr}, {"port", nullptr}, {"protocol", nullptr}};
  if (tunnel.server) {
    json.update(write_endpoint(*tunnel.server));
  }
  return json;
}

OrderedJson write_tunnel(const std::optional<TunnelStatus>& tunnel) {
  if (!tunnel) {
    return nullptr;
  }
  auto addresses = OrderedJson::array();
  for (const auto& address : tunnel->addresses) {
    addresses.push_back(model::to_string(address));
  }
  return {{"interface", tunnel->interface},
          {"up", tunnel->up},
          {"addresses", std::move(addresses)},
          {"server", write_server(*tunnel)},
          {"source", model::to_string(tunnel->source)}};
}

OrderedJson write_blocked(const std::map<std::string, CounterValue>& blocked) {
  CounterValue total;
  auto detail = OrderedJson::object();
  for (const auto& [name, value] : blocked) {
    total.packets += value.packets;
    total.bytes += value.bytes;
    detail[name] = {{"packets", value.packets}, {"bytes", value.bytes}};
  }
  OrderedJson json{{"packets", total.packets}, {"bytes", total.bytes}};
  for (const auto name : classes) {
    const auto found = blocked.find(std::string{name});
    json[std::string{name}] = found == blocked.end() ? 0 : found->second.packets;
  }
  json["classes"] = std::move(detail);
  return json;
}

void read_tunnel(const JsonCursor& cursor, TunnelStatus& tunnel) {
  cursor.expect_object();
  cursor.required("interface", "an interface name").read(tunnel.interface);
  cursor.required("up", "true or false").read(tunnel.up);
  read_interface_addresses(cursor.required("addresses", "the addresses of the tunnel"), tunnel.addresses);
  cursor.required("source", "who told of the tunnel")
      .read_choice<TunnelSource>(tunnel.source,
                                 {{"management", TunnelSource::management}, {"process", TunnelSource::process}});
  const auto server = cursor.optional("server");
  if (!server.present() || server.is_null()) {
    return;
  }
  server.expect_object();
  server.optional("host").read(tunnel.server_host);
  if (const auto address = server.optional("address"); address.present() && !address.is_null()) {
    auto& endpoint = tunnel.server.emplace();
    read_address(address, endpoint.address);
    read_port(server.required("port", "a port"), endpoint.port);
    read_protocol(server.required("protocol", "\"udp\" or \"tcp\""), endpoint.protocol);
  }
}

OrderedJson write_trial(const std::optional<model::TrialStatus>& trial) {
  if (!trial) {
    return nullptr;
  }
  return {{"until", render_time(trial->until)},
          {"reverts_to", trial->reverts_to_enabled ? "enabled" : "disabled"},
          {"policy", trial->policy}};
}

void read_trial(const JsonCursor& cursor, model::TrialStatus& trial) {
  cursor.expect_object();
  read_time(cursor.required("until", "a time"), trial.until);
  cursor.required("reverts_to", "\"disabled\" or \"enabled\"")
      .read_choice<bool>(trial.reverts_to_enabled, {{"disabled", false}, {"enabled", true}});
  cursor.optional("policy").read(trial.policy);
}

void read_blocked(const JsonCursor& cursor, std::map<std::string, CounterValue>& blocked) {
  cursor.expect_object();
  const auto detail = cursor.optional("classes");
  if (!detail.present()) {
    return;
  }
  detail.expect_object();
  for (const auto& [name, value] : detail.entries()) {
    auto& counter = blocked[name];
    value.expect_object();
    value.required("packets", "a whole number").read(counter.packets, 0, UINT64_MAX);
    value.required("bytes", "a whole number").read(counter.bytes, 0, UINT64_MAX);
  }
}

void read_state(const JsonCursor& root, Status& status) {
  root.required("state", "a state")
      .read_choice<State>(status.state, {{"disabled", State::disabled},
                                         {"blocked", State::blocked},
                                         {"connecting", State::connecting},
                                         {"protected", State::protected_}});
  root.required("enforced", "true or false").read(status.enforced);
  if (const auto since = root.optional("since"); !since.is_null()) {
    read_time(since, status.since);
  }
  root.required("policy", "the name of a policy").read(status.policy);
  read_texts(root.required("reasons", "an array"), status.reasons);
  read_texts(root.required("warnings", "an array"), status.warnings);
  if (const auto next = root.optional("next"); next.present()) {
    read_texts(next, status.next);
  }
  if (const auto trial = root.optional("trial"); trial.present() && !trial.is_null()) {
    read_trial(trial, status.trial.emplace());
  }
  root.optional("switched_off").read(status.switched_off);
  root.optional("boot_lock").read(status.boot_lock);
}

void read_dns(const JsonCursor& root, Status& status) {
  const auto dns = root.required("dns", "an object");
  dns.expect_object();
  dns.optional("backend").read(status.dns_backend);
  if (const auto servers = dns.optional("servers"); servers.present()) {
    read_addresses(servers, status.resolvers);
  }
  dns.optional("applied").read(status.dns_applied);
  if (const auto domains = dns.optional("search_domains"); domains.present()) {
    read_texts(domains, status.search_domains);
  }
  if (const auto reasons = dns.optional("reasons"); reasons.present()) {
    read_texts(reasons, status.dns_reasons);
  }
  dns.optional("foreign_writes").read(status.dns_foreign_writes, 0, UINT64_MAX);
  if (const auto last = dns.optional("last_foreign_write"); last.present() && !last.is_null()) {
    read_time(last, status.dns_last_foreign_write);
  }
}

void read_kernel(const JsonCursor& root, Status& status) {
  const auto kernel = root.required("kernel", "an object");
  kernel.expect_object();
  kernel.required("ownership", "how the tables are held")
      .read_choice<Ownership>(status.ownership, {{"none", Ownership::none},
                                                 {"plain", Ownership::plain},
                                                 {"owner", Ownership::owner},
                                                 {"owner+twin", Ownership::owner_twin},
                                                 {"owner+persist", Ownership::owner_persist}});
  kernel.required("egress_hook", "true or false").read(status.egress_hook);
}

OrderedJson write_tampering(const model::Tampering& tampering) {
  OrderedJson last = nullptr;
  if (tampering.last) {
    const auto& [time, touch] = *tampering.last;
    last = {{"time", render_time(time)}, {"program", touch.program}, {"pid", touch.pid}, {"what", touch.what}};
  }
  return {{"attempts", tampering.attempts}, {"repaired", tampering.repaired}, {"last", std::move(last)}};
}

void read_tampering(const JsonCursor& cursor, model::Tampering& tampering) {
  cursor.expect_object();
  cursor.required("attempts", "a whole number").read(tampering.attempts, 0, UINT64_MAX);
  cursor.required("repaired", "a whole number").read(tampering.repaired, 0, UINT64_MAX);
  const auto last = cursor.optional("last");
  if (!last.present() || last.is_null()) {
    return;
  }
  last.expect_object();
  auto& [time, touch] = tampering.last.emplace();
  read_time(last.required("time", "a time"), time);
  last.required("program", "a name").read(touch.program);
  last.required("pid", "a process id").read(touch.pid, 0, UINT32_MAX);
  last.required("what", "text").read(touch.what);
}

void read_status(const JsonCursor& root, Status& status) {
  root.expect_object();
  read_version(root);
  read_state(root, status);
  if (const auto tunnel = root.optional("tunnel"); tunnel.present() && !tunnel.is_null()) {
    read_tunnel(tunnel, status.tunnel.emplace());
  }
  if (const auto servers = root.optional("servers"); servers.present()) {
    for (const auto& item : servers.items()) {
      read_pinned_remote(item, status.servers.emplace_back());
    }
  }
  root.optional("transport").read(status.transport);
  if (const auto open = root.optional("open"); open.present()) {
    read_texts(open, status.open);
  }
  read_dns(root, status);
  root.required("ipv6", "text").read(status.ipv6);
  read_blocked(root.required("blocked", "an object"), status.blocked);
  read_kernel(root, status);
  if (const auto tampering = root.optional("tampering"); tampering.present()) {
    read_tampering(tampering, status.tampering);
  }
}

}  // namespace

std::string render_status_json(const Status& status) {
  auto servers = OrderedJson::array();
  for (const auto& server : status.servers) {
    servers.push_back(write_pinned_remote(server));
  }
  const auto time_or_null = [](std::chrono::sys_seconds time) {
    return time == std::chrono::sys_seconds{} ? OrderedJson(nullptr) : OrderedJson(render_time(time));
  };
  const OrderedJson json{
      {"version", 1},
      {"state", model::to_string(status.state)},
      {"enforced", status.enforced},
      {"since", time_or_null(status.since)},
      {"policy", status.policy},
      {"reasons", status.reasons},
      {"warnings", status.warnings},
      {"next", status.next},
      {"trial", write_trial(status.trial)},
      {"switched_off", status.switched_off},
      {"tunnel", write_tunnel(status.tunnel)},
      {"servers", std::move(servers)},
      {"transport", status.transport},
      {"open", status.open},
      {"dns",
       {{"backend", status.dns_backend},
        {"servers", write_addresses(status.resolvers)},
        {"applied", status.dns_applied},
        {"search_domains", status.search_domains},
        {"reasons", status.dns_reasons},
        {"foreign_writes", status.dns_foreign_writes},
        {"last_foreign_write", time_or_null(status.dns_last_foreign_write)}}},
      {"ipv6", status.ipv6},
      {"blocked", write_blocked(status.blocked)},
      {"kernel", {{"ownership", model::to_string(status.ownership)}, {"egress_hook", status.egress_hook}}},
      {"tampering", write_tampering(status.tampering)},
      {"boot_lock", status.boot_lock}};
  return pretty(json);
}

Result<Status> parse_status_json(std::string_view text, const std::string& source) {
  return read_json<Status>(text, source, read_status);
}

}  // namespace killswitch::codec
