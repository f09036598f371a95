// VPN connections of NetworkManager: which servers their settings name, and when their tunnel is trusted.
#include "killswitch/codec/networkmanager_vpn.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

using Data = std::map<std::string, std::string>;

constexpr std::chrono::sys_seconds noon{std::chrono::seconds{1795400000}};
constexpr const char* uuid = "22222222-3333-4444-5555-666666666666";
constexpr const char* path = "/org/freedesktop/NetworkManager/Devices/3";
constexpr std::uint32_t plugin_user = 992;

std::string text(const Result<std::vector<Remote>>& remotes) {
  if (!remotes) {
    return "error: " + remotes.error().message();
  }
  std::string all;
  for (const auto& remote : *remotes) {
    all += (all.empty() ? "" : " ") + to_string(remote);
  }
  return all;
}

std::string parsed(const std::string& remote, Data more = {}) {
  more["remote"] = remote;
  return text(codec::parse_vpn_data(more));
}

Remote server() {
  return {"vpn.example.test", Port{1194}, Protocol::udp, std::nullopt};
}

/// Enabled with a VPN connection of NetworkManager, verified; nothing runs.
World enrolled() {
  auto world = laptop_blocked();
  world.settings.remotes = {pinned("vpn.example.test", std::nullopt, "198.51.100.49")};
  world.settings.networkmanager = {{uuid, "office", {server()}}};
  world.settings.transport_users = {plugin_user};
  Observation verified;
  verified.present = true;
  world.observation = verified;
  world.dns.facts = plain_resolv_conf("192.168.255.1");
  return world;
}

VpnConnection activated() {
  VpnConnection connection;
  connection.uuid = uuid;
  connection.state = VpnState::activated;
  connection.remotes = {server()};
  connection.device = VpnDevice{path,
                                "tun0",
                                dual_stack_report().addresses,
                                {ip("192.168.255.1")},
                                {"vpn.test"},
                                {ip("192.168.43.1"), ip("198.51.100.49")}};
  return connection;
}

void run(World& world, const Event& event) {
  // What the kernel is to hold has been verified in this test whenever it changes.
  [[maybe_unused]] const auto effects = decide::step(world, event, noon);
}

void found(World& world, const VpnConnection& connection) {
  run(world, NetworkManagerFound{true, {connection}});
}

/// A tunnel's link, with its addresses.
void appear(World& world, IfIndex index = tunnel) {
  auto made = tun0(index);
  run(world, LinkChanged{made});
  for (const auto& address : made.addresses) {
    run(world, AddressAdded{index, address});
  }
}

World connected() {
  auto world = enrolled();
  appear(world);
  found(world, activated());
  return world;
}

bool mentions(const std::vector<std::string>& lines, std::string_view words) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

}  // namespace

TEST_CASE("Servers of a connection: lists, ports, protocols and defaults", "[networkmanager]") {
  CHECK(parsed("vpn.example.org") == "vpn.example.org:1194/udp");
  CHECK(parsed("198.51.100.10:1195") == "198.51.100.10:1195/udp");
  CHECK(parsed("vpn.example.org:443:tcp") == "vpn.example.org:443/tcp");
  CHECK(parsed("vpn.example.org::tcp-client") == "vpn.example.org:1194/tcp");
  CHECK(parsed("a.example:1:udp4, b.example:2:tcp6-client\tc.example") ==
        "a.example:1/udp4 b.example:2/tcp6 c.example:1194/udp");
  CHECK(parsed("  a.example ,, a.example:1194:udp ") == "a.example:1194/udp");
  CHECK(parsed("[2001:db8::1]:1195:udp6 2001:db8::2 [2001:db8::3]") ==
        "[2001:db8::1]:1195/udp6 [2001:db8::2]:1194/udp [2001:db8::3]:1194/udp");
  CHECK(parsed("a.example, b.example:7:udp", {{"port", "1300"}, {"proto-tcp", "yes"}}) ==
        "a.example:1300/tcp b.example:7/udp");
  CHECK(parsed("a.example", {{"proto-tcp", "no"}, {"proxy-type", "none"}}) == "a.example:1194/udp");
}

TEST_CASE("Settings of a connection that name no server are refused, and say why", "[networkmanager]") {
  struct Bad {
    const char* remote;
    const char* words;
  };
  for (const auto& [remote, words] :
       {Bad{"", "expected 1 to 64 servers"}, Bad{" , ", "expected 1 to 64 servers"}, Bad{"a.example:0", "the port"},
        Bad{"a.example:65536", "the port"}, Bad{"a.example:x", "the port"}, Bad{"a.example:1:icmp", "the protocol"},
        Bad{"a.example:1:udp:x", "colons"}, Bad{":1194", "the host"}, Bad{"[a.example]:1", "brackets"},
        Bad{"[2001:db8::1", "brackets"}, Bad{"[2001:db8::1]1194", "brackets"}, Bad{"[198.51.100.1]:1", "brackets"},
        Bad{"a b..c", "the host"}, Bad{"10.0.0.256", "the host"}, Bad{"a.example;reboot", "the host"},
        Bad{"2001:db8::1:1194:udp", "colons"}}) {
    INFO(remote);
    const auto said = parsed(remote);
    CHECK(said.starts_with("error: "));
    CHECK(said.find(words) != std::string::npos);
  }
  CHECK(parsed("a.example", {{"port", "x"}}).find("port 'x'") != std::string::npos);
  CHECK(parsed("a.example", {{"proxy-type", "http"}}).find("proxy") != std::string::npos);
  CHECK(parsed("a.example", {{"remote-random-hostname", "yes"}}).find("random") != std::string::npos);
  std::string many;
  for (int i = 0; i < 65; ++i) {
    many += "h" + std::to_string(i) + ".example ";
  }
  CHECK(parsed(many).find("found 65") != std::string::npos);
}

TEST_CASE("UUIDs", "[networkmanager]") {
  CHECK(codec::is_uuid(uuid));
  CHECK_FALSE(codec::is_uuid(""));
  CHECK_FALSE(codec::is_uuid("22222222-3333-4444-5555-66666666666"));
  CHECK_FALSE(codec::is_uuid("22222222-3333-4444-5555-6666666666660"));
  CHECK_FALSE(codec::is_uuid("2222222g-3333-4444-5555-666666666666"));
}

TEST_CASE("What was enrolled is kept and read again; what is none is refused", "[networkmanager]") {
  const auto settings = enrolled().settings;
  const auto again = codec::parse_settings(codec::render_settings(settings), "settings");
  REQUIRE(again);
  CHECK(*again == settings);
  for (const char* bad :
       {R"([{"uuid":"x","name":"a","remotes":[]}])", R"([{"uuid":"22222222-3333-4444-5555-666666666666","name":"a"}])",
        R"([{"uuid":"22222222-3333-4444-5555-666666666666","name":"a","remotes":["a b:1/udp"]}])",
        R"([{"uuid":"22222222-3333-4444-5555-666666666666","name":"a","remotes":["a.example"]}])"}) {
    INFO(bad);
    auto json = codec::render_settings(World{}.settings);
    json.insert(json.find('{') + 1, std::string{"\"networkmanager\":"} + bad + ",");
    const auto refused = codec::parse_settings(json, "settings");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().find("/networkmanager/0") != std::string::npos);
  }
}

TEST_CASE("The tunnel of an enrolled connection is trusted once NetworkManager and the kernel agree",
          "[networkmanager]") {
  auto world = enrolled();
  found(world, activated());
  CHECK_FALSE(world.trusted);  // no link yet
  appear(world);
  REQUIRE(world.trusted);
  CHECK(world.trusted->index == tunnel);
  const auto& report = world.trusted->report;
  CHECK(report.source == TunnelSource::networkmanager);
  CHECK(report.server == Endpoint{ip("198.51.100.49"), Port{1194}, Protocol::udp});
  CHECK(report.resolvers == std::vector{ip("192.168.255.1")});
  CHECK(report.search_domains == std::vector<std::string>{"vpn.test"});
  world.observation.emplace().present = true;
  CHECK(decide::describe(world).state == State::protected_);
  CHECK(decide::compile_audited(world).violations.empty());
}

TEST_CASE("Anything that is missing leaves it untrusted", "[networkmanager]") {
  auto said = activated();
  SECTION("another connection") {
    said.uuid = "99999999-3333-4444-5555-666666666666";
  }
  SECTION("not activated yet") {
    said.state = VpnState::connecting;
  }
  SECTION("no device") {
    said.device.reset();
  }
  SECTION("another interface") {
    said.device->interface = "tun1";
  }
  SECTION("another address") {
    said.device->addresses = {*parse_interface_address("10.8.0.2/24")};
  }
  SECTION("no address") {
    said.device->addresses.clear();
  }
  SECTION("a server that was not pinned") {
    said.device->way_out = {ip("192.168.43.1"), ip("203.0.113.9")};
  }
  SECTION("no server") {
    said.device->way_out.clear();
  }
  auto world = enrolled();
  SECTION("a link of another kind") {
    world.links[tunnel] = link(tunnel, "tun0", "dummy");
    world.links[tunnel].addresses = said.device->addresses;
    found(world, said);
    CHECK_FALSE(world.trusted);
    return;
  }
  SECTION("a server that was pinned for something else") {
    world.settings.networkmanager[0].remotes = {{"other.example", Port{1194}, Protocol::udp, std::nullopt}};
  }
  appear(world);
  found(world, said);
  CHECK_FALSE(world.trusted);
  CHECK(decide::describe(world).state != State::protected_);
  CHECK(mentions(decide::describe(world).reasons, "NetworkManager's VPN office"));
}

TEST_CASE("Trust ends with the state, with NetworkManager and with the link", "[networkmanager]") {
  auto world = connected();
  REQUIRE(world.trusted);
  SECTION("the connection is not activated any more") {
    auto said = activated();
    said.state = VpnState::inactive;
    said.device.reset();
    found(world, said);
    CHECK_FALSE(world.trusted);
    CHECK(decide::describe(world).state == State::blocked);
  }
  SECTION("it is gone") {
    run(world, NetworkManagerFound{true, {}});
    CHECK_FALSE(world.trusted);
  }
  SECTION("NetworkManager leaves the bus") {
    run(world, NetworkManagerFound{});
    CHECK_FALSE(world.trusted);
    CHECK(mentions(decide::describe(world).reasons, "not running"));
    found(world, activated());
    CHECK(world.trusted);
  }
  SECTION("the link goes; another of its name is another one, although NetworkManager has not noticed yet") {
    run(world, LinkRemoved{tunnel});
    CHECK_FALSE(world.trusted);
    appear(world, IfIndex{77});
    CHECK_FALSE(world.trusted);
    found(world, activated());
    CHECK_FALSE(world.trusted);
    auto anew = activated();
    anew.device->path = "/org/freedesktop/NetworkManager/Devices/4";
    found(world, anew);
    REQUIRE(world.trusted);
    CHECK(world.trusted->index == IfIndex{77});
  }
  SECTION("disabled") {
    run(world, DisableRequested{});
    CHECK_FALSE(world.report);
  }
  CHECK(decide::compile_audited(world).violations.empty());
}

TEST_CASE("Over a restart of the daemon the tunnel stays until NetworkManager has been asked", "[networkmanager]") {
  const auto before = connected();
  const auto saved = decide::to_save(before);
  REQUIRE(saved);
  const auto text = codec::render_state(*saved);
  const auto read = codec::parse_state(text, "state");
  REQUIRE(read);
  auto world = decide::restore(*read);
  run(world, LinksListed{before.links});
  REQUIRE(world.trusted);
  run(world, ManagementOpened{{1}, management::Direction::openvpn_connected, true});
  CHECK_FALSE(world.reporter);  // NetworkManager's tunnel is nothing of this OpenVPN's
  SECTION("it says the same") {
    found(world, activated());
    CHECK(world.trusted == before.trusted);
  }
  SECTION("it is not there") {
    run(world, NetworkManagerFound{});
    CHECK_FALSE(world.trusted);
  }
}

TEST_CASE("A second OpenVPN does not take the place of NetworkManager's tunnel, nor the reverse", "[networkmanager]") {
  auto world = connected();
  run(world, ManagementOpened{{1}, management::Direction::openvpn_connected});
  auto other = dual_stack_report();
  other.interface = "tun1";
  run(world, ManagementReceived{{1}, management::TunnelUp{other}});
  REQUIRE(world.trusted);
  CHECK(world.trusted->report.interface == "tun0");

  auto managed = laptop_protected();
  managed.settings.networkmanager = enrolled().settings.networkmanager;
  auto said = activated();
  said.device->interface = "tun1";
  found(managed, said);
  REQUIRE(managed.trusted);
  CHECK(managed.trusted->report.source == TunnelSource::management);
}

TEST_CASE("A connection that was changed is told, and opens nothing", "[networkmanager]") {
  auto world = connected();
  CHECK_FALSE(mentions(decide::describe(world).warnings, "was changed"));
  auto changed = activated();
  changed.remotes = {{"203.0.113.9", Port{53}, Protocol::udp, std::nullopt}};
  const auto before = decide::transport_endpoints(world);
  found(world, changed);
  CHECK(decide::transport_endpoints(world) == before);
  const auto warnings = decide::describe(world).warnings;
  CHECK(mentions(warnings, "203.0.113.9:53/udp"));
  CHECK(mentions(warnings, "killswitch enable --networkmanager office"));
  changed.remotes.clear();
  changed.unusable = "it goes through a proxy";
  found(world, changed);
  CHECK(mentions(decide::describe(world).warnings, "it goes through a proxy"));
}

TEST_CASE("The plugin's user may send to the server, also beside a profile with a mark", "[networkmanager]") {
  auto world = enrolled();
  CHECK(decide::transport_users(world) == std::vector<std::uint32_t>{0, plugin_user});
  world.settings.profile_mark = 7;
  CHECK(decide::transport_users(world) == std::vector<std::uint32_t>{0, plugin_user});
  world.settings.networkmanager.clear();
  CHECK(decide::transport_users(world).empty());
}

TEST_CASE("What to do next names the connection as the shell wants it", "[networkmanager]") {
  auto world = enrolled();
  CHECK(mentions(decide::describe(world).next, "nmcli connection up office "));
  world.settings.networkmanager[0].name = "it's mine";
  CHECK(mentions(decide::describe(world).next, "nmcli connection up 'it'\\''s mine'"));
  auto said = activated();
  said.state = VpnState::connecting;
  found(world, said);
  CHECK(decide::describe(world).state == State::connecting);
}

TEST_CASE("While the plugin connects by name, the links' resolvers are back; with the tunnel its own are",
          "[networkmanager]") {
  auto world = connected();
  REQUIRE(world.dns.setup);
  run(world, LinkRemoved{tunnel});
  run(world, NetworkManagerFound{true, {}});
  CHECK(world.dns.setup);  // names stay as they were
  auto said = activated();
  said.state = VpnState::connecting;
  said.device.reset();
  found(world, said);
  CHECK_FALSE(world.dns.setup);
  appear(world);
  auto anew = activated();
  anew.device->path = "/org/freedesktop/NetworkManager/Devices/4";
  found(world, anew);
  REQUIRE(world.dns.setup);
  CHECK(world.dns.setup->servers == std::vector{ip("192.168.255.1")});
}
