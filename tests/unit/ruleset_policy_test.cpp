// What a policy names besides the tunnel, asked packet by packet; and whether `audit` notices a ruleset that opens more
// than the policy says.
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/rules.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

constexpr std::uint8_t udp = 17;
constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t icmp = 1;
constexpr std::uint8_t syn = 0x02, ack = 0x10, syn_ack = 0x12;

struct Talk {
  const char* name;
  IfIndex interface;
  const char* other;  ///< address of the other computer
  std::uint8_t protocol;
  std::uint16_t from;
  std::uint16_t to;
  std::uint8_t flags;
  bool passes;
};

Packet packet_of(const Talk& talk, const World& world) {
  Packet packet;
  packet.destination = ip(talk.other);
  packet.source.family = packet.destination.family;
  packet.protocol = talk.protocol;
  packet.uid = 1000;
  packet.fib_type = 2;
  const auto link = world.links.find(talk.interface);
  packet.oif = packet.iif = talk.interface;
  packet.oifkind = packet.iifkind = link == world.links.end() ? "" : link->second.kind;
  if (talk.protocol == icmp || talk.protocol == 58) {
    packet.icmp_type = static_cast<std::uint8_t>(talk.from);
    return packet;
  }
  packet.source_port = Port{talk.from};
  packet.destination_port = Port{talk.to};
  packet.transport.assign(20, 0);
  packet.transport[0] = static_cast<std::uint8_t>(talk.from >> 8U);
  packet.transport[1] = static_cast<std::uint8_t>(talk.from);
  packet.transport[2] = static_cast<std::uint8_t>(talk.to >> 8U);
  packet.transport[3] = static_cast<std::uint8_t>(talk.to);
  packet.transport[13] = talk.flags;
  return packet;
}

bool passes_at(const Ruleset& ruleset, Packet packet, Hook hook) {
  packet.hook = hook;
  if (hook == Hook::output || hook == Hook::egress) {
    packet.iif.reset();
    packet.iifkind.clear();
  }
  if (hook == Hook::input || hook == Hook::prerouting) {
    packet.oif.reset();
    packet.oifkind.clear();
    std::swap(packet.source, packet.destination);
  }
  return decide::passes(decide::evaluate(ruleset, packet));
}

/// At every hook on its way out the answer must be the same; links have an egress table.
void check_out(const World& world, const std::vector<Talk>& rows) {
  const auto ruleset = decide::compile(world);
  for (const auto& row : rows) {
    CAPTURE(row.name);
    auto packet = packet_of(row, world);
    packet.iif.reset();
    packet.iifkind.clear();
    CHECK(passes_at(ruleset, packet, Hook::output) == row.passes);
    CHECK(passes_at(ruleset, packet, Hook::postrouting) == row.passes);
    if (row.interface == wifi) {
      CHECK(passes_at(ruleset, packet, Hook::egress) == row.passes);
    }
  }
}

void check_in(const World& world, const std::vector<Talk>& rows) {
  const auto ruleset = decide::compile(world);
  for (const auto& row : rows) {
    CAPTURE(row.name);
    CHECK(passes_at(ruleset, packet_of(row, world), Hook::input) == row.passes);
  }
}

std::vector<Prefix> prefixes(std::initializer_list<const char*> texts) {
  std::vector<Prefix> made;
  for (const auto* text : texts) {
    made.push_back(*parse_prefix(text));
  }
  return made;
}

constexpr IfIndex cable{3};

World with_lan() {
  auto world = laptop_protected();
  world.links[cable] = link(cable, "eth0", "");
  world.settings.policy.lan = {{{"wl*"}, prefixes({"192.168.43.0/24", "fe80::/10"})}};
  return world;
}

constexpr IfIndex lan_bridge{11};
constexpr IfIndex lan_port{12};

World with_router() {
  auto world = laptop_protected();
  world.links[lan_bridge] = link(lan_bridge, "br-lan", "bridge");
  world.links[lan_port] = link(lan_port, "eth1", "");
  world.links[lan_port].master = lan_bridge;
  world.settings.policy.router = {{"br-lan"}, true, true, true};
  return world;
}

World with_services() {
  auto world = laptop_protected();
  world.settings.policy.inbound = {{{"wlo1"}, Protocol::tcp, Port{22}, prefixes({"192.168.0.0/16"})}};
  world.settings.policy.endpoints = {{ip("192.0.2.9"), Port{443}, Protocol::tcp},
                                     {ip("2001:db8::9"), Port{51820}, Protocol::udp}};
  return world;
}

Chain& chain_of(Ruleset& ruleset, const std::string& name) {
  auto& chains = ruleset.tables[0].chains;
  return *std::find_if(chains.begin(), chains.end(), [&](const Chain& chain) { return chain.name == name; });
}

Set& set_of(Table& table, const std::string& name) {
  return *std::find_if(table.sets.begin(), table.sets.end(), [&](const Set& set) { return set.name == name; });
}

void open_at_top(Chain& chain, std::vector<Match> matches) {
  chain.rules.insert(chain.rules.begin(), decide::rule(std::move(matches), decide::accept(), "G1: more than was said"));
}

}  // namespace

TEST_CASE("A local network: what leaves for it, and nothing for names", "[policy]") {
  const auto world = with_lan();
  check_out(world, {
                       {"printer", wifi, "192.168.43.20", tcp, 40000, 631, syn, true},
                       {"ping", wifi, "192.168.43.20", icmp, 8, 0, 0, true},
                       {"link-local neighbour", wifi, "fe80::20", udp, 40000, 9, 0, true},
                       {"beside the prefix", wifi, "192.168.44.20", tcp, 40000, 631, syn, false},
                       {"another link", cable, "192.168.43.20", tcp, 40000, 631, syn, false},
                       {"a public prefix that the link has", wifi, "198.51.100.7", tcp, 40000, 80, syn, false},
                       {"DNS", wifi, "192.168.43.1", udp, 40000, 53, 0, false},
                       {"DNS over TCP", wifi, "192.168.43.1", tcp, 40000, 53, syn, false},
                       {"DNS over TLS", wifi, "192.168.43.1", tcp, 40000, 853, syn, false},
                       {"mDNS", wifi, "224.0.0.251", udp, 5353, 5353, 0, false},
                       {"LLMNR", wifi, "fe80::20", udp, 40000, 5355, 0, false},
                       {"NetBIOS", wifi, "192.168.43.255", udp, 137, 137, 0, false},
                       {"SSDP", wifi, "239.255.255.250", udp, 40000, 1900, 0, false},
                   });
}

TEST_CASE("A local network: only answers come in", "[policy]") {
  check_in(with_lan(), {
                           {"answer of a printer", wifi, "192.168.43.20", tcp, 631, 40000, syn_ack, true},
                           {"connection request", wifi, "192.168.43.20", tcp, 40000, 22, syn, false},
                           {"UDP answer", wifi, "192.168.43.20", udp, 161, 40000, 0, true},
                           {"UDP request", wifi, "192.168.43.20", udp, 40000, 161, 0, false},
                           {"mDNS", wifi, "192.168.43.20", udp, 5353, 5353, 0, false},
                           {"echo reply", wifi, "192.168.43.20", icmp, 0, 0, 0, true},
                           {"unreachable", wifi, "192.168.43.20", icmp, 3, 0, 0, true},
                           {"redirect", wifi, "192.168.43.20", icmp, 5, 0, 0, false},
                           {"echo request", wifi, "192.168.43.20", icmp, 8, 0, 0, false},
                           {"answer from beside the prefix", wifi, "192.168.44.20", tcp, 80, 40000, ack, false},
                           {"answer on another link", cable, "192.168.43.20", tcp, 80, 40000, ack, false},
                       });
}

TEST_CASE("A VPN server in the local network is still OpenVPN's alone", "[policy]") {
  auto world = with_lan();
  world.settings.remotes = {pinned("192.168.43.9", std::nullopt, "192.168.43.9")};
  check_out(world, {{"another program to its port", wifi, "192.168.43.9", udp, 40000, 1194, 0, false},
                    {"another service of it", wifi, "192.168.43.9", tcp, 40000, 22, syn, true}});
  CHECK(decide::compile_audited(world).violations == std::vector<std::string>{});
}

TEST_CASE("Named services and servers: exactly these", "[policy]") {
  const auto world = with_services();
  check_out(world, {
                       {"ssh answer", wifi, "192.168.43.20", tcp, 22, 40000, syn_ack, true},
                       {"a request from its port", wifi, "192.168.43.20", tcp, 22, 40000, syn, false},
                       {"another port", wifi, "192.168.43.20", tcp, 23, 40000, ack, false},
                       {"answer to a stranger", wifi, "203.0.113.7", tcp, 22, 40000, ack, false},
                       {"named server", wifi, "192.0.2.9", tcp, 40000, 443, syn, true},
                       {"its other port", wifi, "192.0.2.9", tcp, 40000, 444, syn, false},
                       {"its other protocol", wifi, "192.0.2.9", udp, 40000, 443, 0, false},
                       {"its neighbour", wifi, "192.0.2.8", tcp, 40000, 443, syn, false},
                       {"named IPv6 server", wifi, "2001:db8::9", udp, 40000, 51820, 0, true},
                   });
  check_in(world, {
                      {"ssh", wifi, "192.168.43.20", tcp, 40000, 22, syn, true},
                      {"telnet", wifi, "192.168.43.20", tcp, 40000, 23, syn, false},
                      {"ssh from a stranger", wifi, "203.0.113.7", tcp, 40000, 22, syn, false},
                      {"ssh over UDP", wifi, "192.168.43.20", udp, 40000, 22, 0, false},
                      {"named server", wifi, "192.0.2.9", tcp, 443, 40000, syn_ack, true},
                      {"its neighbour", wifi, "192.0.2.8", tcp, 443, 40000, syn_ack, false},
                  });
}

TEST_CASE("Trusted interfaces are open; links of that name are not, unless G1 is waived", "[policy]") {
  auto world = laptop_protected();
  constexpr IfIndex second{14};
  world.links[second] = link(second, "wg0", "wireguard");
  world.settings.policy.trusted_interfaces = {"wg0", "wlo1"};
  world.settings.policy.waives = {Guarantee::one_tunnel};
  check_out(world, {{"second VPN", second, "203.0.113.7", tcp, 40000, 443, syn, true},
                    {"hardware of a trusted name", wifi, "203.0.113.7", tcp, 40000, 443, syn, false}});
  CHECK(decide::compile_audited(world).violations == std::vector<std::string>{});
  world.links[second].kind = "";
  check_out(world, {{"hardware that was renamed", second, "203.0.113.7", tcp, 40000, 443, syn, false}});
  world.settings.policy.waives = {};
  world.links[second].kind = "wireguard";
  check_out(world, {{"without the waiver", second, "203.0.113.7", tcp, 40000, 443, syn, false}});
  world.settings.policy.waives = {Guarantee::fail_closed, Guarantee::one_tunnel};
  world.kernel.ahead = false;
  CHECK(decide::compile(world).tables[1].chains.empty());  // no link is left that is not trusted
  CHECK(decide::compile_audited(world).violations == std::vector<std::string>{});
}

TEST_CASE("A router's LAN: served by this host, forwarded into the tunnel and nowhere else", "[policy]") {
  const auto world = with_router();
  check_out(world, {
                       {"DHCP answer", lan_bridge, "10.7.0.20", udp, 67, 68, 0, true},
                       {"DHCPv6 answer", lan_bridge, "fe80::20", udp, 547, 546, 0, true},
                       {"DNS answer", lan_bridge, "10.7.0.20", udp, 53, 40000, 0, true},
                       {"DNS question", lan_bridge, "10.7.0.20", udp, 40000, 53, 0, false},
                       {"anything of this host", lan_bridge, "10.7.0.20", tcp, 40000, 80, syn, false},
                       {"packet too big", lan_bridge, "10.7.0.20", icmp, 3, 0, 0, true},
                       {"DNS answer on a link", wifi, "10.7.0.20", udp, 53, 40000, 0, false},
                       {"DHCP answer on a link", wifi, "10.7.0.20", udp, 67, 68, 0, false},
                   });
  check_in(world, {
                      {"DHCP", lan_bridge, "10.7.0.20", udp, 68, 67, 0, true},
                      {"DNS", lan_bridge, "10.7.0.20", udp, 40000, 53, 0, true},
                      {"ssh", lan_bridge, "10.7.0.20", tcp, 40000, 22, syn, false},
                      {"DNS from a link", wifi, "10.7.0.20", udp, 40000, 53, 0, false},
                  });
  const auto ruleset = decide::compile(world);
  const auto forwards = [&](IfIndex in, IfIndex out, const char* other, std::uint16_t port) {
    auto packet = packet_of({"", out, other, udp, 40000, port, 0, true}, world);
    packet.iif = in;
    packet.iifkind = world.links.at(in).kind;
    packet.uid.reset();
    packet.hook = Hook::forward;
    const bool forward = decide::passes(decide::evaluate(ruleset, packet));
    packet.hook = Hook::postrouting;
    return forward && decide::passes(decide::evaluate(ruleset, packet));
  };
  CHECK(forwards(lan_bridge, tunnel, "203.0.113.7", 443));
  CHECK(forwards(lan_bridge, tunnel, "2001:db8:1::7", 443));
  CHECK(forwards(tunnel, lan_bridge, "10.7.0.20", 40000));
  CHECK(forwards(lan_bridge, tunnel, "192.168.255.1", 53));
  CHECK_FALSE(forwards(lan_bridge, tunnel, "203.0.113.53", 53));
  CHECK_FALSE(forwards(lan_bridge, wifi, "203.0.113.7", 443));
  CHECK_FALSE(forwards(lan_bridge, wifi, "2001:db8:1::7", 443));
  CHECK_FALSE(forwards(wifi, lan_bridge, "10.7.0.20", 443));
  CHECK_FALSE(forwards(wifi, tunnel, "203.0.113.7", 443));
  CHECK_FALSE(forwards(lan_bridge, bridge, "172.17.0.2", 443));
  CHECK_FALSE(forwards(bridge, lan_bridge, "10.7.0.20", 443));
  // The port of the bridge is no link of its own: no egress chain there, one on the Wi-Fi.
  auto here = world;
  here.kernel.ahead = false;
  CHECK(decide::compile(here).tables[1].chains.back().base->devices == std::vector<std::string>{"wlo1"});

  auto down = world;
  down.trusted.reset();
  auto packet = packet_of({"", tunnel, "203.0.113.7", udp, 40000, 443, 0, true}, world);
  packet.iif = lan_bridge;
  packet.hook = Hook::forward;
  CHECK_FALSE(decide::passes(decide::evaluate(decide::compile(down), packet)));
}

TEST_CASE("A packet into the tunnel meets no more rules, whatever the policy names", "[policy]") {
  for (auto world : {with_lan(), with_router(), with_services()}) {
    auto ruleset = decide::compile(world);
    for (const auto* name : {"output", "postrouting"}) {
      CHECK(chain_of(ruleset, name).rules.front().verdict.kind == Verdict::Kind::look_up);
    }
    CHECK(chain_of(ruleset, "output_tunnel").rules.front().verdict.kind == Verdict::Kind::accept);
    CHECK(chain_of(ruleset, "postrouting_tunnel").rules.front().verdict.kind == Verdict::Kind::accept);
  }
}

TEST_CASE("A link that comes or goes changes set elements and egress devices only", "[policy]") {
  for (auto world : {with_lan(), with_router(), with_services()}) {
    auto before = decide::compile(world);
    world.links[IfIndex{20}] = link(IfIndex{20}, "wlan7", "");
    auto after = decide::compile(world);
    CHECK(before != after);
    for (auto* ruleset : {&before, &after}) {
      for (auto& table : ruleset->tables) {
        for (auto& set : table.sets) {
          set.elements.clear();
        }
      }
      ruleset->tables[1].chains.back().base->devices.clear();
    }
    CHECK(before == after);
  }
}

TEST_CASE("The audit accepts what the policy says, in every state", "[audit]") {
  for (auto world : {with_lan(), with_router(), with_services()}) {
    CHECK(decide::compile_audited(world).violations == std::vector<std::string>{});
    world.trusted.reset();
    world.report.reset();
    CHECK(decide::compile_audited(world).violations == std::vector<std::string>{});
  }
}

TEST_CASE("The audit notices a ruleset that opens more than the policy says", "[audit]") {
  const auto lan = with_lan();
  const auto router = with_router();
  const auto services = with_services();
  const World* world = &lan;
  auto ruleset = decide::compile(lan);

  SECTION("a rule of a policy that does not say so") {
    world = &services;
  }
  SECTION("another prefix") {
    set_of(ruleset.tables[0], "lan1_prefixes4").elements.push_back({{*parse_prefix("192.168.44.0/24")}, {}});
  }
  SECTION("another prefix at egress") {
    set_of(ruleset.tables[1], "lan1_prefixes4").elements.push_back({{*parse_prefix("192.168.44.0/24")}, {}});
  }
  SECTION("another link") {
    set_of(ruleset.tables[0], "lan1_links").elements.push_back({{cable.number}, {}});
  }
  SECTION("names in the local network") {
    auto& rules = chain_of(ruleset, "postrouting").rules;
    std::erase_if(rules, [](const Rule& rule) { return rule.counter == "dns"; });
  }
  SECTION("requests from the local network") {
    open_at_top(chain_of(ruleset, "lan_answers"), {});
  }
  SECTION("requests from everywhere") {
    open_at_top(chain_of(ruleset, "input"), {decide::l4proto(6)});
  }
  SECTION("the LAN to a link") {
    world = &router;
    ruleset = decide::compile(router);
    open_at_top(chain_of(ruleset, "forward"), {decide::equal(Field::iif, lan_bridge.number)});
  }
  SECTION("any resolver for the LAN") {
    world = &router;
    ruleset = decide::compile(router);
    open_at_top(chain_of(ruleset, "forward_tunnel"), {decide::equal(Field::iif, lan_bridge.number)});
  }
  SECTION("a link to the LAN") {
    world = &router;
    ruleset = decide::compile(router);
    open_at_top(chain_of(ruleset, "forward_lan"), {});
  }
  SECTION("another port of a named service") {
    world = &services;
    ruleset = decide::compile(services);
    open_at_top(chain_of(ruleset, "output"), {decide::l4proto(6), decide::sport(23)});
  }
  SECTION("another port of a named server") {
    world = &services;
    ruleset = decide::compile(services);
    set_of(ruleset.tables[0], "endpoints4").elements.push_back({{ip("192.0.2.9"), 6U, 442U}, {}});
  }
  CHECK_FALSE(decide::audit(ruleset, *world).empty());
}

TEST_CASE("Status warns of what a policy gives up", "[policy]") {
  auto world = laptop_protected();
  const auto holds = [&world](const std::string& text) {
    const auto warnings = decide::describe(world).warnings;
    return std::count(warnings.begin(), warnings.end(), text) == 1;
  };
  auto& policy = world.settings.policy;
  policy.trusted_interfaces = {"wlo1"};
  policy.waives = {Guarantee::one_tunnel};
  CHECK(
      holds("the policy laptop gives up G6: everything may use the interface wlo1, which is known by its name alone"));
  CHECK(
      holds("the policy laptop trusts wlo1, but that is a link: it stays closed as long as the policy does not waive "
            "G1"));
  policy.waives.push_back(Guarantee::fail_closed);
  CHECK(holds("the policy laptop gives up G1: wlo1 is a link, and everything may leave by it"));
  policy.router.lan = {"br-lan", "lan*"};
  CHECK(holds("there is no interface called br-lan or lan*, where the policy laptop says that the LAN is"));
}
