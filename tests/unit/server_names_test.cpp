// The pinhole for the VPN server's own name: what may be asked, what may be answered, and what an answer teaches.
#include "killswitch/codec/dns_message.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/model/server_name.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>

namespace {

using namespace killswitch;
using namespace killswitch::model;
using namespace std::chrono_literals;

constexpr std::uint8_t a = 1;
constexpr std::uint8_t aaaa = 28;
constexpr std::uint8_t txt = 16;
const Bytes opt{0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0};
const Bytes opt_with_cookie{0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
const std::chrono::sys_seconds now{1'700'000'000s};

Packet carrying(const char* resolver, Bytes datagram) {
  Packet packet;
  packet.source = test::ip("192.168.43.10");
  packet.destination = test::ip(resolver);
  packet.source.family = packet.destination.family;
  packet.source_port = Port{40000};
  packet.destination_port = Port{53};
  packet.oif = test::wifi;
  packet.oifname = "wlo1";
  packet.uid = 65534;
  packet.transport = std::move(datagram);
  return packet;
}

bool leaves(const World& world, const Packet& packet, decide::Way way = decide::Way::sent) {
  return decide::arrives(decide::trace(decide::compile(world), {way, packet}));
}

bool asks(const World& world, const std::string& name, std::uint8_t type = a, const Bytes& more = {}) {
  return leaves(world, carrying("192.168.43.1", dns_question(wire_name(name), type, more)));
}

World world_with_name(const std::string& name) {
  auto world = test::laptop_blocked();
  world.settings.remotes = {test::pinned(name.c_str(), std::nullopt, "198.51.100.49")};
  return world;
}

Bytes without_checksum_change(Bytes datagram, std::size_t at, std::uint8_t value) {
  datagram.at(at) = value;
  return datagram;
}

/// An answer from the datagram of a question: its ports exchanged, QR set, the records behind it.
Bytes answer_to(Bytes question, const Bytes& records, std::uint8_t count) {
  std::swap_ranges(question.begin(), question.begin() + 2, question.begin() + 2);
  question.at(10) = 0x81;
  question.at(15) = count;
  question.insert(question.end(), records.begin(), records.end());
  question.at(4) = static_cast<std::uint8_t>(question.size() >> 8U);
  question.at(5) = static_cast<std::uint8_t>(question.size() & 0xffU);
  return question;
}

Bytes ipv4_packet(const char* source, const char* destination, const Bytes& datagram) {
  Packet packet;
  packet.source = test::ip(source);
  packet.destination = test::ip(destination);
  packet.transport = datagram;
  return network_bytes(packet);
}

const Bytes a_record{0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 198, 51, 100, 77};  // 300 s

}  // namespace

TEST_CASE("wire form of names") {
  CHECK(wire_name("vpn.Example.test") ==
        Bytes{3, 'v', 'p', 'n', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 4, 't', 'e', 's', 't', 0});
  CHECK(wire_name("vpn.example.test.") == wire_name("vpn.example.test"));
  for (const auto* bad : {"", ".", "a..b", "192.0.2.1", "2001:db8::1"}) {
    CAPTURE(bad);
    CHECK(wire_name(bad).empty());
  }
  const std::string label(63, 'a');
  CHECK(wire_name(label + "." + label + "." + label + "." + std::string(61, 'b')).size() == 255);
  CHECK(wire_name(label + "." + label + "." + label + "." + std::string(62, 'b')).empty());
  CHECK(wire_name(std::string(64, 'a')).empty());
  CHECK(same_name("VPN.example.test.", "vpn.EXAMPLE.test"));
  CHECK_FALSE(same_name("vpn.example.test", "vpn.example.tes"));
}

TEST_CASE("length bytes that look like letters are compared exactly") {
  const std::string label(0x61 - 0x20, 'x');  // longer than a label may be
  CHECK(wire_name(label).empty());
  const auto wire = wire_name(std::string(0x2d, '-') + "a");
  const auto mask = caseless_mask(wire);
  CHECK(mask.front() == 0xff);
  CHECK(mask.at(mask.size() - 2) == 0xdf);
}

TEST_CASE("the server's name may be asked for on a link while it is needed, and nothing else") {
  const auto world = test::laptop_blocked();
  const std::string name = "vpn.example.test";
  CHECK(asks(world, name));
  CHECK(asks(world, name, aaaa));
  CHECK(asks(world, "VPN.eXAMPLE.tEst"));
  CHECK(asks(world, name, a, opt));
  CHECK(asks(world, name, aaaa, opt_with_cookie));
  for (const auto* other : {"www.vpn.example.test", "xvpn.example.test", "pn.example.test", "vpn.example.testx",
                            "vpn.example.test.attacker.test", "example.test", "test", "vpn-example.test"}) {
    CAPTURE(other);
    CHECK_FALSE(asks(world, other));
  }
  CHECK_FALSE(asks(world, name, txt));
  CHECK_FALSE(asks(world, name, a, {0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0}));  // a record that is no OPT
  Bytes smuggled = opt;
  smuggled.push_back(0x42);
  CHECK_FALSE(asks(world, name, a, smuggled));
  Bytes other_option = opt_with_cookie;
  other_option.at(12) = 65;
  CHECK_FALSE(asks(world, name, a, other_option));
}

TEST_CASE("what is not a plain question dies, whatever name it has") {
  const auto world = test::laptop_blocked();
  const auto question = dns_question(wire_name("vpn.example.test"), a);
  const auto sent = [&](Bytes datagram) { return leaves(world, carrying("192.168.43.1", std::move(datagram))); };
  REQUIRE(sent(question));
  CHECK_FALSE(sent(without_checksum_change(question, 10, 0x81)));                // a response
  CHECK_FALSE(sent(without_checksum_change(question, 10, 0x28)));                // an update
  CHECK_FALSE(sent(without_checksum_change(question, 13, 2)));                   // two questions
  CHECK_FALSE(sent(without_checksum_change(question, 15, 1)));                   // answers
  CHECK_FALSE(sent(without_checksum_change(question, 17, 1)));                   // authorities
  CHECK_FALSE(sent(without_checksum_change(question, question.size() - 1, 3)));  // class CHAOS
  auto longer = question;
  longer.push_back('x');
  longer.at(5) = static_cast<std::uint8_t>(longer.size());
  CHECK_FALSE(sent(longer));
}

TEST_CASE("the pinhole is for this host alone, on every layer") {
  const auto world = test::laptop_blocked();
  auto packet = carrying("192.168.43.1", dns_question(wire_name("vpn.example.test"), a));
  CHECK(leaves(world, packet, decide::Way::packet_socket));
  packet.iif = test::bridge;
  CHECK_FALSE(leaves(world, packet, decide::Way::forwarded));
  auto tcp = carrying("192.168.43.1", dns_question(wire_name("vpn.example.test"), a));
  tcp.protocol = 6;
  CHECK_FALSE(leaves(world, tcp));
  CHECK(leaves(world, carrying("2001:db8:43::1", dns_question(wire_name("vpn.example.test"), aaaa))));
}

TEST_CASE("the resolvers behind the tunnel are not asked on a link") {
  auto world = test::laptop_blocked();
  const auto packet = carrying("192.168.255.1", dns_question(wire_name("vpn.example.test"), a));
  CHECK(leaves(world, packet));  // nobody knows whose it is
  world.dns.setup = DnsSetup{{DnsBackend::file}, test::tunnel, {test::ip("192.168.255.1")}, {}};
  CHECK_FALSE(leaves(world, packet));
  CHECK_FALSE(leaves(world, packet, decide::Way::packet_socket));
  CHECK(asks(world, "vpn.example.test"));
}

TEST_CASE("when no name is in question there is no pinhole") {
  CHECK(decide::names_in_question(test::laptop_blocked()) == std::vector<std::string>{"vpn.example.test"});
  CHECK_FALSE(asks(test::laptop_protected(), "vpn.example.test"));
  auto reconnecting = test::laptop_protected();
  reconnecting.peers[{1}].state = "RECONNECTING";
  CHECK(asks(reconnecting, "vpn.example.test"));
  auto strict = test::laptop_blocked();
  strict.settings.policy.server_names = false;
  CHECK_FALSE(asks(strict, "vpn.example.test"));
  CHECK_FALSE(asks(world_with_name("198.51.100.49"), "vpn.example.test"));
}

TEST_CASE("names of every length that there is, and several of them") {
  const std::string label(63, 'k');
  for (std::size_t length : {1U, 2U, 14U, 15U, 16U, 17U, 31U, 61U}) {
    const auto name = label + "." + label + "." + label + "." + std::string(length, 'b');
    CAPTURE(name.size());
    const auto world = world_with_name(name);
    CHECK(asks(world, name));
    CHECK_FALSE(asks(world, name.substr(0, name.size() - 1) + "c"));
    CHECK(decide::audit(decide::compile(world), world).empty());
  }
  auto world = test::laptop_blocked();
  world.settings.remotes.push_back(test::pinned("b.example.test", std::nullopt, "198.51.100.50"));
  world.settings.remotes.push_back(test::pinned("c.example.test", std::nullopt, "198.51.100.51"));
  CHECK(asks(world, "b.example.test"));
  CHECK(asks(world, "c.example.test"));
  CHECK(asks(world, "vpn.example.test"));
  CHECK_FALSE(asks(world, "d.example.test"));
}

TEST_CASE("answers come in for the name alone") {
  const auto world = test::laptop_blocked();
  const auto received = [&](Bytes datagram) {
    Packet packet;
    packet.hook = Hook::input;
    packet.iif = test::wifi;
    packet.source = test::ip("192.168.43.1");
    packet.destination = test::ip("192.168.43.10");
    packet.source_port = Port{53};
    packet.destination_port = Port{40000};
    packet.fib_type = 2;
    packet.transport = std::move(datagram);
    return decide::passes(decide::evaluate(decide::compile(world), packet));
  };
  CHECK(received(answer_to(dns_question(wire_name("vpn.example.test"), a), a_record, 1)));
  CHECK_FALSE(received(answer_to(dns_question(wire_name("www.example.test"), a), a_record, 1)));
  auto question = dns_question(wire_name("vpn.example.test"), a);
  std::swap_ranges(question.begin(), question.begin() + 2, question.begin() + 2);
  CHECK_FALSE(received(question));
}

TEST_CASE("the audit notices a pinhole that is wider than the name") {
  const auto world = test::laptop_blocked();
  auto ruleset = decide::compile(world);
  REQUIRE(decide::audit(ruleset, world).empty());
  for (auto& table : ruleset.tables) {
    for (auto& chain : table.chains) {
      if (chain.name == "server_names") {
        chain.rules.front().matches.resize(2);  // the name is no longer compared
      }
    }
  }
  CHECK_FALSE(decide::audit(ruleset, world).empty());
}

TEST_CASE("answers are read as they stand on the wire") {
  const auto question = dns_question(wire_name("vpn.example.test"), a);
  const auto asked = codec::parse_dns_packet(ipv4_packet("192.168.43.10", "192.168.43.1", question));
  REQUIRE(asked);
  CHECK(asked->name == "vpn.example.test");
  CHECK(asked->type == a);
  CHECK_FALSE(asked->response);
  const auto heard =
      codec::parse_dns_packet(ipv4_packet("192.168.43.1", "192.168.43.10", answer_to(question, a_record, 1)));
  REQUIRE(heard);
  CHECK(codec::answers(*heard, *asked));
  CHECK(heard->addresses == std::vector{test::ip("198.51.100.77")});
  CHECK(heard->lifetime == 300s);
  const auto from_another =
      codec::parse_dns_packet(ipv4_packet("192.168.43.2", "192.168.43.10", answer_to(question, a_record, 1)));
  REQUIRE(from_another);
  CHECK_FALSE(codec::answers(*from_another, *asked));
}

TEST_CASE("addresses that no server has, of other names, or behind errors teach nothing") {
  const auto question = dns_question(wire_name("vpn.example.test"), a);
  const auto addresses = [&](const Bytes& records, std::uint8_t count, std::uint8_t flags = 0) {
    auto answer = answer_to(question, records, count);
    answer.at(11) = flags;
    const auto heard = codec::parse_dns_packet(ipv4_packet("192.168.43.1", "192.168.43.10", answer));
    return heard ? heard->addresses : std::vector<IpAddress>{};
  };
  REQUIRE(addresses(a_record, 1).size() == 1);
  for (const auto first : {0, 127, 224, 255}) {
    auto record = a_record;
    record.at(12) = static_cast<std::uint8_t>(first);
    CAPTURE(first);
    CHECK(addresses(record, 1).empty());
  }
  auto foreign = a_record;
  foreign.at(1) = 16;  // "example.test"
  CHECK(addresses(foreign, 1).empty());
  CHECK(addresses(a_record, 1, 3).empty());  // NXDOMAIN
  CHECK(addresses(a_record, 0).empty());
  auto torn = a_record;
  torn.resize(torn.size() - 2);
  CHECK(addresses(torn, 1).empty());
  const Bytes alias{0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, 'n', 0xc0, 16};  // n.example.test
  Bytes aliased = alias;
  const Bytes target{0xc0, 46, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 198, 51, 100, 78};
  aliased.insert(aliased.end(), target.begin(), target.end());
  CHECK(addresses(aliased, 2) == std::vector{test::ip("198.51.100.78")});
}

TEST_CASE("an answer opens the way to the server and is kept") {
  auto world = test::laptop_blocked();
  world.settings.remotes = {PinnedRemote{Remote{"vpn.example.test", Port{1194}, Protocol::udp, {}}, {}, {}, "why", {}}};
  const auto effects =
      decide::step(world, ServerNameAnswered{"vpn.example.test", {test::ip("198.51.100.77")}, 300s}, now);
  CHECK(decide::transport_endpoints(world) ==
        std::vector<Endpoint>{{test::ip("198.51.100.77"), Port{1194}, Protocol::udp}});
  CHECK(world.settings.remotes.front().failure.empty());
  CHECK(world.settings.remotes.front().expires == now + 300s);
  CHECK(std::any_of(effects.begin(), effects.end(),
                    [](const Effect& effect) { return std::holds_alternative<SaveState>(effect); }));
  const auto again =
      decide::step(world, ServerNameAnswered{"VPN.example.test", {test::ip("198.51.100.77")}, 300s}, now);
  CHECK(again.empty());
  CHECK(decide::step(world, ServerNameAnswered{"other.test", {test::ip("203.0.113.9")}, 300s}, now).empty());
  CHECK(decide::transport_endpoints(world).size() == 1);
}

TEST_CASE("no flood of answers makes more than sixteen addresses of a name") {
  auto world = test::laptop_blocked();
  for (std::uint8_t i = 1; i < 200; ++i) {
    auto address = test::ip("203.0.113.0");
    address.bytes[3] = i;
    (void)decide::step(world, ServerNameAnswered{"vpn.example.test", {address}, 1s}, now);
  }
  CHECK(world.settings.remotes.back().addresses.size() == 16);
}

TEST_CASE("names are asked for aloud while it is needed, less and less often") {
  auto world = test::laptop_blocked();
  CHECK_FALSE(decide::next_question(world));  // not verified
  Observation verified;
  verified.present = true;
  world.observation = verified;
  world.settings.remotes.front().addresses.clear();
  world.settings.remotes.resize(1);
  const auto first = decide::next_question(world);
  REQUIRE(first);
  CHECK(*first <= now);
  (void)decide::step(world, ServerNamesAsked{}, now);
  auto pause = *decide::next_question(world) - now;
  CHECK(pause > 0s);
  for (int i = 0; i < 20; ++i) {
    (void)decide::step(world, ServerNamesAsked{}, now);
    const auto longer = *decide::next_question(world) - now;
    CHECK(longer >= pause);
    pause = longer;
  }
  CHECK(pause == 300s);
  (void)decide::step(world, AddressAdded{test::wifi, *parse_interface_address("192.168.44.10/24")}, now);
  CHECK(*decide::next_question(world) <= now);  // another network may know
  (void)decide::step(world, ServerNameAnswered{"vpn.example.test", {test::ip("2001:db8::9")}, 600s}, now);
  CHECK(*decide::next_question(world) == now + 600s);
  world.links[test::wifi].addresses.clear();
  CHECK_FALSE(decide::next_question(world));
}

TEST_CASE("without settings the names that OpenVPN asks for on its socket are in question") {
  auto world = test::laptop_blocked();
  world.settings.remotes.clear();
  const management::ConnectionId peer{1};
  (void)decide::step(world, ManagementOpened{peer, management::Direction::openvpn_connected, false}, now);
  const management::RemoteQuery query{"vpn.example.test", Port{1194}, Protocol::udp, {}};
  (void)decide::step(world, ManagementReceived{peer, query}, now);
  CHECK(decide::names_in_question(world) == std::vector<std::string>{"vpn.example.test"});
  CHECK(world.peers[peer].unanswered == query);
  const auto effects =
      decide::step(world, ServerNameAnswered{"vpn.example.test", {test::ip("198.51.100.77")}, 300s}, now);
  CHECK(std::any_of(effects.begin(), effects.end(), [](const Effect& effect) {
    const auto* use = std::get_if<UseRemote>(&effect);
    return use != nullptr && use->address == test::ip("198.51.100.77");
  }));
}
