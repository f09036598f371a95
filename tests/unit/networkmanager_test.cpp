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
constexpr std::uint32_t plugin_pid = 4711;

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
  connection.device = VpnDevice{"tun0", {ip("192.168.255.1")}, {"vpn.test"}};
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

/// The plugin's OpenVPN, as any other: proven, with the device open.
void prove(World& world, IfIndex index = tunnel) {
  run(world,
      TransportProven{
          {plugin_pid, "/usr/sbin/openvpn", {Endpoint{ip("198.51.100.49"), Port{1194}, Protocol::udp}}, {index}, {}}});
}

World connected() {
  auto world = enrolled();
  appear(world);
  prove(world);
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

TEST_CASE("The tunnel of an enrolled connection is trusted by proof, with NetworkManager's resolvers",
          "[networkmanager]") {
  auto world = enrolled();
  found(world, activated());
  appear(world);
  CHECK_FALSE(world.trusted);  // NetworkManager's word alone opens nothing
  CHECK(mentions(decide::describe(world).reasons, "NetworkManager's VPN office"));
  prove(world);
  REQUIRE(world.trusted);
  CHECK(world.trusted->index == tunnel);
  const auto& report = world.trusted->report;
  CHECK(report.source == TunnelSource::process);
  CHECK(report.server == Endpoint{ip("198.51.100.49"), Port{1194}, Protocol::udp});
  CHECK(report.resolvers == std::vector{ip("192.168.255.1")});
  CHECK(report.search_domains == std::vector<std::string>{"vpn.test"});
  world.observation.emplace().present = true;
  CHECK(decide::describe(world).state == State::protected_);
  CHECK(decide::compile_audited(world).violations.empty());
}

TEST_CASE("A tunnel is not used before NetworkManager has told its resolvers", "[networkmanager]") {
  auto world = enrolled();
  auto said = activated();
  said.state = VpnState::connecting;
  said.device.reset();
  found(world, said);
  appear(world);
  prove(world);
  CHECK_FALSE(world.trusted);
  found(world, activated());
  CHECK(world.trusted);
}

TEST_CASE("Trust ends with the process and with the link, not with NetworkManager", "[networkmanager]") {
  auto world = connected();
  REQUIRE(world.trusted);
  SECTION("NetworkManager leaves the bus, and its OpenVPN lives") {
    run(world, NetworkManagerFound{});
    CHECK(world.trusted);
  }
  SECTION("OpenVPN ends") {
    run(world, TransportEnded{plugin_pid});
    CHECK_FALSE(world.trusted);
  }
  SECTION("the link goes; another of its name is another one") {
    run(world, LinkRemoved{tunnel});
    CHECK_FALSE(world.trusted);
    appear(world, IfIndex{77});
    CHECK_FALSE(world.trusted);
    prove(world, IfIndex{77});
    REQUIRE(world.trusted);
    CHECK(world.trusted->index == IfIndex{77});
  }
  CHECK(decide::compile_audited(world).violations.empty());
}

TEST_CASE("Over a restart of the daemon the resolvers stay until NetworkManager has been asked", "[networkmanager]") {
  const auto before = connected();
  const auto saved = decide::to_save(before);
  REQUIRE(saved);
  const auto read = codec::parse_state(codec::render_state(*saved), "state");
  REQUIRE(read);
  auto world = decide::restore(*read);
  // Proven again by its handle, before the interfaces are known; it has not sent anything since.
  run(world, TransportProven{{plugin_pid, "/usr/sbin/openvpn", {}, {tunnel}, {}}});
  run(world, LinksListed{before.links});
  REQUIRE(world.trusted);
  CHECK(world.trusted->report.resolvers == before.trusted->report.resolvers);
  run(world, ManagementOpened{{1}, management::Direction::openvpn_connected, true, 1});
  CHECK_FALSE(world.reporter);  // the proven tunnel is nothing of this OpenVPN's
  found(world, activated());
  CHECK(world.trusted == before.trusted);
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
  run(world, TransportEnded{plugin_pid});
  run(world, NetworkManagerFound{true, {}});
  CHECK(world.dns.setup);  // names stay as they were
  auto said = activated();
  said.state = VpnState::connecting;
  said.device.reset();
  found(world, said);
  CHECK_FALSE(world.dns.setup);
  appear(world);
  prove(world);
  found(world, activated());
  REQUIRE(world.dns.setup);
  CHECK(world.dns.setup->servers == std::vector{ip("192.168.255.1")});
}
