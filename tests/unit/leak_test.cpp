// The leak probes without sockets: packets laid out byte by byte, recognition, routes and neighbours, and the report.
#include "killswitch/codec/leak_probe.hpp"
#include "killswitch/codec/leak_report.hpp"
#include "killswitch/codec/next_hop.hpp"

#include "support/catch.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

namespace {

using namespace killswitch;
using codec::Bytes;
using codec::LeakVerdict;
using codec::ProbeTarget;
using codec::ProbeWay;
using model::Family;
using model::IfIndex;
using model::Port;

model::IpAddress address(std::string_view text) {
  return *model::parse_ip_address(text);
}

const codec::ProbeClass& probe(std::string_view id) {
  for (const auto& candidate : codec::probe_classes()) {
    if (candidate.id == id) {
      return candidate;
    }
  }
  FAIL("no class " << id);
  return codec::probe_classes().front();
}

std::uint32_t word_sum(const Bytes& bytes, std::size_t from, std::size_t to) {
  std::uint32_t sum = 0;
  for (auto at = from; at < to; at += 2) {
    sum += static_cast<std::uint32_t>(bytes[at] << 8U | (at + 1 < to ? bytes[at + 1] : 0));
  }
  while (sum > 0xffff) {
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return sum;
}

/// A TCP packet: header of IP, source and destination port.
Bytes tcp_packet(std::string_view destination, std::uint16_t source_port, std::uint16_t port) {
  const auto to = address(destination);
  Bytes bytes(to.family == Family::ipv4 ? 20 : 40, 0);
  bytes[0] = to.family == Family::ipv4 ? 0x45 : 0x60;
  bytes[to.family == Family::ipv4 ? 9 : 6] = 6;
  std::copy(to.octets().begin(), to.octets().end(), bytes.begin() + (to.family == Family::ipv4 ? 16 : 24));
  for (const auto number : {source_port, port}) {
    bytes.push_back(static_cast<std::uint8_t>(number >> 8U));
    bytes.push_back(static_cast<std::uint8_t>(number));
  }
  return bytes;
}

}  // namespace

TEST_CASE("every class of leak is told apart, explained, and has somewhere to go") {
  std::set<std::string_view> ids;
  std::set<std::string_view> titles;
  for (const auto& entry : codec::probe_classes()) {
    INFO(entry.id);
    CHECK(ids.insert(entry.id).second);
    CHECK(titles.insert(entry.title).second);
    CHECK(!entry.meaning.empty());
    CHECK(codec::exists_in(entry, Family::ipv4));
    if (entry.target != ProbeTarget::group) {
      continue;
    }
    CHECK(model::parse_ip_address(entry.groups[0])->family == Family::ipv4);
    if (codec::exists_in(entry, Family::ipv6)) {
      CHECK(model::parse_ip_address(entry.groups[1])->family == Family::ipv6);
    }
  }
  CHECK(!codec::exists_in(probe("netbios"), Family::ipv6));
  CHECK(!codec::exists_in(probe("packet-unknown"), Family::ipv6));
  CHECK(!codec::is_frame(ProbeWay::fragments));
  CHECK(codec::is_frame(ProbeWay::tagged_frame));
}

TEST_CASE("a UDP packet has its lengths and checksums") {
  SECTION("IPv4") {
    const auto packet = codec::build_udp_packet({address("192.0.2.1"), address("203.0.113.200"), Port{9}, "abc"});
    REQUIRE(packet.size() == 31);
    CHECK(word_sum(packet, 0, 20) == 0xffff);
    CHECK(Bytes(packet.begin() + 12, packet.begin() + 20) == Bytes{192, 0, 2, 1, 203, 0, 113, 200});
    CHECK(Bytes(packet.begin() + 22, packet.begin() + 26) == Bytes{0, 9, 0, 11});
    auto covered = Bytes(packet.begin() + 12, packet.end());
    covered.insert(covered.begin(), {0, 17, 0, 11});
    CHECK(word_sum(covered, 0, covered.size()) == 0xffff);
  }
  SECTION("IPv6") {
    const auto packet = codec::build_udp_packet({address("2001:db8::1"), address("2001:db8::2"), Port{9}, "abcd"});
    REQUIRE(packet.size() == 52);
    CHECK(Bytes(packet.begin(), packet.begin() + 8) == Bytes{0x60, 0, 0, 0, 0, 12, 17, 64});
    auto covered = Bytes(packet.begin() + 8, packet.end());
    covered.insert(covered.begin(), {0, 17, 0, 12});
    CHECK(word_sum(covered, 0, covered.size()) == 0xffff);
  }
}

TEST_CASE("other packets and frames") {
  const auto echo = codec::build_echo_request(Family::ipv4, "x");
  CHECK(echo[0] == 8);
  CHECK(word_sum(echo, 0, echo.size()) == 0xffff);
  CHECK(codec::build_echo_request(Family::ipv6, "x")[0] == 128);

  const auto question = codec::build_dns_question("tok");
  CHECK(std::string(question.begin() + 12, question.end()) == std::string("\3tok\7invalid\0\0\1\0\1", 17));

  const std::uint16_t types[] = {0x8100, 5, 0x0800};
  const Bytes inside{1, 2};
  const auto frame = codec::build_frame({1, 1, 1, 1, 1, 1}, {2, 2, 2, 2, 2, 2}, types, inside);
  CHECK(frame == Bytes{1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x81, 0, 0, 5, 8, 0, 1, 2});
  CHECK(codec::repeat_token("abc", 7) == "abcabca");
}

TEST_CASE("own probes are recognised, those of others are not") {
  codec::ProbeMatcher matcher{0x1234};
  const codec::ProbeMatcher other{0x1235};
  const auto packet_with = [](const std::string& token) {
    return codec::build_udp_packet({address("192.0.2.1"), address("203.0.113.200"), Port{9}, token});
  };
  CHECK(matcher.token(7).size() <= 63);
  CHECK(matcher.recognise(packet_with(matcher.token(7))) == 7U);
  CHECK(matcher.recognise(packet_with("junk" + matcher.token(1234) + "junk")) == 1234U);
  CHECK(matcher.recognise(codec::build_dns_question(matcher.token(3))) == 3U);
  CHECK(!matcher.recognise(packet_with(other.token(7))));
  const auto cut = matcher.token(7);
  CHECK(!matcher.recognise(Bytes{cut.begin(), cut.end() - 1}));
  CHECK(!matcher.recognise(Bytes{}));
  // The second of two: the first is cut by the end of a fragment.
  const auto fragment = matcher.token(7).substr(0, 22) + "..kstest" + matcher.token(8);
  CHECK(matcher.recognise(Bytes{fragment.begin(), fragment.end()}) == 8U);

  for (const auto* destination : {"203.0.113.200", "2001:db8::1"}) {
    matcher.expect({address(destination), Port{443}, Port{40001}}, 20);
    const auto packet = tcp_packet(destination, 40001, 443);
    CHECK(matcher.recognise(packet) == 20U);
    CHECK(!matcher.recognise(tcp_packet(destination, 40002, 443)));
    CHECK(!matcher.recognise(tcp_packet(destination, 40001, 80)));
    for (std::size_t size = 0; size < packet.size(); ++size) {
      CHECK(!matcher.recognise(std::span{packet}.first(size)));
    }
  }
}

namespace {

/// A message with one fixed header and attributes of whole words.
template <typename Header>
Bytes message(std::uint16_t type, const Header& header,
              const std::vector<std::pair<std::uint16_t, Bytes>>& attributes) {
  Bytes bytes(NLMSG_HDRLEN + NLMSG_ALIGN(sizeof header), 0);
  std::memcpy(bytes.data() + NLMSG_HDRLEN, &header, sizeof header);
  for (const auto& [kind, value] : attributes) {
    nlattr attribute{static_cast<std::uint16_t>(NLA_HDRLEN + value.size()), kind};
    const auto* raw = reinterpret_cast<const std::uint8_t*>(&attribute);
    bytes.insert(bytes.end(), raw, raw + sizeof attribute);
    bytes.insert(bytes.end(), value.begin(), value.end());
    bytes.resize(NLMSG_ALIGN(bytes.size()));
  }
  nlmsghdr start{};
  start.nlmsg_len = static_cast<std::uint32_t>(bytes.size());
  start.nlmsg_type = type;
  std::memcpy(bytes.data(), &start, sizeof start);
  return bytes;
}

}  // namespace

TEST_CASE("the gateway of a link") {
  rtmsg route{};
  route.rtm_family = AF_INET;
  const auto answer = message(RTM_NEWROUTE, route, {{RTA_OIF, {3, 0, 0, 0}}, {RTA_GATEWAY, {192, 168, 43, 1}}});
  CHECK(codec::decode_gateway(answer, IfIndex{3}) == address("192.168.43.1"));
  CHECK(!codec::decode_gateway(answer, IfIndex{4}));
  CHECK(!codec::decode_gateway(message(RTM_NEWROUTE, route, {{RTA_OIF, {3, 0, 0, 0}}}), IfIndex{3}));
  CHECK(!codec::decode_gateway(message(NLMSG_ERROR, nlmsgerr{}, {}), IfIndex{3}));
  for (std::size_t size = 0; size < answer.size(); ++size) {
    CHECK(!codec::decode_gateway(std::span{answer}.first(size), IfIndex{3}));
  }
  CHECK(codec::encode_route_query(7, address("203.0.113.200"), IfIndex{3}).size() == 16 + sizeof(rtmsg) + 8 + 8);
}

TEST_CASE("neighbours that answer") {
  ndmsg about{};
  about.ndm_family = AF_INET6;
  about.ndm_ifindex = 3;
  about.ndm_state = NUD_STALE;
  const auto router = address("fe80::1");
  const Bytes destination{router.bytes.begin(), router.bytes.end()};
  const auto known = message(RTM_NEWNEIGH, about, {{NDA_DST, destination}, {NDA_LLADDR, {2, 0, 0, 0, 0x43, 1}}});
  const codec::Neighbour expected{IfIndex{3}, router, {2, 0, 0, 0, 0x43, 1}};
  CHECK(codec::decode_neighbours(known) == codec::NeighbourDump{{expected}, false});

  about.ndm_state = NUD_FAILED;
  CHECK(codec::decode_neighbours(message(RTM_NEWNEIGH, about, {{NDA_DST, destination}})).usable.empty());
  CHECK(codec::decode_neighbours(message(NLMSG_DONE, int{0}, {})).complete);
  for (std::size_t size = 0; size < known.size(); ++size) {
    CHECK(codec::decode_neighbours(std::span{known}.first(size)).usable.empty());
  }
}

namespace {

codec::LeakFindings findings() {
  codec::LeakFindings found;
  found.links = {"wlo1"};
  found.skipped = {{"eth0", "no carrier"}};
  found.results = {
      {&probe("udp"), "wlo1", Family::ipv4, LeakVerdict::stopped, "refused: Operation not permitted", "203.0.113.200"},
      {&probe("udp"), "wlo1", Family::ipv6, LeakVerdict::stopped, "refused: Operation not permitted", "203.0.113.200"},
      {&probe("mdns"), "wlo1", Family::ipv4, LeakVerdict::leaked, "left on wlo1", "224.0.0.251"},
      {&probe("packet-unknown"), "wlo1", Family::ipv4, LeakVerdict::not_applicable, "not an Ethernet link", ""},
  };
  return found;
}

model::Status status(model::State state) {
  model::Status value;
  value.state = state;
  value.enforced = true;
  return value;
}

bool says(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("the report for people") {
  const auto text = codec::render_leak_text(status(model::State::protected_), findings());
  CHECK(says(text, "the kill switch is on (protected, rules verified)"));
  CHECK(
      says(text, "  UDP                                       IPv4 IPv6 stopped   refused: Operation not permitted\n"));
  CHECK(says(text, "LEAKED    left on wlo1\n"));
  CHECK(says(text, "not tried not an Ethernet link"));
  CHECK(says(text, "eth0: not tried: no carrier"));
  CHECK(says(text, probe("mdns").meaning));
  CHECK(!says(text, probe("udp").meaning));
  CHECK(says(text, "1 of 3 ways out leak."));

  CHECK(says(codec::render_leak_text(status(model::State::disabled), findings()), "killswitch enable"));

  auto clean = findings();
  clean.results.resize(2);
  clean.lost_frames = 3;
  const auto quiet = codec::render_leak_text(status(model::State::blocked), clean);
  CHECK(says(quiet, "Nothing left: 2 ways out were tried"));
  CHECK(says(quiet, "lost 3 frames"));
  CHECK(!says(quiet, "What to do"));

  CHECK(says(codec::render_leak_text(status(model::State::blocked), {}), "nothing is proved"));
}

TEST_CASE("the report as JSON") {
  const auto json = nlohmann::json::parse(codec::render_leak_json(status(model::State::blocked), findings()));
  CHECK(json["version"] == 1);
  CHECK(json["state"] == "blocked");
  CHECK(json["enforced"] == true);
  CHECK(json["links"] == nlohmann::json::array({"wlo1"}));
  CHECK(json["skipped"][0]["link"] == "eth0");
  CHECK(json["leaked"] == 1);
  CHECK(json["lost_frames"] == 0);
  REQUIRE(json["results"].size() == 4);
  CHECK(json["results"][1]["family"] == "ipv6");
  CHECK(json["results"][2] == nlohmann::json({{"class", "mdns"},
                                              {"link", "wlo1"},
                                              {"family", "ipv4"},
                                              {"verdict", "leaked"},
                                              {"detail", "left on wlo1"},
                                              {"target", "224.0.0.251"}}));
  CHECK(json["results"][3]["family"] == "none");
  CHECK(json["results"][3]["verdict"] == "not_applicable");
}

// Not a validator: the schema names every key and every word that is written, and requires no other key.
TEST_CASE("the report and its schema name the same keys and words") {
  std::ifstream stream{std::string{PROJECT_ROOT} + "/policies/test.schema.json"};
  const auto schema = nlohmann::json::parse(stream, nullptr, false);
  REQUIRE_FALSE(schema.is_discarded());
  const auto document = nlohmann::json::parse(codec::render_leak_json(status(model::State::blocked), findings()));
  const auto same_keys = [](const nlohmann::json& object, const nlohmann::json& described) {
    CHECK(object.size() == described.at("properties").size());
    for (const auto& [key, value] : object.items()) {
      INFO(key);
      CHECK(described.at("properties").contains(key));
      const auto& property = described.at("properties").at(key);
      if (property.contains("enum")) {
        const auto& words = property.at("enum");
        CHECK(std::find(words.begin(), words.end(), value) != words.end());
      }
    }
    for (const auto& key : described.at("required")) {
      INFO(key);
      CHECK(object.contains(key.get<std::string>()));
    }
  };
  const auto& properties = schema.at("properties");
  same_keys(document, schema);
  same_keys(document.at("skipped").at(0), properties.at("skipped").at("items"));
  for (const auto& result : document.at("results")) {
    same_keys(result, properties.at("results").at("items"));
  }
}
