// What `compile` decides, asked packet by packet through the interpreter; and whether `audit` notices a ruleset that
// was tampered with.
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/rules.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

constexpr std::uint8_t udp = 17;
constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t icmp = 1;
constexpr std::uint8_t icmpv6 = 58;

struct Traffic {
  const char* name;
  IfIndex out;
  const char* destination;
  std::uint8_t protocol;
  std::uint16_t port;
  std::uint32_t uid;
  std::uint32_t mark;
};

Packet outgoing(const Traffic& traffic, Hook hook, const World& world) {
  Packet packet;
  packet.hook = hook;
  packet.oif = traffic.out;
  if (const auto found = world.links.find(traffic.out); found != world.links.end()) {
    packet.oifkind = found->second.kind;
  }
  packet.destination = ip(traffic.destination);
  packet.source.family = packet.destination.family;
  packet.protocol = traffic.protocol;
  if (traffic.port != 0) {
    packet.source_port = Port{40000};
    packet.destination_port = Port{traffic.port};
  }
  packet.uid = traffic.uid;
  packet.mark = traffic.mark;
  return packet;
}

/// Whether `traffic` leaves: output and postrouting must both agree.
bool leaves(const World& world, const Traffic& traffic) {
  const auto ruleset = decide::compile(world);
  return decide::passes(decide::evaluate(ruleset, outgoing(traffic, Hook::output, world))) &&
         decide::passes(decide::evaluate(ruleset, outgoing(traffic, Hook::postrouting, world)));
}

constexpr std::uint32_t mark = default_transport_mark;
const char* const server4 = "198.51.100.49";
const char* const server6 = "2001:db8:b700::220";

}  // namespace

TEST_CASE("What leaves a laptop in each state", "[compile]") {
  struct Row {
    Traffic traffic;
    bool blocked;
    bool connecting;
    bool connected;
  };
  const std::vector<Row> rows = {
      {{"transport, marked", wifi, server4, udp, 1194, 0, mark}, true, true, true},
      {{"transport over IPv6, marked", wifi, server6, udp, 1194, 0, mark}, true, true, true},
      {{"transport, root without the mark", wifi, server4, udp, 1194, 0, 0}, false, false, false},
      {{"transport, another user", wifi, server4, udp, 1194, 1000, 0}, false, false, false},
      {{"server, other port, marked", wifi, server4, udp, 1195, 0, mark}, false, false, false},
      {{"server, other protocol, marked", wifi, server4, tcp, 1194, 0, mark}, false, false, false},
      {{"anyone, marked", wifi, "203.0.113.7", udp, 1194, 0, mark}, false, false, false},
      {{"web", wifi, "203.0.113.7", tcp, 443, 1000, 0}, false, false, false},
      {{"web over IPv6", wifi, "2001:db8:1::7", tcp, 443, 1000, 0}, false, false, false},
      {{"DNS to the router", wifi, "192.168.43.1", udp, 53, 0, 0}, false, false, false},
      {{"mDNS", wifi, "224.0.0.251", udp, 5353, 0, 0}, false, false, false},
      {{"ping", wifi, "203.0.113.7", icmp, 0, 0, 0}, false, false, false},
      {{"loopback", loopback_ifindex, "127.0.0.1", tcp, 80, 1000, 0}, true, true, true},
      {{"guest", bridge, "172.17.0.2", tcp, 80, 1000, 0}, true, true, true},
      {{"guest's port itself", guest, "172.17.0.2", tcp, 80, 1000, 0}, false, false, false},
      {{"unknown interface", IfIndex{99}, "203.0.113.7", udp, 9, 0, 0}, false, false, false},
      {{"tunnel, web", tunnel, "203.0.113.7", tcp, 443, 1000, 0}, false, false, true},
      {{"tunnel, web over IPv6", tunnel, "2001:db8:1::7", tcp, 443, 1000, 0}, false, false, true},
      {{"tunnel, ping", tunnel, "203.0.113.7", icmp, 0, 1000, 0}, false, false, true},
      {{"tunnel, DNS to its resolver", tunnel, "192.168.255.1", udp, 53, 1000, 0}, false, false, true},
      {{"tunnel, DNS to another", tunnel, "203.0.113.53", udp, 53, 1000, 0}, false, false, false},
      {{"tunnel, DoT to another", tunnel, "203.0.113.53", tcp, 853, 1000, 0}, false, false, false},
  };
  for (const auto& row : rows) {
    CAPTURE(row.traffic.name);
    CHECK(leaves(laptop_blocked(), row.traffic) == row.blocked);
    CHECK(leaves(laptop_connecting(), row.traffic) == row.connecting);
    CHECK(leaves(laptop_protected(), row.traffic) == row.connected);
  }
}

TEST_CASE("With no facts nothing but loopback leaves", "[compile]") {
  const auto ruleset = decide::block_all({});
  CHECK(decide::audit(ruleset, World{}).empty());
  for (const auto index : {wifi, tunnel, bridge, IfIndex{12345}}) {
    Packet packet = outgoing({"", index, server4, udp, 1194, 0, mark}, Hook::output, World{});
    CHECK_FALSE(decide::passes(decide::evaluate(ruleset, packet)));
  }
}

TEST_CASE("The tunnel is trusted by index and kind, never by name", "[compile]") {
  auto world = laptop_protected();
  const auto ruleset = decide::compile(world);
  Packet packet = outgoing({"", tunnel, "203.0.113.7", tcp, 443, 0, 0}, Hook::output, world);
  CHECK(decide::passes(decide::evaluate(ruleset, packet)));
  packet.oifkind = "veth";
  CHECK_FALSE(decide::passes(decide::evaluate(ruleset, packet)));
  packet.oifkind = "tun";
  packet.oif = IfIndex{tunnel.number + 1};
  CHECK_FALSE(decide::passes(decide::evaluate(ruleset, packet)));

  SECTION("a trusted interface that became something else is closed at once") {
    world.links[tunnel].kind = "veth";
    CHECK_FALSE(leaves(world, {"", tunnel, "203.0.113.7", tcp, 443, 0, 0}));
  }
}

TEST_CASE("Guests reach the tunnel and nothing else", "[compile]") {
  const auto world = laptop_protected();
  const auto ruleset = decide::compile(world);
  const auto forwarded = [&](IfIndex in, IfIndex out, const char* destination, std::uint16_t port) {
    Packet packet = outgoing({"", out, destination, udp, port, 0, 0}, Hook::forward, world);
    packet.iif = in;
    packet.iifkind = world.links.at(in).kind;
    packet.uid.reset();
    return decide::passes(decide::evaluate(ruleset, packet));
  };
  CHECK(forwarded(bridge, tunnel, "203.0.113.7", 443));
  CHECK(forwarded(tunnel, bridge, "172.17.0.2", 40000));
  CHECK(forwarded(bridge, tunnel, "192.168.255.1", 53));
  CHECK_FALSE(forwarded(bridge, tunnel, "203.0.113.53", 53));
  CHECK_FALSE(forwarded(bridge, wifi, "203.0.113.7", 443));
  CHECK_FALSE(forwarded(wifi, bridge, "172.17.0.2", 80));
  CHECK_FALSE(forwarded(wifi, tunnel, "203.0.113.7", 443));
  CHECK_FALSE(forwarded(tunnel, wifi, "203.0.113.7", 443));
}

TEST_CASE("From a link only answers of the transport come in", "[compile]") {
  const auto world = laptop_protected();
  const auto ruleset = decide::compile(world);
  const auto enters = [&](Packet packet, IfIndex in) {
    packet.hook = Hook::input;
    packet.iif = in;
    packet.iifkind = world.links.at(in).kind;
    return decide::passes(decide::evaluate(ruleset, packet));
  };
  Packet answer;
  answer.source = ip(server4);
  answer.destination = ip("192.168.43.10");
  answer.source_port = Port{1194};
  answer.destination_port = Port{40000};
  CHECK_FALSE(enters(answer, wifi));  // anybody on the link can take the server's address and port
  answer.socket_mark = 0;
  CHECK_FALSE(enters(answer, wifi));
  answer.socket_mark = mark;
  CHECK(enters(answer, wifi));
  Packet stranger = answer;
  stranger.source = ip("203.0.113.7");
  CHECK_FALSE(enters(stranger, wifi));
  CHECK(enters(stranger, tunnel));

  SECTION("an ICMP error counts when it quotes a packet of the transport") {
    Packet error;
    error.source = ip("192.168.43.1");
    error.destination = ip("192.168.43.10");
    error.protocol = icmp;
    error.icmp_type = 3;
    error.transport.assign(36, 0);
    error.transport[17] = udp;
    const auto quoted = ip(server4);
    std::copy_n(quoted.octets().begin(), 4, error.transport.begin() + 24);
    error.transport[30] = 1194 >> 8;
    error.transport[31] = 1194 & 0xff;
    CHECK_FALSE(enters(error, wifi));
    error.socket_mark = mark;
    CHECK(enters(error, wifi));
    error.transport[31] ^= 1;
    CHECK_FALSE(enters(error, wifi));
  }
  SECTION("IPv6 neighbours speak with hop limit 255 only") {
    Packet solicitation;
    solicitation.source = ip("fe80::1");
    solicitation.destination = ip("fe80::2");
    solicitation.protocol = icmpv6;
    solicitation.icmp_type = 135;
    solicitation.hop_limit = 255;
    CHECK(enters(solicitation, wifi));
    solicitation.hop_limit = 254;
    CHECK_FALSE(enters(solicitation, wifi));
  }
}

TEST_CASE("Packets for the tunnel's address that arrive on a link are dropped", "[compile]") {
  const auto world = laptop_protected();
  const auto ruleset = decide::compile(world);
  Packet packet;
  packet.hook = Hook::prerouting;
  packet.iif = wifi;
  packet.destination = ip("192.168.255.2");
  packet.fib_type = 2;
  CHECK_FALSE(decide::passes(decide::evaluate(ruleset, packet)));
  packet.destination = ip("192.168.43.10");
  CHECK(decide::passes(decide::evaluate(ruleset, packet)));
  packet.fib_type = 1;
  CHECK_FALSE(decide::passes(decide::evaluate(ruleset, packet)));
}

TEST_CASE("Refusals are polite where the policy says so", "[compile]") {
  auto world = laptop_blocked();
  const auto verdict = [&](std::uint8_t protocol) {
    return decide::evaluate(decide::compile(world),
                            outgoing({"", wifi, "2001:db8:1::7", protocol, 443, 0, 0}, Hook::output, world))
        .verdict;
  };
  CHECK(verdict(tcp) == Verdict::Kind::reject_with_tcp_reset);
  CHECK(verdict(udp) == Verdict::Kind::reject_admin_prohibited);
  world.settings.policy.refusal = Refusal::drop;
  CHECK(verdict(tcp) == Verdict::Kind::drop);
}

TEST_CASE("A change of server changes set elements only", "[compile]") {
  auto before = decide::compile(laptop_connecting());
  auto world = laptop_connecting();
  world.settings.remotes.push_back(pinned("vpn.example.test", std::nullopt, "198.51.100.50"));
  auto after = decide::compile(world);
  CHECK(before != after);
  for (auto* ruleset : {&before, &after}) {
    for (auto& table : ruleset->tables) {
      for (auto& set : table.sets) {
        set.elements.clear();
      }
    }
  }
  CHECK(before == after);
}

TEST_CASE("The audit accepts what compile makes and notices what is wrong", "[audit]") {
  for (const auto& world : {World{}, laptop_blocked(), laptop_connecting(), laptop_protected()}) {
    CHECK(decide::audit(decide::compile(world), world).empty());
    CHECK(decide::compile_audited(world).violations.empty());
  }
  const auto world = laptop_protected();
  auto ruleset = decide::compile(world);
  auto& chains = ruleset.tables[0].chains;
  const auto output = std::find_if(chains.begin(), chains.end(), [](const Chain& c) { return c.name == "output"; });
  REQUIRE(output != chains.end());

  SECTION("a base chain without its final drop") {
    output->rules.pop_back();
  }
  SECTION("an accept for everyone") {
    output->rules.insert(output->rules.begin(), decide::rule({}, decide::accept(), "G1: everyone"));
  }
  SECTION("an accept by connection state") {
    output->rules.insert(output->rules.begin(),
                         decide::rule({decide::equal(Field::ct_state, 2U)}, decide::accept(), "G1: established"));
  }
  SECTION("a rule that cites no guarantee") {
    output->rules.front().comment = "because";
  }
  SECTION("a missing hook") {
    chains.erase(output);
  }
  SECTION("a link in the verdict map") {
    for (auto& set : ruleset.tables[0].sets) {
      if (set.verdict_map) {
        set.elements.push_back({{wifi.number}, decide::accept()});
      }
    }
  }
  SECTION("the server's port for every user") {
    auto users = decide::rule(
        {decide::ipv4(),
         decide::in_set({decide::field(Field::ip_daddr), decide::field(Field::l4proto), decide::field(Field::th_dport)},
                        "transport4")},
        decide::accept(), "G1: VPN transport");
    output->rules.insert(output->rules.begin() + 1, users);
  }
  SECTION("a user ID that is believed") {
    auto root = decide::rule({decide::equal(Field::skuid, 0U), decide::equal(Field::mark, mark)}, decide::drop(),
                             "G1: by user");
    output->rules.insert(output->rules.begin() + 1, root);
  }
  SECTION("the server's answers for every socket") {
    for (auto& chain : ruleset.tables[0].chains) {
      for (auto& rule : chain.rules) {
        std::erase_if(rule.matches,
                      [](const Match& match) { return match.operands.front().field == Field::socket_mark; });
      }
    }
  }
  CHECK_FALSE(decide::audit(ruleset, world).empty());
}

TEST_CASE("At the egress of links only the transport, upkeep and its frames pass", "[compile]") {
  const auto world = laptop_protected();
  const auto ruleset = decide::compile(world);
  REQUIRE(ruleset.tables.size() == 2);
  const auto leaves_link = [&](const Packet& packet) {
    Packet frame = packet;
    frame.hook = Hook::egress;
    return decide::passes(decide::evaluate(ruleset, frame));
  };
  Packet transport = outgoing({"", wifi, server4, udp, 1194, 0, mark}, Hook::egress, world);
  CHECK(leaves_link(transport));
  transport.mark = 0;
  CHECK_FALSE(leaves_link(transport));

  Packet frame;
  for (const auto& [type, passes] : {std::pair{0x0806U, true}, {0x888eU, true}, {0x88b5U, false}, {0x8100U, false}}) {
    CAPTURE(type);
    frame.ether_type = type;
    CHECK(leaves_link(frame) == passes);
  }

  SECTION("a fragment behind the first passes to the server only") {
    Packet fragment;
    fragment.destination = ip(server4);
    fragment.mark = mark;
    fragment.network.assign(20, 0);
    fragment.network[7] = 1;
    CHECK(leaves_link(fragment));
    fragment.network[7] = 0;
    CHECK_FALSE(leaves_link(fragment));
    fragment.network[7] = 1;
    fragment.destination = ip("203.0.113.7");
    CHECK_FALSE(leaves_link(fragment));
  }
  SECTION("without the feature there is no such table") {
    auto old = world;
    old.kernel.egress = false;
    CHECK(decide::compile(old).tables.size() == 1);
  }
}
