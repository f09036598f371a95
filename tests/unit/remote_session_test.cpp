// Is this given from afar, and would the lock cut it? The traces of a session as they stand in /proc, and the ruleset's
// own answer for every way in.
#include "killswitch/codec/remote_session.hpp"
#include "killswitch/decide/remote_session.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

RemoteSession session(const char* client, const char* server, std::uint16_t port = 22, const char* interface = "") {
  return {ip(client), Port{50000}, ip(server), Port{port}, interface};
}

using namespace std::string_literals;

}  // namespace

TEST_CASE("The environment of an SSH session", "[ssh]") {
  const auto found = codec::session_in_environment("A=b\0SSH_CONNECTION=192.168.43.7 50000 192.168.43.10 22\0C=d\0"s);
  REQUIRE(found);
  CHECK(*found == session("192.168.43.7", "192.168.43.10"));
  const auto six = codec::session_in_environment("SSH_CONNECTION=fe80::7%wlo1 50000 fe80::10%wlo1 2222\0"s);
  REQUIRE(six);
  CHECK(*six == session("fe80::7", "fe80::10", 2222, "wlo1"));
  for (const auto& bad : {""s, "SSH_CONNECTION="s, "SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535\0"s,
                          "XSSH_CONNECTION=192.0.2.1 1 192.0.2.2 2"s, "SSH_CONNECTION=192.0.2.1 1 192.0.2.2"s,
                          "SSH_CONNECTION=192.0.2.1 0 192.0.2.2 22"s, "SSH_CONNECTION=192.0.2.1 1 192.0.2.2 22 x"s}) {
    INFO(bad);
    CHECK_FALSE(codec::session_in_environment(bad));
  }
}

TEST_CASE("The parent of a process, whatever its name is", "[ssh]") {
  CHECK(codec::parent_in_stat("42 (bash) S 41 42 42 0") == 41U);
  CHECK(codec::parent_in_stat("42 (a) S 1 (b) S 41 42") == 41U);
  CHECK_FALSE(codec::parent_in_stat("42 (bash"));
  CHECK_FALSE(codec::parent_in_stat("42 (bash) S"));
  CHECK_FALSE(codec::parent_in_stat(""));
}

TEST_CASE("The kernel's table of connections", "[ssh]") {
  const auto four = codec::connections_in_table(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0A2BA8C0:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0\n"
      "   1: 0A2BA8C0:0016 072BA8C0:C350 01 00000000:00000000 02:00000000 00000000     0        0 4242 4 0\n"
      "   2: nonsense\n");
  REQUIRE(four.size() == 1);
  CHECK(four[0].session == session("192.168.43.7", "192.168.43.10"));
  CHECK(four[0].inode == 4242);
  const auto six = codec::connections_in_table(
      "   1: B80D0120002B0000000000000A000000:0016 B80D0120002B00000000000007000000:C350 01 0:0 0:0 0 0 0 7 4\n"
      "   2: 0000000000000000FFFF00000A2BA8C0:0016 0000000000000000FFFF0000072BA8C0:C350 01 0:0 0:0 0 0 0 8 4\n");
  REQUIRE(six.size() == 2);
  CHECK(six[1].session == session("192.168.43.7", "192.168.43.10"));
  CHECK(six[0].session.client.family == Family::ipv6);
  CHECK(codec::connections_in_table("").empty());
}

TEST_CASE("Which sessions the lock cuts", "[ssh]") {
  auto world = laptop_protected();
  world.links[loopback_ifindex].addresses = {*parse_interface_address("127.0.0.1/8"),
                                             *parse_interface_address("::1/128")};
  world.links[bridge].addresses = {*parse_interface_address("172.17.0.1/16")};
  const auto cut_on = [&](const RemoteSession& session) {
    const auto cut = decide::session_cut_by(world, session);
    return cut ? "cut on " + cut->interface : std::string { "kept" };
  };
  const auto over_wifi = session("192.168.43.7", "192.168.43.10");
  CHECK(cut_on(over_wifi) == "cut on wlo1");
  CHECK(cut_on(session("203.0.113.9", "192.168.43.10")) == "cut on wlo1");
  CHECK(cut_on(session("127.0.0.1", "127.0.0.1")) == "kept");
  CHECK(cut_on(session("192.168.43.10", "192.168.43.10")) == "kept");  // this machine's own address
  CHECK(cut_on(session("192.168.255.1", "192.168.255.2")) == "kept");  // through the tunnel
  CHECK(cut_on(session("172.17.0.2", "172.17.0.1")) == "kept");        // a guest of this host
  CHECK(cut_on(session("192.0.2.1", "192.0.2.2")) == "cut on ");       // nobody knows where that comes in
  CHECK(cut_on(session("fe80::7", "fe80::10", 22, "wlo1")) == "cut on wlo1");

  SECTION("a policy lets it in") {
    world.settings.policy.inbound = {{{"wl*"}, Protocol::tcp, Port{22}, {*parse_prefix("192.168.43.0/24")}}};
    CHECK(cut_on(over_wifi) == "kept");
    CHECK(cut_on(session("192.168.44.7", "192.168.43.10")) == "cut on wlo1");
    CHECK(cut_on(session("192.168.43.7", "192.168.43.10", 2222)) == "cut on wlo1");
  }
  SECTION("on another link only") {
    world.settings.policy.inbound = {{{"eth0"}, Protocol::tcp, Port{22}, {*parse_prefix("192.168.43.0/24")}}};
    CHECK(cut_on(over_wifi) == "cut on wlo1");
  }
  SECTION("a trusted interface") {
    world.links[IfIndex{12}] = link(IfIndex{12}, "wg0", "wireguard");
    world.links[IfIndex{12}].addresses = {*parse_interface_address("10.9.0.2/24")};
    CHECK(cut_on(session("10.9.0.1", "10.9.0.2")) == "cut on wg0");
    world.settings.policy.trusted_interfaces = {"wg0"};
    world.settings.policy.waives = {Guarantee::one_tunnel};
    CHECK(cut_on(session("10.9.0.1", "10.9.0.2")) == "kept");
  }
  SECTION("the tunnel is no way in before it is trusted") {
    world.trusted.reset();
    CHECK(cut_on(session("192.168.255.1", "192.168.255.2")) == "cut on tun0");
  }
}
