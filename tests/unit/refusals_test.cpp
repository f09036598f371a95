// Copies of packets as nfnetlink_log tells them: what is read of them, and what is not believed.
#include "killswitch/codec/refusals.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <fstream>
#include <iterator>

using namespace killswitch;
using namespace killswitch::model;

namespace {

std::vector<std::uint8_t> recorded(const std::string& name) {
  std::ifstream file{std::string{PROJECT_ROOT} + "/tests/fuzz/corpus/refusals/" + name, std::ios::binary};
  std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>{file}, {}};
  REQUIRE_FALSE(bytes.empty());
  return bytes;
}

bool mentions(const std::vector<std::uint8_t>& bytes, std::string_view text) {
  return std::string_view{reinterpret_cast<const char*>(bytes.data()), bytes.size()}.find(text) !=
         std::string_view::npos;
}

}  // namespace

TEST_CASE("A copied packet: who sent what where", "[refusals]") {
  const auto notes = codec::decode_refusals(recorded("udp4"));
  REQUIRE(notes);
  REQUIRE(notes->packets.size() == 1);
  const auto& packet = notes->packets.front();
  CHECK(packet.hook == Hook::output);
  CHECK(packet.oif == IfIndex{2});
  CHECK(packet.uid == 1000U);
  CHECK(packet.source == test::ip("192.168.43.10"));
  CHECK(packet.destination == test::ip("192.168.43.1"));
  CHECK(packet.protocol == 17);
  CHECK(packet.source_port == Port{40000});
  CHECK(packet.destination_port == Port{53});
  CHECK(packet.network.size() == 40);
  CHECK(packet.transport.size() == 20);
}

TEST_CASE("A copied fragment behind extension headers has no ports", "[refusals]") {
  const auto notes = codec::decode_refusals(recorded("two"));
  REQUIRE(notes);
  REQUIRE(notes->packets.size() == 2);
  const auto& packet = notes->packets.back();
  CHECK(packet.protocol == 17);
  CHECK(packet.fragment_offset == 1480);
  CHECK(packet.more_fragments);
  CHECK_FALSE(packet.source_port);
  CHECK(packet.destination == test::ip("2001:db8::2"));
}

TEST_CASE("Answers of the kernel, and messages that are cut short", "[refusals]") {
  const auto refused = codec::decode_refusals(recorded("refused"));
  REQUIRE(refused);
  CHECK(refused->answers == std::vector<int>{17});
  CHECK(refused->packets.empty());
  CHECK_FALSE(codec::decode_refusals(recorded("short")));
  auto bytes = recorded("udp4");
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto notes =
        codec::decode_refusals(std::vector(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK((!notes || notes->packets.empty()));
  }
}

TEST_CASE("The table that copies stands beside ours, and its chains refuse nothing", "[refusals]") {
  const auto bytes = codec::encode_refusal_table({IfIndex{7}, 0x6b73}, 1);
  CHECK(mentions(bytes, "killswitch_blocked"));
  CHECK_FALSE(mentions(bytes, std::string_view{"killswitch\0", 11}));
  CHECK(bytes.size() > codec::encode_refusal_table({{}, 0x6b73}, 1).size());
  CHECK_FALSE(codec::encode_refusal_subscription(1).empty());
}
