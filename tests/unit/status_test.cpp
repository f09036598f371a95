// The status as JSON (the contract), back again, and as text for people.
#include "killswitch/codec/status_json.hpp"
#include "killswitch/codec/status_text.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace {

using namespace killswitch;
using model::Ownership;
using model::Port;
using model::Protocol;
using model::State;
using model::Status;

model::IpAddress address(std::string_view text) {
  return *model::parse_ip_address(text);
}

std::chrono::sys_seconds moment() {
  using namespace std::chrono;
  return sys_days{year{2026} / 11 / 23} + hours{2} + minutes{18};
}

Status protected_status() {
  Status status;
  status.state = State::protected_;
  status.enforced = true;
  status.since = moment();
  status.policy = "laptop";
  status.next = {"killswitch test  proves it"};
  model::TunnelStatus tunnel;
  tunnel.interface = "tun0";
  tunnel.up = true;
  tunnel.addresses = {*model::parse_interface_address("192.168.255.2/24")};
  tunnel.server_host = "vpn.example.org";
  tunnel.server = model::Endpoint{address("198.51.100.49"), Port{1194}, Protocol::udp};
  status.tunnel = tunnel;
  status.servers = {
      {{"vpn.example.org", Port{1194}, Protocol::udp, model::Family::ipv4}, {address("198.51.100.49")}, moment(), ""}};
  status.transport = "openvpn (pid 4711, /usr/sbin/openvpn), marked";
  status.open = {"link control traffic", "OpenVPN to 1 server address"};
  status.resolvers = {address("192.168.255.1")};
  status.dns_backend = "networkmanager";
  status.dns_applied = true;
  status.search_domains = {"example.test"};
  status.dns_reasons = {"NetworkManager writes resolv.conf"};
  status.dns_foreign_writes = 2;
  status.dns_last_foreign_write = moment();
  status.ipv6 = "tunnelled";
  status.blocked = {{"dns", {3, 210}}, {"impostor", {1, 60}}, {"ipv6", {0, 0}}};
  status.ownership = Ownership::owner_persist;
  status.egress_hook = true;
  status.tampering = {3, 2, model::Tampering::Last{moment(), {"nft", 42, "inet killswitch: table deleted"}}};
  return status;
}

Status blocked_status() {
  Status status;
  status.state = State::blocked;
  status.enforced = true;
  status.since = moment();
  status.policy = "strict";
  status.reasons = {"OpenVPN is not running", "no address of vpn.example.org is known"};
  status.warnings = {"the kernel has no persist flag"};
  status.next = {"killswitch connect FILE.ovpn  starts OpenVPN", "killswitch disable  opens this machine"};
  status.servers = {{{"vpn.example.org", Port{1194}, Protocol::udp, {}}, {}, {}, "Name or service not known"},
                    {{"192.0.2.1", Port{443}, Protocol::tcp, {}}, {address("192.0.2.1")}, {}, ""}};
  status.dns_backend = "none";
  status.ipv6 = "refused";
  status.blocked = {{"lan", {1, 40}}};
  status.ownership = Ownership::plain;
  return status;
}

void check_round_trip(const Status& status) {
  const auto parsed = codec::parse_status_json(codec::render_status_json(status), "status");
  if (!parsed) {
    FAIL(parsed.error().message());
  }
  CHECK(*parsed == status);
}

}  // namespace

TEST_CASE("status: the JSON of the contract") {
  CHECK(codec::render_status_json(protected_status()) == R"({
  "version": 1,
  "state": "protected",
  "enforced": true,
  "since": "2026-11-23T02:18:00Z",
  "policy": "laptop",
  "reasons": [],
  "warnings": [],
  "next": [
    "killswitch test  proves it"
  ],
  "trial": null,
  "switched_off": false,
  "tunnel": {
    "interface": "tun0",
    "up": true,
    "addresses": [
      "192.168.255.2/24"
    ],
    "server": {
      "host": "vpn.example.org",
      "address": "198.51.100.49",
      "port": 1194,
      "protocol": "udp"
    },
    "source": "management"
  },
  "servers": [
    {
      "host": "vpn.example.org",
      "port": 1194,
      "protocol": "udp",
      "family": "ipv4",
      "addresses": [
        "198.51.100.49"
      ],
      "resolved_at": "2026-11-23T02:18:00Z",
      "failure": ""
    }
  ],
  "transport": "openvpn (pid 4711, /usr/sbin/openvpn), marked",
  "open": [
    "link control traffic",
    "OpenVPN to 1 server address"
  ],
  "dns": {
    "backend": "networkmanager",
    "servers": [
      "192.168.255.1"
    ],
    "applied": true,
    "search_domains": [
      "example.test"
    ],
    "reasons": [
      "NetworkManager writes resolv.conf"
    ],
    "foreign_writes": 2,
    "last_foreign_write": "2026-11-23T02:18:00Z"
  },
  "ipv6": "tunnelled",
  "blocked": {
    "packets": 4,
    "bytes": 270,
    "dns": 3,
    "ipv6": 0,
    "lan": 0,
    "forwarded": 0,
    "raw": 0,
    "inbound": 0,
    "other": 0,
    "impostor": 1,
    "classes": {
      "dns": {
        "packets": 3,
        "bytes": 210
      },
      "impostor": {
        "packets": 1,
        "bytes": 60
      },
      "ipv6": {
        "packets": 0,
        "bytes": 0
      }
    }
  },
  "kernel": {
    "ownership": "owner+persist",
    "egress_hook": true
  },
  "tampering": {
    "attempts": 3,
    "repaired": 2,
    "last": {
      "time": "2026-11-23T02:18:00Z",
      "program": "nft",
      "pid": 42,
      "what": "inet killswitch: table deleted"
    }
  },
  "boot_lock": false
}
)");
}

TEST_CASE("status: every field survives") {
  check_round_trip(protected_status());
  check_round_trip(blocked_status());
  check_round_trip(Status{});
  for (const bool enabled : {false, true}) {
    auto tried = blocked_status();
    tried.trial = model::TrialStatus{moment(), enabled, enabled ? "laptop" : ""};
    tried.switched_off = enabled;
    tried.boot_lock = enabled;
    check_round_trip(tried);
  }
  auto status = protected_status();
  status.tunnel->server.reset();
  check_round_trip(status);
  status.tunnel->server_host.clear();
  status.tunnel->source = model::TunnelSource::process;
  status.blocked["future class"] = {UINT64_MAX, UINT64_MAX};
  check_round_trip(status);
  status.tampering.last.reset();
  check_round_trip(status);
  for (const auto state : {State::disabled, State::blocked, State::connecting, State::protected_}) {
    status.state = state;
    check_round_trip(status);
  }
  for (const auto ownership :
       {Ownership::none, Ownership::plain, Ownership::owner, Ownership::owner_twin, Ownership::owner_persist}) {
    status.ownership = ownership;
    check_round_trip(status);
  }
}

TEST_CASE("status: a newer daemon may say more") {
  auto text = codec::render_status_json(protected_status());
  const std::string from = "\"version\": 1,";
  text.replace(text.find(from), from.size(), "\"version\": 1, \"weather\": {\"rain\": 0},");
  const auto parsed = codec::parse_status_json(text, "status");
  REQUIRE(parsed);
  CHECK(*parsed == protected_status());
}

TEST_CASE("status: bad input and the words it gets") {
  struct Row {
    std::string from;
    std::string to;
    std::string message;
  };
  const auto row = GENERATE(values<Row>({
      {"\"protected\"", "\"safe\"",
       "status: /state: expected \"disabled\" or \"blocked\" or \"connecting\" or \"protected\", found \"safe\""},
      {"\"enforced\": true,", "", "status: /enforced: expected true or false, found nothing"},
      {"\"reasons\": []", "\"reasons\": [null]", "status: /reasons/0: expected text, found null"},
      {"\"port\": 1194", "\"port\": null",
       "status: /tunnel/server/port: expected a whole number from 1 to 65535, found null"},
      {"\"packets\": 3", "\"packets\": -3", "status: /blocked/classes/dns/packets: expected a whole number, found -3"},
      {"\"owner+persist\"", "\"mine\"",
       "status: /kernel/ownership: expected \"none\" or \"plain\" or \"owner\" or \"owner+twin\" or \"owner+persist\", "
       "found \"mine\""},
      {"\"version\": 1", "\"version\": 2", "status: /version: expected a whole number from 1 to 1, found 2"},
  }));
  auto text = codec::render_status_json(protected_status());
  const auto at = text.find(row.from);
  REQUIRE(at != std::string::npos);
  const auto parsed = codec::parse_status_json(text.replace(at, row.from.size(), row.to), "status");
  INFO(row.from << " -> " << row.to);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().message() == row.message);
}

// Not a validator: the schema names every key that is written, and requires no other.
TEST_CASE("status: the schema and the document name the same keys") {
  std::ifstream stream{std::string{PROJECT_ROOT} + "/policies/status.schema.json"};
  REQUIRE(stream);
  const auto schema = nlohmann::json::parse(stream, nullptr, false);
  REQUIRE_FALSE(schema.is_discarded());
  const auto document = nlohmann::json::parse(codec::render_status_json(protected_status()), nullptr, false);
  const auto same_keys = [](const nlohmann::json& object, const nlohmann::json& described) {
    for (const auto& [key, value] : object.items()) {
      INFO(key);
      CHECK(described.at("properties").contains(key));
    }
    for (const auto& key : described.at("required")) {
      INFO(key);
      CHECK(object.contains(key.get<std::string>()));
    }
  };
  const auto& properties = schema.at("properties");
  same_keys(document, schema);
  same_keys(document.at("blocked"), properties.at("blocked"));
  same_keys(document.at("kernel"), properties.at("kernel"));
  const auto& tampering = properties.at("tampering");
  same_keys(document.at("tampering"), tampering);
  same_keys(document.at("tampering").at("last"), tampering.at("properties").at("last").at("oneOf").at(1));
  same_keys(document.at("dns"), properties.at("dns"));
  same_keys(document.at("servers").at(0), properties.at("servers").at("items"));
  same_keys(document.at("tunnel"), properties.at("tunnel").at("oneOf").at(1));
}

TEST_CASE("status: text for people") {
  CHECK(
      codec::render_status_text(protected_status()) ==
      R"(killswitch: PROTECTED: traffic leaves through tun0. Besides, open: link control traffic; OpenVPN to 1 server address
  since      2026-11-23T02:18:00Z
  policy     laptop
  tunnel     tun0, up, 192.168.255.2/24
  server     vpn.example.org = 198.51.100.49:1194/udp
  transport  openvpn (pid 4711, /usr/sbin/openvpn), marked
  dns        192.168.255.1 (networkmanager, 2 foreign writes undone, the last at 2026-11-23T02:18:00Z)
  ipv6       tunnelled
  kernel     rules verified, owned and persistent
  refused    4 packets: dns 3, impostor 1
  tampering  3 changes of our rules by other programs, 2 repaired; last 2026-11-23T02:18:00Z: inet killswitch: table deleted, by nft (pid 42)

  next:      killswitch test  proves it
)");
  CHECK(codec::render_status_text(blocked_status()) ==
        R"(killswitch: BLOCKED: the VPN is down. Until it is back, nothing is open
  because    OpenVPN is not running
             no address of vpn.example.org is known
  warning    the kernel has no persist flag
  since      2026-11-23T02:18:00Z
  policy     strict
  server     vpn.example.org:1194/udp: no address, Name or service not known
             192.0.2.1:443/tcp
  dns        no resolver (resolv.conf is left as it is)
  ipv6       refused
  kernel     rules verified, another program can remove them
  refused    1 packet: lan 1

  next:      killswitch connect FILE.ovpn  starts OpenVPN
             killswitch disable  opens this machine
)");
  Status disabled;
  disabled.state = State::disabled;
  disabled.next = {"killswitch enable --config FILE.ovpn  locks this machine"};
  CHECK(codec::render_status_text(disabled) ==
        R"(killswitch: DISABLED: traffic may leave outside the VPN

  next:      killswitch enable --config FILE.ovpn  locks this machine
)");
  auto tried = blocked_status();
  tried.trial = model::TrialStatus{moment(), true, "laptop"};
  CHECK(codec::render_status_text(tried).find("  trial      until 2026-11-23T02:18:00Z, then the settings before "
                                              "(policy laptop) again, unless confirmed\n") != std::string::npos);
  tried.trial = model::TrialStatus{moment(), false, ""};
  CHECK(codec::render_status_text(tried).find("then disabled again, unless confirmed\n") != std::string::npos);
  disabled.switched_off = true;
  CHECK(codec::render_status_text(disabled).find("NOTHING IS ENFORCED") != std::string::npos);
}

TEST_CASE("status: the text fits a screen and prints nothing raw") {
  auto status = blocked_status();
  status.state = State::connecting;
  status.enforced = false;
  status.servers.assign(50, status.servers[0]);
  status.reasons.assign(50, "line\nbreak \x1b[31m");
  status.warnings.assign(50, "w");
  const auto text = codec::render_status_text(status);
  CHECK(std::count(text.begin(), text.end(), '\n') <= 30);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find("line\\x0abreak") != std::string::npos);
  CHECK(text.find("… and 45 more (killswitch status --json)") != std::string::npos);
  CHECK(text.find("killswitch: NOT VERIFIED: the installed ruleset does not match the computed one (target state: "
                  "connecting)\n") == 0);
  CHECK(text.find("rules NOT verified") != std::string::npos);
}
