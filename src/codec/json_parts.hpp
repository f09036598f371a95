// Pieces of JSON that several documents share: addresses, times, servers, policies. Each has a writer and a reader
// side by side, so that what is written can be read back.
#pragma once

#include "killswitch/codec/json_reader.hpp"
#include "killswitch/model/settings.hpp"

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

namespace killswitch::codec {

using OrderedJson = nlohmann::ordered_json;

/// Two spaces of indentation and a final newline; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string pretty(const OrderedJson& json);

/// RFC 3339 in UTC, whole seconds: "2026-11-23T02:18:00Z". Years outside 0 to 9999 are cut to these.
[[nodiscard]] std::string render_time(std::chrono::sys_seconds time);
[[nodiscard]] Result<std::chrono::sys_seconds> parse_time(std::string_view text);

[[nodiscard]] OrderedJson write_addresses(const std::vector<model::IpAddress>& addresses);
[[nodiscard]] OrderedJson write_policy(const model::Policy& policy);
[[nodiscard]] OrderedJson write_settings(const model::Settings& settings);
[[nodiscard]] OrderedJson write_endpoint(const model::Endpoint& endpoint);
[[nodiscard]] OrderedJson write_pinned_remote(const model::PinnedRemote& pinned);
/// ["/usr/bin/stunnel4:stunnel4"]
[[nodiscard]] OrderedJson write_transport_programs(const std::vector<model::TransportProgram>& programs);

/// A policy file must have a name; settings of a machine that was never enabled hold a policy without one.
enum class PolicyName : std::uint8_t { required, may_be_empty };

void read_version(const JsonCursor& document);
void read_time(const JsonCursor& cursor, std::chrono::sys_seconds& time);
void read_address(const JsonCursor& cursor, model::IpAddress& address);
void read_addresses(const JsonCursor& cursor, std::vector<model::IpAddress>& addresses);
void read_interface_addresses(const JsonCursor& cursor, std::vector<model::InterfaceAddress>& addresses);
void read_texts(const JsonCursor& cursor, std::vector<std::string>& texts);
void read_port(const JsonCursor& cursor, model::Port& port);
void read_protocol(const JsonCursor& cursor, model::Protocol& protocol);
void read_host(const JsonCursor& cursor, std::string& host);
void read_interface(const JsonCursor& cursor, std::string& interface);
void read_policy(const JsonCursor& cursor, PolicyName name, model::Policy& policy);
void read_settings(const JsonCursor& cursor, model::Settings& settings);
void read_endpoint(const JsonCursor& cursor, model::Endpoint& endpoint);
void read_pinned_remote(const JsonCursor& cursor, model::PinnedRemote& pinned);
void read_transport_programs(const JsonCursor& cursor, std::vector<model::TransportProgram>& programs);

}  // namespace killswitch::codec
