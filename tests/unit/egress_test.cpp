// Where the chains at the egress of links stand, on kernels of every age; and that the audit misses none.
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/step.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

const Table* frames_of(const Ruleset& ruleset) {
  const auto found = std::find_if(ruleset.tables.begin(), ruleset.tables.end(),
                                  [](const Table& table) { return table.family == TableFamily::netdev; });
  return found == ruleset.tables.end() ? nullptr : &*found;
}

/// Name and devices of each base chain.
std::vector<std::pair<std::string, std::vector<std::string>>> stands(const World& world) {
  std::vector<std::pair<std::string, std::vector<std::string>>> all;
  const auto ruleset = decide::compile(world);
  const Table* table = frames_of(ruleset);
  REQUIRE(table != nullptr);
  for (const auto& chain : table->chains) {
    if (chain.base) {
      all.emplace_back(chain.name, chain.base->devices);
    }
  }
  return all;
}

std::vector<std::string> covered(const World& world) {
  std::vector<std::string> devices;
  for (auto& [name, its] : stands(world)) {
    devices.insert(devices.end(), its.begin(), its.end());
  }
  return devices;
}

bool is_covered(const World& world, const std::string& name) {
  const auto devices = covered(world);
  return std::find(devices.begin(), devices.end(), name) != devices.end();
}

void run(World& world, const Event& event) {
  (void)decide::step(world, event, {});
}

KernelFeatures debian12() {
  return {.owner = true, .persist = false, .fib = true, .socket = true, .egress = true, .grows = false, .ahead = false};
}

KernelFeatures debian13() {
  return {.owner = true, .persist = true, .fib = true, .socket = true, .egress = true, .grows = true, .ahead = false};
}

Link hardware(std::uint32_t index, const char* name) {
  return link(IfIndex{index}, name, "");
}

using Stand = std::pair<std::string, std::vector<std::string>>;

}  // namespace

TEST_CASE("Where chains cannot grow every link has one of its own, where they can there is one", "[egress]") {
  auto world = laptop_protected();
  for (const Link& one : {hardware(20, "eth0.5"), hardware(21, "odd_name"), hardware(22, "ü{")}) {
    world.links[one.index] = one;
  }
  world.kernel = debian13();
  CHECK(stands(world) == std::vector{Stand{"egress", {"eth0.5", "odd_name", "wlo1", "ü{"}}});
  world.kernel = debian12();
  CHECK(stands(world) == std::vector{Stand{"egress_eth0.5", {"eth0.5"}}, Stand{"egress_odd_5fname", {"odd_name"}},
                                     Stand{"egress_wlo1", {"wlo1"}}, Stand{"egress__c3_bc_7b", {"ü{"}}});
  CHECK(decide::audit(decide::compile(world), world).empty());
}

TEST_CASE("More links than one chain can have", "[egress]") {
  auto world = laptop_protected();
  for (std::uint32_t i = 0; i < 600; ++i) {
    const auto name = "port" + std::to_string(i);
    world.links[IfIndex{100 + i}] = link(IfIndex{100 + i}, name.c_str(), "");
  }
  world.kernel = debian13();
  const auto chains = stands(world);
  REQUIRE(chains.size() == 3);
  CHECK(chains[0].second.size() == 256);
  CHECK(chains[1].first == "egress_2");
  CHECK(chains[2].second.size() == 601 - 512);
}

TEST_CASE("Names that a link may come with are covered before it comes, and no others", "[egress]") {
  auto world = laptop_protected();
  CHECK(is_covered(world, "usb0"));
  CHECK(is_covered(world, "wwan3"));
  CHECK_FALSE(is_covered(world, "usb9"));
  CHECK_FALSE(is_covered(world, "tun0"));
  CHECK_FALSE(is_covered(world, "docker0"));
  CHECK_FALSE(is_covered(world, "veth0"));

  SECTION("not where the kernel wants the device first") {
    world.kernel = debian13();
    CHECK(covered(world) == std::vector<std::string>{"wlo1"});
  }
  SECTION("names from before a removal or a renaming") {
    run(world, LinkChanged{hardware(30, "enp9s0")});
    run(world, LinkRemoved{IfIndex{30}});
    run(world, LinkChanged{hardware(31, "usb7")});
    run(world, LinkChanged{hardware(31, "enx0")});
    CHECK(is_covered(world, "enp9s0"));
    CHECK(is_covered(world, "usb7"));
    CHECK(is_covered(world, "enx0"));
    run(world, LinksUnknown{"lost"});
    CHECK(is_covered(world, "wlo1"));
    CHECK(is_covered(world, "enx0"));
  }
  SECTION("no name that the tunnel, another tunnel or a guest had") {
    run(world, LinkRemoved{tunnel});
    run(world, LinkChanged{link(IfIndex{40}, "tun5", "tun")});
    run(world, LinkRemoved{IfIndex{40}});
    run(world, LinkRemoved{guest});
    run(world, LinkChanged{link(IfIndex{41}, "veth12ab", "veth")});
    run(world, LinkRemoved{IfIndex{41}});
    for (const char* name : {"tun0", "tun5", "veth0", "veth12ab"}) {
      CAPTURE(name);
      CHECK_FALSE(is_covered(world, name));
    }
  }
  SECTION("no name that an interface has now which is no link") {
    auto tap = link(IfIndex{42}, "eth2", "veth");
    tap.master = bridge;
    run(world, LinkChanged{tap});
    CHECK_FALSE(is_covered(world, "eth2"));
  }
  SECTION("no name that the policy trusts or makes the router's LAN") {
    world.settings.policy.trusted_interfaces = {"usb1"};
    world.settings.policy.router.lan = {"eth*"};
    world.settings.interface = "wwan0";
    for (const char* name : {"usb1", "eth0", "eth3", "wwan0"}) {
      CAPTURE(name);
      CHECK_FALSE(is_covered(world, name));
    }
    CHECK(is_covered(world, "usb0"));
  }
  SECTION("only so many") {
    for (std::uint32_t i = 0; i < 1000; ++i) {
      run(world, LinkChanged{hardware(50, ("usb" + std::to_string(i)).c_str())});
    }
    CHECK(covered(world).size() < 100);
    CHECK(is_covered(world, "usb990"));
    CHECK(stands(world).size() == 1);
  }
}

TEST_CASE("A link without its chain fails the audit, and what replaces it covers every interface", "[egress]") {
  for (const auto& kernel : {debian12(), debian13(), all_features()}) {
    auto world = laptop_protected();
    world.links[IfIndex{20}] = hardware(20, "eth7");
    world.kernel = kernel;
    auto ruleset = decide::compile(world);
    CHECK(decide::audit(ruleset, world).empty());
    for (auto& chain : ruleset.tables[1].chains) {
      if (chain.base) {
        std::erase(chain.base->devices, "eth7");
      }
    }
    const auto violations = decide::audit(ruleset, world);
    REQUIRE(violations.size() == 1);
    // Where there is a twin, it still covers the link; that the two differ is what is wrong.
    CHECK(violations[0] == (decide::needs_twin(kernel)
                                ? "G5: a table that is lost with its owner has no twin with the same rules"
                                : "G9: there is no egress hook on eth7"));
    ruleset.tables.pop_back();
    CHECK_FALSE(decide::audit(ruleset, world).empty());

    const auto closed = decide::block_all(world);
    for (const char* name : {"eth7", "wlo1", "tun0", "docker0", "veth0"}) {
      CAPTURE(name);
      Packet packet;
      packet.hook = Hook::egress;
      packet.oifname = name;
      packet.mark = default_transport_mark;
      packet.destination = ip("198.51.100.49");
      packet.protocol = 17;
      packet.destination_port = Port{1194};
      CHECK_FALSE(decide::passes(decide::evaluate(closed, packet)));
    }
  }
}

TEST_CASE("A chain at egress that does not end in a drop fails the audit", "[egress]") {
  const auto world = laptop_protected();
  auto ruleset = decide::compile(world);
  ruleset.tables[1].chains.back().rules.pop_back();
  CHECK_FALSE(decide::audit(ruleset, world).empty());
}

namespace {

Bytes bytes(std::initializer_list<int> numbers) {
  Bytes made;
  for (const int number : numbers) {
    made.push_back(static_cast<std::uint8_t>(number));
  }
  return made;
}

Bytes joined(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

const Bytes hardware_addresses(12, 0x02);

/// UDP to a port of an address, as it stands behind a link header.
Bytes udp_packet(const char* to, std::uint16_t port, std::uint16_t fragment = 0) {
  const auto address = ip(to);
  const Bytes target{address.octets().begin(), address.octets().end()};
  const Bytes ports = bytes({0x9c, 0x40, port >> 8, port & 0xff, 0, 8, 0, 0});
  if (address.family == Family::ipv4) {
    const auto header = bytes({0x45, 0, 0, 28, 0, 7, fragment >> 8, fragment & 0xff, 64, 17, 0, 0, 192, 0, 2, 1});
    return joined(joined(header, target), ports);
  }
  const auto header = joined(bytes({0x60, 0, 0, 0, 0, 8, 17, 64}), Bytes(16, 0x20));
  return joined(joined(header, target), ports);
}

Packet frame_of(std::uint32_t type, Bytes link, Bytes network) {
  Packet frame;
  frame.hook = Hook::egress;
  frame.oif = wifi;
  frame.oifname = "wlo1";
  frame.ether_type = type;
  frame.link = joined(hardware_addresses, link);
  frame.network = std::move(network);
  return frame;
}

Packet in_pppoe(int protocol, const Bytes& inside, std::uint32_t mark) {
  const auto header = bytes({0x11, 0, 0, 1, 0, 0, protocol >> 8, protocol & 0xff});
  auto frame = frame_of(0x8864, bytes({0x88, 0x64}), joined(header, inside));
  frame.mark = mark;
  return frame;
}

bool leaves(const World& world, const Packet& frame) {
  return decide::passes(decide::evaluate(decide::compile(world), frame));
}

World with_vlan(World world, std::uint16_t id) {
  auto vlan = link(IfIndex{30}, "wlo1.x", "vlan");
  vlan.vlan = Vlan{wifi, 0x8100, id};
  world.links[vlan.index] = vlan;
  return world;
}

}  // namespace

TEST_CASE("ARP in a VLAN passes its carrier, and nothing else that is tagged", "[egress]") {
  const auto world = with_vlan(laptop_protected(), 5);
  CHECK(decide::audit(decide::compile(world), world).empty());
  const auto arp = joined(bytes({0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 168, 43, 10}), Bytes(10, 0));
  const auto tagged = [&](int tag, int id, int type, const Bytes& content) {
    return frame_of(static_cast<std::uint32_t>(type),
                    bytes({tag >> 8, tag & 0xff, id >> 8, id & 0xff, type >> 8, type & 0xff}), content);
  };
  CHECK(leaves(world, tagged(0x8100, 5, 0x0806, arp)));
  CHECK(leaves(world, tagged(0x8100, 0x6005, 0x0806, arp)));  // with a priority
  CHECK_FALSE(leaves(laptop_protected(), tagged(0x8100, 5, 0x0806, arp)));
  CHECK_FALSE(leaves(world, tagged(0x8100, 6, 0x0806, arp)));
  CHECK_FALSE(leaves(world, tagged(0x88a8, 5, 0x0806, arp)));
  CHECK_FALSE(leaves(world, tagged(0x8100, 5, 0x88b5, arp)));
  // The tag is in the frame itself, and the type a mere claim.
  CHECK_FALSE(leaves(world, tagged(0x8100, 5, 0x0806, joined(bytes({0, 5, 8, 6}), arp))));
  auto claimed = tagged(0x8100, 5, 0x0806, arp);
  claimed.link = joined(hardware_addresses, bytes({0x81, 0, 0, 5, 8, 0}));
  CHECK_FALSE(leaves(world, claimed));
  auto elsewhere = tagged(0x8100, 5, 0x0806, arp);
  elsewhere.oif = IfIndex{99};
  CHECK_FALSE(leaves(world, elsewhere));
  // The tunnel's address is told to nobody there either.
  auto telling = arp;
  std::copy_n(ip("192.168.255.2").octets().begin(), 4, telling.begin() + 14);
  CHECK_FALSE(leaves(world, tagged(0x8100, 5, 0x0806, telling)));
}

TEST_CASE("A VLAN in which nothing is refused passes its carrier whole", "[egress]") {
  auto world = with_vlan(laptop_protected(), 5);
  world.settings.policy.router = {{"wlo1.x"}, false, false, false};
  const auto tagged = frame_of(0x88b5, bytes({0x81, 0, 0, 5, 0x88, 0xb5}), Bytes(40, 0));
  CHECK(leaves(world, tagged));
  CHECK_FALSE(leaves(with_vlan(laptop_protected(), 5), tagged));
  CHECK_FALSE(leaves(world, frame_of(0x88b5, bytes({0x81, 0, 0, 6, 0x88, 0xb5}), Bytes(40, 0))));
  CHECK_FALSE(leaves(world, frame_of(0x88b5, bytes({0x88, 0xb5}), Bytes(40, 0))));
}

TEST_CASE("In PPPoE passes what may leave any link, by what stands inside", "[egress]") {
  auto world = laptop_protected();
  world.links[IfIndex{31}] = link(IfIndex{31}, "ppp0", "ppp");
  CHECK(decide::audit(decide::compile(world), world).empty());
  constexpr auto mark = default_transport_mark;
  const char* const server4 = "198.51.100.49";
  const char* const server6 = "2001:db8:b700::220";
  CHECK(leaves(world, in_pppoe(0x0021, udp_packet(server4, 1194), mark)));
  CHECK(leaves(world, in_pppoe(0x0057, udp_packet(server6, 1194), mark)));
  CHECK(leaves(world, in_pppoe(0x0021, udp_packet(server4, 9999, 0x0064), mark)));  // a fragment shows no port
  for (const int protocol : {0xc021, 0xc023, 0xc223, 0x8021, 0x8057}) {
    CAPTURE(protocol);
    CHECK(leaves(world, in_pppoe(protocol, Bytes(20, 1), 0)));
  }
  CHECK(leaves(world, frame_of(0x8863, bytes({0x88, 0x63}), Bytes(20, 0))));

  CHECK_FALSE(leaves(world, in_pppoe(0x0021, udp_packet(server4, 1194), 0)));
  CHECK_FALSE(leaves(world, in_pppoe(0x0021, udp_packet(server4, 1195), mark)));
  CHECK_FALSE(leaves(world, in_pppoe(0x0021, udp_packet("203.0.113.7", 1194), mark)));
  CHECK_FALSE(leaves(world, in_pppoe(0x0021, udp_packet("203.0.113.7", 1194, 0x0064), mark)));
  CHECK_FALSE(leaves(world, in_pppoe(0x0057, udp_packet("2001:db8::7", 1194), mark)));
  CHECK_FALSE(leaves(world, in_pppoe(0x0057, udp_packet(server4, 1194), mark)));
  CHECK_FALSE(leaves(world, in_pppoe(0x0021, udp_packet("203.0.113.7", 53), mark)));
  auto options = udp_packet(server4, 1194);
  options[0] = 0x46;  // the ports are not where they are looked for
  CHECK_FALSE(leaves(world, in_pppoe(0x0021, options, mark)));
  auto code = in_pppoe(0xc021, Bytes(20, 1), 0);
  code.network[1] = 0x65;
  CHECK_FALSE(leaves(world, code));

  SECTION("only while there is such a link, was one, or the policy says so") {
    CHECK(leaves(world, in_pppoe(0xc021, Bytes(20, 1), 0)));
    run(world, LinkRemoved{IfIndex{31}});
    CHECK(leaves(world, in_pppoe(0xc021, Bytes(20, 1), 0)));
    world.past_links.clear();
    CHECK_FALSE(leaves(world, in_pppoe(0xc021, Bytes(20, 1), 0)));
    CHECK_FALSE(leaves(world, frame_of(0x8863, bytes({0x88, 0x63}), Bytes(20, 0))));
    world.settings.policy.pppoe = true;
    CHECK(leaves(world, in_pppoe(0xc021, Bytes(20, 1), 0)));
  }
  SECTION("in a VLAN as well") {
    auto tagged = in_pppoe(0x0021, udp_packet(server4, 1194), mark);
    tagged.link = joined(hardware_addresses, bytes({0x81, 0, 0, 7, 0x88, 0x64}));
    CHECK_FALSE(leaves(world, tagged));
    CHECK(leaves(with_vlan(world, 7), tagged));
    tagged.mark = 0;
    CHECK_FALSE(leaves(with_vlan(world, 7), tagged));
  }
  SECTION("servers that the policy names, for anyone") {
    world.settings.policy.endpoints = {{ip("192.0.2.9"), Port{443}, Protocol::udp}};
    CHECK(leaves(world, in_pppoe(0x0021, udp_packet("192.0.2.9", 443), 0)));
    CHECK(leaves(world, in_pppoe(0x0021, udp_packet("192.0.2.9", 9, 0x0064), 0)));
    CHECK_FALSE(leaves(world, in_pppoe(0x0021, udp_packet("192.0.2.9", 444), 0)));
    CHECK_FALSE(leaves(world, in_pppoe(0x0021, udp_packet("192.0.2.10", 443), 0)));
  }
}

TEST_CASE("Fragments behind the first for a server that the policy names", "[egress]") {
  auto world = laptop_protected();
  world.settings.policy.endpoints = {{ip("192.0.2.9"), Port{443}, Protocol::udp},
                                     {ip("2001:db8::9"), Port{443}, Protocol::udp}};
  CHECK(decide::audit(decide::compile(world), world).empty());
  for (const auto& [to, passes] : {std::pair{"192.0.2.9", true}, {"192.0.2.10", false}, {"2001:db8::9", true}}) {
    CAPTURE(to);
    Packet fragment;
    fragment.hook = Hook::egress;
    fragment.oif = wifi;
    fragment.oifname = "wlo1";
    fragment.destination = ip(to);
    fragment.source.family = fragment.destination.family;
    fragment.fragment_offset = 1480;
    CHECK(leaves(world, fragment) == passes);
    fragment.fragment_offset = 0;
    CHECK_FALSE(leaves(world, fragment));
  }
}

TEST_CASE("Without persistent ownership the rules stand twice, and the audit wants them alike", "[egress]") {
  auto world = laptop_protected();
  world.kernel.persist = false;
  auto ruleset = decide::compile(world);
  REQUIRE(ruleset.tables.size() == 4);
  CHECK(decide::audit(ruleset, world).empty());
  SECTION("one is missing") {
    ruleset.tables.pop_back();
  }
  SECTION("one is different") {
    ruleset.tables.back().chains.back().rules.front().verdict = Verdict{};
  }
  CHECK_FALSE(decide::audit(ruleset, world).empty());
}
