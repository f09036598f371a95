// State and settings: every field survives a round trip, and what is broken is refused with its place.
#include "killswitch/codec/state_json.hpp"

#include "support/catch.hpp"

#include <chrono>
#include <string>

namespace {

using namespace killswitch;
using model::Port;
using model::Protocol;
using model::SavedState;
using model::Settings;

std::chrono::sys_seconds moment() {
  using namespace std::chrono;
  return sys_days{year{2026} / 11 / 23} + hours{2} + minutes{18};
}

Settings full_settings() {
  Settings settings;
  settings.policy.name = "laptop";
  settings.policy.description = "for people";
  settings.policy.dhcp = true;
  settings.policy.tunnel_resolvers = {*model::parse_ip_address("9.9.9.9")};
  settings.policy.refusal = model::Refusal::reject;
  settings.remotes = {
      {{"vpn.example.org", Port{1194}, Protocol::udp, model::Family::ipv6},
       {*model::parse_ip_address("2001:db8::49"), *model::parse_ip_address("2001:db8::50")},
       moment(),
       ""},
      {{"vpn.example.org", Port{443}, Protocol::tcp, {}}, {}, {}, "Name or service not known"},
      {{"192.0.2.1", Port{1}, Protocol::udp, model::Family::ipv4}, {*model::parse_ip_address("192.0.2.1")}, {}, ""}};
  settings.transport_programs = {{"/usr/bin/stunnel4", "stunnel4"}};
  settings.profile_mark = 4660;
  settings.interface = "tun0";
  settings.management = model::ManagementAddress{model::UnixSocketPath{"/run/openvpn/a.sock"}, "/etc/openvpn/pw"};
  return settings;
}

SavedState full_state() {
  SavedState state;
  state.enabled = true;
  state.since = moment();
  state.settings = full_settings();
  model::TunnelReport report;
  report.interface = "tun0";
  report.addresses = {*model::parse_interface_address("192.168.255.2/24"),
                      *model::parse_interface_address("fd00::2/64")};
  report.server = model::Endpoint{*model::parse_ip_address("198.51.100.49"), Port{1194}, Protocol::udp};
  report.resolvers = {*model::parse_ip_address("192.168.255.1")};
  report.search_domains = {"example.org", "a \"b\"\n"};
  report.source = model::TunnelSource::process;
  state.tunnel = model::TrustedTunnel{model::IfIndex{7}, report};
  state.trial = model::Trial{std::chrono::seconds{60}, moment(), "b", std::chrono::seconds{1060}, full_settings()};
  return state;
}

template <typename T>
void check_same(const Result<T>& parsed, const T& expected) {
  if (!parsed) {
    FAIL(parsed.error().message());
  }
  CHECK(*parsed == expected);
}

}  // namespace

TEST_CASE("state: every field survives") {
  const auto state = full_state();
  check_same(codec::parse_state(codec::render_state(state), "state.json"), state);
  const auto settings = full_settings();
  check_same(codec::parse_settings(codec::render_settings(settings), "settings"), settings);

  auto tcp = settings;
  tcp.management = model::ManagementAddress{model::TcpAddress{*model::parse_ip_address("::1"), Port{7505}}, ""};
  check_same(codec::parse_settings(codec::render_settings(tcp), "settings"), tcp);
}

// A disabled machine whose state could not be read back would be locked at the next start.
TEST_CASE("state: a machine that was never enabled survives as well") {
  SavedState state;
  state.enabled = false;
  check_same(codec::parse_state(codec::render_state(state), "state.json"), state);
  check_same(codec::parse_state(codec::render_state({}), "state.json"), SavedState{});
  check_same(codec::parse_settings(codec::render_settings({}), "settings"), Settings{});
}

TEST_CASE("state: bytes that are not UTF-8 do not make the file unreadable") {
  auto state = full_state();
  state.settings.remotes[1].failure = "caf\xe9";
  const auto parsed = codec::parse_state(codec::render_state(state), "state.json");
  REQUIRE(parsed);
  CHECK(parsed->settings.remotes[1].failure == "caf\xef\xbf\xbd");
}

TEST_CASE("state: times") {
  using namespace std::chrono;
  const auto at = [](const std::string& time) {
    auto text = codec::render_state({});
    return codec::parse_state(text.replace(text.find("1970-01-01T00:00:00Z"), 20, time), "s");
  };
  struct Row {
    std::string text;
    sys_seconds time;
  };
  for (const auto& row : {Row{"2026-11-23T02:18:00Z", moment()}, Row{"1970-01-01T00:00:01Z", sys_seconds{seconds{1}}},
                          Row{"2024-02-29T23:59:59Z", sys_days{year{2024} / 2 / 29} + days{1} - seconds{1}},
                          Row{"0000-01-01T00:00:00Z", sys_seconds{sys_days{year{0} / 1 / 1}}},
                          Row{"9999-12-31T23:59:59Z", sys_days{year{10000} / 1 / 1} - seconds{1}}}) {
    const auto state = at(row.text);
    INFO(row.text);
    REQUIRE(state);
    CHECK(state->since == row.time);
    CHECK(codec::render_state(*state).find(row.text) != std::string::npos);
  }
  for (const auto* bad : {"", "2026-11-23", "2026-11-23 02:18:00Z", "2026-11-23T02:18:00", "2026-11-23T02:18:00+00:00",
                          "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
                          "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
                          "2026-01-01T00:00:60Z", "2026-1-001T00:00:00Z", "2026-11-23T02:18:00.5Z"}) {
    const auto state = at(bad);
    INFO(bad);
    REQUIRE_FALSE(state);
    CHECK(state.error().message() ==
          "s: /since: expected a time as in \"2026-11-23T02:18:00Z\", found \"" + std::string{bad} + "\"");
  }
  SavedState far;
  far.since = sys_seconds::max();
  CHECK(codec::render_state(far).find("9999-12-31T23:59:59Z") != std::string::npos);
  far.since = sys_seconds::min();
  CHECK(codec::render_state(far).find("0000-01-01T00:00:00Z") != std::string::npos);
}

TEST_CASE("state: bad input and the words it gets") {
  struct Row {
    std::string from;  ///< a piece of the full state …
    std::string to;    ///< … and what stands there instead
    std::string message;
  };
  const auto row = GENERATE(values<Row>({
      {"\"enabled\": true,", "", "s: /enabled: expected true or false, found nothing"},
      {"\"enabled\": true", "\"enabled\": 1", "s: /enabled: expected true or false, found 1"},
      {"\"enabled\"", "\"enabeld\"", "s: /enabeld: unknown key; did you mean \"enabled\"?"},
      {"\"since\": \"2026-11-23T02:18:00Z\",", "", "s: /since: expected a time, found nothing"},
      {"\"port\": 1194", "\"port\": 0",
       "s: /settings/remotes/0/port: expected a whole number from 1 to 65535, found 0"},
      {"\"host\": \"vpn.example.org\"", "\"host\": \"a b\"",
       "s: /settings/remotes/0/host: expected a host name or a numeric address, found \"a b\""},
      {"\"protocol\": \"udp\"", "\"protocol\": \"udp6\"",
       "s: /settings/remotes/0/protocol: expected \"udp\" or \"tcp\", found \"udp6\""},
      {"\"family\": \"ipv6\"", "\"family\": \"inet6\"",
       "s: /settings/remotes/0/family: expected \"ipv4\" or \"ipv6\", found \"inet6\""},
      {"\"2001:db8::50\"", "\"2001:db8::50/64\"",
       "s: /settings/remotes/0/addresses/1: expected an IPv4 or IPv6 address, found \"2001:db8::50/64\""},
      {"\"/usr/bin/stunnel4:stunnel4\"", "\"stunnel4\"",
       "s: /settings/transport_programs/0: expected PATH or PATH:USER, found \"stunnel4\""},
      {"\"/usr/bin/stunnel4:stunnel4\"", "\"/usr/bin/stunnel4:nobody\"",
       "s: /settings/transport_programs/0: expected PATH or PATH:USER, found \"/usr/bin/stunnel4:nobody\""},
      {"\"profile_mark\": 4660", "\"profile_mark\": 0",
       "s: /settings/profile_mark: expected a whole number from 1 to 4294967295, found 0"},
      {"\"interface\": \"tun0\"", "\"interface\": \"tun0/x\"",
       "s: /settings/interface: expected an interface name, found \"tun0/x\""},
      {"\"/run/openvpn/a.sock\"", "\"a.sock\"",
       "s: /settings/management/unix: expected an absolute path, found \"a.sock\""},
      {"\"unix\": \"/run", "\"port\": 1, \"unix\": \"/run",
       "s: /settings/management: expected either \"unix\" or \"address\" and \"port\", found both"},
      {"\"unix\": \"/run/openvpn/a.sock\",", "",
       "s: /settings/management/address: expected an address, or \"unix\" with a path, found nothing"},
      {"\"/etc/openvpn/pw\"", "\"pw\"",
       "s: /settings/management/password_file: expected an absolute path, found \"pw\""},
      {"\"name\": \"laptop\"", "\"name\": \"Laptop\"",
       "s: /settings/policy/name: expected a name of 1 to 64 letters a-z, digits and '-', found \"Laptop\""},
      {"\"index\": 7", "\"index\": 0", "s: /tunnel/index: expected a whole number from 1 to 2147483647, found 0"},
      {"\"192.168.255.2/24\"", "\"192.168.255.2\"",
       "s: /tunnel/addresses/0: expected an address with the length of its subnet as in \"192.0.2.7/24\", found "
       "\"192.168.255.2\""},
      {"\"source\": \"process\"", "\"source\": \"me\"",
       "s: /tunnel/source: expected \"management\" or \"process\" or \"profile\" or \"networkmanager\", found \"me\""},
      {"\"duration\": 60", "\"duration\": 86401",
       "s: /trial/duration: expected a whole number from 0 to 86400, found 86401"},
      {"\"uptime_until\": 1060,", "", "s: /trial/uptime_until: expected seconds, found nothing"},
      {"\"before\": {", "\"before\": null, \"x\": {",
       "s: /trial/x: unknown key; known here: \"duration\", \"until\", "
       "\"boot\", \"uptime_until\", \"before\""},
      {"\"search_domains\": [", "\"search_domains\": [3,", "s: /tunnel/search_domains/0: expected text, found 3"},
  }));
  auto text = codec::render_state(full_state());
  const auto at = text.find(row.from);
  REQUIRE(at != std::string::npos);
  const auto state = codec::parse_state(text.replace(at, row.from.size(), row.to), "s");
  INFO(row.from << " -> " << row.to);
  REQUIRE_FALSE(state);
  CHECK(state.error().message() == row.message);
}

TEST_CASE("state: a file that was cut off anywhere is refused") {
  const auto text = codec::render_state(full_state());
  for (std::size_t size = 0; size + 2 < text.size(); ++size) {
    CHECK_FALSE(codec::parse_state(text.substr(0, size), "s"));
  }
}

TEST_CASE("settings: bad input and the words it gets") {
  const auto message = [](const std::string& text) {
    const auto settings = codec::parse_settings(text, "settings");
    return settings ? std::string{"accepted"} : settings.error().message();
  };
  CHECK(message("") == "settings:1:1: not JSON: value - unexpected end of input; expected '[', '{', or a literal");
  CHECK(message("{}") == "settings: /version: expected 1, found nothing");
  CHECK(message(R"({"version":1})") == "settings: /policy: expected a policy, found nothing");
  CHECK(message(R"({"version":1,"policy":{"version":1,"name":"x"},"remotes":{}})") ==
        "settings: /remotes: expected an array, found an object");
  CHECK(message(R"({"version":1,"policy":{"version":1,"name":"x"},"bypass":true})") ==
        "settings: /bypass: unknown key; known here: \"version\", \"policy\", \"remotes\", \"transport_users\", "
        "\"transport_programs\", "
        "\"profile_mark\", \"via_proxy\", \"interface\", \"management\", \"networkmanager\"");
  CHECK(message(R"({"version":1,"policy":{"version":1,"name":"x"}})") == "accepted");
}
