// Frames of a packet socket, in VLANs and in PPPoE and with odd claims, through the interpreter and through the kernel.
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"
#include "testbed.hpp"

#include <random>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::testing;

namespace {

constexpr std::size_t ethernet_header = 14;

/// Frames that nearly pass, and some that do.
class Frames {
public:
  /// @param addresses of the two ends, as an Ethernet header starts with them
  explicit Frames(Bytes addresses) : addresses_{std::move(addresses)} {}

  Packet draw(std::uint32_t sequence) {
    const std::uint16_t type = pick<std::uint16_t>({0x0806, 0x8863, 0x8864, 0x8864, 0x888e, 0x88b5});
    Bytes frame = addresses_;
    tag(frame);
    append(frame, wire_number(type, 2));
    append(frame, content(type));
    if (chance(4)) {
      frame.at(12 + random_() % (frame.size() - 12)) ^= static_cast<std::uint8_t>(1U << random_() % 8);
    }
    append(frame, trailer(sequence));
    Packet packet;
    packet.hook = Hook::egress;
    packet.oifname = "wlo1";
    packet.ether_type = chance(6) ? pick<std::uint32_t>({0x0806, 0x8864, 0x88b5}) : type;
    packet.mark = chance(3) ? 0 : default_transport_mark;
    packet.link = frame;  // loads by link offset go on into the packet
    packet.network.assign(frame.begin() + ethernet_header, frame.end());
    return packet;
  }

private:
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  template <typename T>
  T pick(std::initializer_list<T> from) {
    return *(from.begin() + random_() % from.size());
  }

  void tag(Bytes& frame) {
    if (chance(2)) {
      append(frame, wire_number(pick<std::uint32_t>({0x81000005, 0x81006005, 0x81000006, 0x88a80005, 0x81000009}), 4));
    }
  }

  Bytes content(std::uint16_t type) {
    if (type == 0x8864) {
      Bytes session = wire_number(pick<std::uint32_t>({0x11000001, 0x11000001, 0x11000001, 0x11650001}), 4);
      append(session, wire_number(0, 2));
      const auto protocol = pick<std::uint32_t>({0x0021, 0x0021, 0x0057, 0x0057, 0xc021, 0x8057, 0x0281});
      append(session, wire_number(protocol, 2));
      append(session, protocol == 0x0057 ? ipv6() : ipv4());
      return session;
    }
    Bytes arp{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1};
    append(arp, octets(pick({"192.168.43.10", "192.168.43.10", "192.168.255.2"})));
    append(arp, Bytes(10, 0));
    return arp;
  }

  Bytes ports() {
    Bytes made =
        wire_number(pick<std::uint32_t>({0x9c400000 + 1194, 0x9c400000 + 1194, 0x9c400000 + 1195, 0x02220223}), 4);
    append(made, wire_number(0x00080000, 4));
    return made;
  }

  Bytes ipv4() {
    Bytes packet = wire_number(pick<std::uint32_t>({0x45000024, 0x45000024, 0x46000024}), 4);
    append(packet, wire_number(pick<std::uint32_t>({7, 7, 0x64, 0x2000}), 4));
    append(packet, wire_number(pick<std::uint32_t>({0x40110000, 0x40110000, 0x40060000}), 4));
    append(packet, octets("192.0.2.1"));
    append(packet, octets(pick({"198.51.100.49", "198.51.100.49", "203.0.113.7"})));
    append(packet, ports());
    return packet;
  }

  Bytes ipv6() {
    Bytes packet = wire_number(0x60000000, 4);
    append(packet, wire_number(pick<std::uint32_t>({0x00081140, 0x00081140, 0x00082c40, 0x00083aff}), 4));
    append(packet, octets("fe80::1"));
    append(packet, octets(pick({"2001:db8:b700::220", "2001:db8:b700::220", "ff02::2", "ff02::1:2", "2001:db8::7"})));
    append(packet, chance(3) ? wire_number(0x85000000, 4) : ports());
    append(packet, Bytes(4, 0));
    return packet;
  }

  static Bytes octets(const char* text) {
    const auto address = test::ip(text);
    return {address.octets().begin(), address.octets().end()};
  }

  Bytes addresses_;
  std::mt19937 random_{2516};
};

}  // namespace

TEST_CASE("frames in VLANs and in PPPoE pass where the interpreter says so, and nowhere else") {
  Testbed testbed;
  auto firewall = enforce::Firewall::open();
  REQUIRE(firewall);
  auto world = testbed.placed(test::laptop_protected());
  world.kernel = firewall->features();
  const auto carrier = std::find_if(world.links.begin(), world.links.end(),
                                    [](const auto& entry) { return entry.second.name == "wlo1"; });
  REQUIRE(carrier != world.links.end());
  const auto add = [&](std::uint32_t index, const char* name, const char* kind, std::optional<Vlan> vlan) {
    auto made = test::link(IfIndex{index}, name, kind);
    made.vlan = vlan;
    world.links[made.index] = made;
  };
  add(30, "wlo1.5", "vlan", Vlan{carrier->first, 0x8100, 5});
  add(31, "wlo1.9", "vlan", Vlan{carrier->first, 0x8100, 9});
  add(32, "ppp0", "ppp", std::nullopt);
  world.settings.policy.router = {{"wlo1.9"}, false, false, false};  // nothing is refused in it
  const auto ruleset = decide::compile(world);
  CHECK(decide::audit(ruleset, world).empty());
  const auto report = firewall->apply(ruleset);
  INFO((report ? "" : report.error().message()));
  REQUIRE(report);

  const Bytes header = testbed.ethernet(0);
  Frames frames{{header.begin(), header.begin() + 12}};
  std::map<std::uint32_t, bool> expected;
  std::map<std::uint32_t, Packet> sent;
  std::map<std::uint32_t, Seen> seen;
  constexpr std::uint32_t count = 4000;
  for (std::uint32_t sequence = 1; sequence <= count; ++sequence) {
    Packet packet = frames.draw(sequence);
    packet.oif = carrier->first;
    expected[sequence] = decide::passes(decide::evaluate(ruleset, packet));
    testbed.send_frame("wlo1", static_cast<std::uint16_t>(packet.ether_type), packet.link, packet.mark);
    sent[sequence] = std::move(packet);
    if (sequence % 200 == 0) {
      seen.merge(testbed.collect());
    }
  }
  std::size_t passed = 0;
  std::string wrong;
  for (const auto& [sequence, passes] : expected) {
    const bool came_out = seen[sequence].places.contains(Place::outside);
    passed += passes ? 1 : 0;
    if (came_out != passes && wrong.size() < 2000) {
      wrong += (came_out ? "came out:" : "did not come out:");
      for (const auto byte : sent[sequence].link) {
        wrong += " " + std::to_string(byte);
      }
      wrong += "\n";
    }
  }
  INFO(passed << " of " << count << " pass\n" << wrong);
  CHECK(wrong.empty());
  CHECK(passed > count / 10);
  CHECK(passed < count / 2);
}
