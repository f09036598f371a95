// Conversations and accidents, event by event: which facts they leave and what they make the daemon do. Ends with
// random walks that must never break an invariant.
#include "killswitch/decide/step.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/describe.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>
#include <random>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

constexpr std::chrono::sys_seconds noon{std::chrono::seconds{1795400000}};
constexpr management::ConnectionId first{1};

std::vector<Effect> run(World& world, const Event& event) {
  return decide::step(world, event, noon);
}

std::vector<Effect> say(World& world, management::Message message, management::ConnectionId connection = first) {
  return run(world, ManagementReceived{connection, std::move(message)});
}

template <typename T>
const T* only(const std::vector<Effect>& effects) {
  const T* found = nullptr;
  for (const auto& effect : effects) {
    if (const auto* candidate = std::get_if<T>(&effect)) {
      REQUIRE(found == nullptr);
      found = candidate;
    }
  }
  return found;
}

Observation verified() {
  Observation observation;
  observation.present = true;
  return observation;
}

management::RemoteQuery query(const char* host, std::optional<Family> family) {
  return {host, Port{1194}, Protocol::udp, family};
}

State state(const World& world) {
  return decide::describe(world).state;
}

}  // namespace

TEST_CASE("OpenVPN is held until the lock is seen in the kernel", "[step]") {
  auto world = laptop_blocked();
  const auto opened = run(world, ManagementOpened{first, management::Direction::openvpn_connected});
  REQUIRE(only<SubscribeManagement>(opened) != nullptr);
  CHECK(only<ReleaseHold>(say(world, management::Hold{})) == nullptr);
  CHECK(state(world) == State::blocked);
  CHECK(only<ReleaseHold>(run(world, FirewallObserved{verified()})) != nullptr);
  CHECK(state(world) == State::connecting);
  CHECK(only<ReleaseHold>(run(world, FirewallObserved{verified()})) == nullptr);
}

TEST_CASE("A difference in the kernel keeps OpenVPN on hold", "[step]") {
  auto world = laptop_connecting();
  say(world, management::Hold{});
  auto observation = verified();
  observation.differences = {"chain output: rule 3 is missing"};
  CHECK(only<ReleaseHold>(run(world, FirewallObserved{observation})) == nullptr);
  const auto status = decide::describe(world);
  CHECK_FALSE(status.enforced);
  CHECK(status.state == State::blocked);
}

TEST_CASE("A change of our tables by others is counted, told and makes us look again", "[step]") {
  auto world = laptop_protected();
  const RulesetTouched flushed{{"nft", 42, "inet killswitch: table deleted"}};
  const auto told = run(world, flushed);
  REQUIRE(only<LogLine>(told) != nullptr);
  CHECK(only<LogLine>(told)->text.find("nft (pid 42) changed our rules") != std::string::npos);
  CHECK_FALSE(decide::is_verified(world));
  CHECK(decide::describe(world).tampering == Tampering{1, 0, Tampering::Last{noon, flushed.touch}});
  CHECK(state(world) != State::protected_);

  CHECK(run(world, flushed).empty());  // told once in a while only
  CHECK(only<LogLine>(decide::step(world, flushed, noon + std::chrono::minutes{1})) != nullptr);
  CHECK(only<LogLine>(decide::step(world, flushed, noon)) != nullptr);  // the clock was set back

  run(world, FirewallObserved{verified()});
  CHECK(world.tampering.attempts == 4);
  CHECK(world.tampering.repaired == 4);
  CHECK(state(world) == State::protected_);
}

TEST_CASE("A difference that nobody told of is tampering, too; one after a change of ours is not", "[step]") {
  auto world = laptop_protected();
  auto observation = verified();
  observation.differences = {"chain output: rule 3 is missing"};
  run(world, FirewallObserved{observation});
  REQUIRE(world.tampering.last);
  CHECK(world.tampering.last->touch == Touch{{}, 0, "chain output: rule 3 is missing"});
  CHECK(world.tampering.attempts == 1);
  run(world, FirewallObserved{observation});  // it was not verified in between
  CHECK(world.tampering.attempts == 1);
  run(world, FirewallObserved{verified()});
  CHECK(world.tampering.repaired == 1);
  run(world, LinkRemoved{wifi});  // takes its egress hook away
  run(world, FirewallObserved{observation});
  CHECK(world.tampering.attempts == 1);
}

TEST_CASE("Lost notifications and a sleep void what was observed; while disabled nothing is counted", "[step]") {
  for (const Event& event : {Event{RulesetUnknown{"lost"}}, Event{Resumed{}}}) {
    auto world = laptop_protected();
    CHECK(only<LogLine>(run(world, event)) != nullptr);
    CHECK_FALSE(decide::is_verified(world));
    CHECK(world.trusted);
    CHECK(world.tampering == Tampering{});
  }
  World open;
  open.enabled = false;
  CHECK(run(open, RulesetTouched{{"nft", 42, "inet killswitch: table made"}}).empty());
  CHECK(run(open, Resumed{}).empty());
  CHECK(open.tampering == Tampering{});
}

TEST_CASE("Remotes are answered with pinned addresses of the family that is asked for", "[step]") {
  auto world = laptop_connecting();
  const auto six = say(world, query("VPN.example.test", Family::ipv6));
  REQUIRE(only<UseRemote>(six) != nullptr);
  CHECK(only<UseRemote>(six)->address == ip("2001:db8:b700::220"));
  const auto four = say(world, query("vpn.example.test", Family::ipv4));
  REQUIRE(only<UseRemote>(four) != nullptr);
  CHECK(only<UseRemote>(four)->address == ip("198.51.100.49"));

  SECTION("each try takes the next address") {
    const auto one = say(world, query("vpn.example.test", std::nullopt));
    const auto two = say(world, query("vpn.example.test", std::nullopt));
    CHECK(only<UseRemote>(one)->address != only<UseRemote>(two)->address);
  }
  SECTION("an address that a link can reach comes first") {
    const auto one = say(world, query("vpn.example.test", std::nullopt));
    CHECK(only<UseRemote>(one)->address == ip("198.51.100.49"));  // the link has IPv4 only
    world.links[wifi].addresses = {*parse_interface_address("2001:db8:43::10/64")};
    world.peers[first].attempts.clear();
    const auto other = say(world, query("vpn.example.test", std::nullopt));
    CHECK(only<UseRemote>(other)->address == ip("2001:db8:b700::220"));
  }
  SECTION("a name that was not pinned is skipped and said") {
    CHECK(only<SkipRemote>(say(world, query("elsewhere.example.test", std::nullopt))) != nullptr);
    CHECK(world.openvpn_error.find("elsewhere.example.test") != std::string::npos);
  }
  SECTION("while disabled OpenVPN does as it likes") {
    run(world, DisableRequested{});
    CHECK(only<AcceptRemote>(say(world, query("elsewhere.example.test", std::nullopt))) != nullptr);
  }
}

TEST_CASE("Without a profile, numeric servers are learned from OpenVPN", "[step]") {
  auto world = laptop_connecting();
  world.settings.remotes.clear();
  CHECK(only<AcceptRemote>(say(world, query("198.51.100.77", std::nullopt))) != nullptr);
  REQUIRE(world.learned.size() == 1);
  CHECK(world.learned[0].address == ip("198.51.100.77"));
  say(world, query("198.51.100.77", std::nullopt));
  CHECK(world.learned.size() == 1);

  SECTION("with a profile they are not") {
    world = laptop_connecting();
    say(world, query("198.51.100.77", std::nullopt));
    CHECK(world.learned.empty());
  }
}

TEST_CASE("The tunnel is trusted once rtnetlink confirms what OpenVPN announced", "[step]") {
  auto world = laptop_connecting();
  run(world, FirewallObserved{verified()});
  say(world, management::TunnelUp{dual_stack_report()});
  CHECK_FALSE(world.trusted);
  auto bare = tun0();
  bare.addresses.clear();
  run(world, LinkChanged{bare});
  CHECK_FALSE(world.trusted);
  const auto saved = run(world, AddressAdded{tunnel, dual_stack_report().addresses[0]});
  REQUIRE(world.trusted);
  CHECK(world.trusted->index == tunnel);
  CHECK(only<SaveState>(saved) != nullptr);
  CHECK(state(world) == State::connecting);
  say(world, management::State{"CONNECTED", "SUCCESS", {}, {}, {}});
  CHECK(state(world) == State::protected_);

  SECTION("deleted by hand: gone, and a new tun0 is not it") {
    run(world, LinkRemoved{tunnel});
    CHECK_FALSE(world.trusted);
    CHECK_FALSE(world.report);
    auto impostor = tun0(IfIndex{77});
    run(world, LinkChanged{impostor});
    for (const auto& address : impostor.addresses) {
      run(world, AddressAdded{IfIndex{77}, address});
    }
    CHECK_FALSE(world.trusted);
    CHECK(state(world) == State::blocked);  // a device went: what the kernel holds is verified anew
    run(world, FirewallObserved{verified()});
    CHECK(state(world) == State::connecting);
  }
  SECTION("announced down") {
    say(world, management::TunnelDown{"tun0"});
    CHECK_FALSE(world.trusted);
  }
  SECTION("OpenVPN dies") {
    run(world, ManagementClosed{first, "closed"});
    CHECK_FALSE(world.trusted);
    CHECK(state(world) == State::blocked);
  }
  SECTION("reconnecting over a persistent tun keeps the interface, not the word protected") {
    say(world, management::State{"RECONNECTING", "ping-restart", {}, {}, {}});
    CHECK(world.trusted);
    CHECK(state(world) == State::connecting);
    say(world, management::State{"CONNECTED", "SUCCESS", {}, {}, {}});
    CHECK(state(world) == State::protected_);
  }
  SECTION("its addresses are taken away") {
    for (const auto& address : dual_stack_report().addresses) {
      run(world, AddressRemoved{tunnel, address});
    }
    CHECK_FALSE(world.trusted);
  }
  SECTION("a second OpenVPN announces another tunnel") {
    run(world, ManagementOpened{{2}, management::Direction::openvpn_connected});
    auto other = dual_stack_report();
    other.interface = "tun1";
    say(world, management::TunnelUp{other}, {2});
    REQUIRE(world.trusted);
    CHECK(world.trusted->index == tunnel);
  }
  SECTION("lost notifications close the tunnel until the dump is in") {
    run(world, LinksUnknown{"buffer overrun"});
    auto links = laptop_protected().links;
    run(world, LinksListed{links});
    REQUIRE(world.trusted);
    links.erase(tunnel);
    run(world, LinksListed{links});
    CHECK_FALSE(world.trusted);
    CHECK_FALSE(world.report);
  }
}

TEST_CASE("An interface that is not a tun is never the tunnel", "[step]") {
  auto world = laptop_connecting();
  auto fake = tun0();
  fake.kind = "veth";
  world.links[tunnel] = fake;
  say(world, management::TunnelUp{dual_stack_report()});
  CHECK_FALSE(world.trusted);
}

TEST_CASE("A restarted daemon knows the tunnel again, if it is still there", "[step]") {
  const auto before = laptop_protected();
  const auto saved = *decide::to_save(before);
  auto world = decide::restore(saved);
  CHECK(world.enabled);
  run(world, LinksListed{before.links});
  REQUIRE(world.trusted);
  CHECK(world.trusted == before.trusted);

  auto later = decide::restore(saved);
  auto links = before.links;
  links.erase(tunnel);
  run(later, LinksListed{links});
  CHECK_FALSE(later.trusted);

  SECTION("another interface took the name meanwhile") {
    auto imposed = decide::restore(saved);
    links[IfIndex{77}] = tun0(IfIndex{77});
    run(imposed, LinksListed{links});
    CHECK_FALSE(imposed.trusted);
  }
}

TEST_CASE("Wide routes tell whether programs reach the internet through the tunnel", "[step]") {
  auto world = laptop_protected();
  const auto half = *parse_prefix("0.0.0.0/1");
  const auto whole = *parse_prefix("::/0");
  CHECK(decide::describe(world).ipv6 == "tunnelled");
  world.links[tunnel].wide_routes.clear();
  CHECK(decide::describe(world).ipv6 == "refused");
  const auto warned = [&] {
    const auto warnings = decide::describe(world).warnings;
    return std::any_of(warnings.begin(), warnings.end(),
                       [](const auto& text) { return text.find("no default route") != std::string::npos; });
  };
  CHECK(warned());
  run(world, RouteAdded{tunnel, half, false});
  run(world, RouteAdded{tunnel, half, false});
  CHECK_FALSE(warned());
  run(world, RouteRemoved{tunnel, half});
  CHECK_FALSE(warned());  // the other one, of another metric, is still there
  run(world, RouteAdded{wifi, half, true});
  CHECK(warned());
  run(world, RouteAdded{tunnel, whole, false});
  CHECK(decide::describe(world).ipv6 == "tunnelled");

  SECTION("an interface that goes down has no routes") {
    auto down = world.links[tunnel];
    down.up = false;
    run(world, LinkChanged{down});
    CHECK(world.links[tunnel].wide_routes.empty());
  }
  SECTION("routes of interfaces that nobody knows are left out") {
    run(world, RouteAdded{IfIndex{99}, half, false});
    run(world, RouteRemoved{IfIndex{99}, half});
    CHECK(world.links.find(IfIndex{99}) == world.links.end());
  }
}

TEST_CASE("An unreadable state file means locked, with the way back", "[step]") {
  World world;
  const auto effects = run(world, StateUnreadable{Error{std::make_error_code(std::errc::invalid_argument),
                                                        "/var/lib/killswitch/state.json: /enabled: expected true"}});
  REQUIRE(only<LogLine>(effects) != nullptr);
  CHECK(only<LogLine>(effects)->text.find("killswitch disable") != std::string::npos);
  CHECK(world.enabled);
  CHECK(decide::compile(world) == decide::block_all({}));
}

TEST_CASE("A failed apply is never called protected", "[step]") {
  auto world = laptop_protected();
  REQUIRE(state(world) == State::protected_);
  run(world, FirewallFailed{Error{std::error_code{1, std::system_category()}, "nft: add rule"}});
  const auto status = decide::describe(world);
  CHECK(status.state != State::protected_);
  CHECK_FALSE(status.enforced);
  CHECK_FALSE(status.reasons.empty());
}

namespace {

/// A source of events that a hostile or merely busy machine might produce.
class Chaos {
public:
  explicit Chaos(unsigned seed) : random_{seed} {}

  Event next() {
    const management::ConnectionId connection{pick(1, 3)};
    const IfIndex index{pick(1, 12)};
    auto link = pick(0, 1) == 0 ? tun0(index) : test::link(index, "tun0", pick(0, 1) == 0 ? "bridge" : "veth");
    switch (pick(0, 13)) {
      case 0: return ManagementOpened{connection, management::Direction::openvpn_connected};
      case 1: return ManagementClosed{connection, "closed"};
      case 2: return ManagementReceived{connection, management::Hold{}};
      case 3: return ManagementReceived{connection, query("vpn.example.test", Family::ipv4)};
      case 4: return ManagementReceived{connection, query("198.51.100.99", std::nullopt)};
      case 5: return ManagementReceived{connection, management::TunnelUp{dual_stack_report()}};
      case 6: return ManagementReceived{connection, management::TunnelDown{"tun0"}};
      case 7: return ManagementReceived{connection, management::State{"CONNECTED", "SUCCESS", {}, {}, {}}};
      case 8: return LinkChanged{link};
      case 9: return LinkRemoved{index};
      case 10: return AddressAdded{index, dual_stack_report().addresses[pick(0, 1)]};
      case 11: return AddressRemoved{index, dual_stack_report().addresses[pick(0, 1)]};
      case 12: return FirewallObserved{verified()};
      default: return LinksListed{laptop_protected().links};
    }
  }

private:
  std::uint32_t pick(std::uint32_t low, std::uint32_t high) {
    return std::uniform_int_distribution<std::uint32_t>{low, high}(random_);
  }
  std::mt19937 random_;
};

}  // namespace

TEST_CASE("Whatever happens, an enabled world passes its audit", "[step]") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    Chaos chaos{seed};
    auto world = laptop_blocked();
    for (int i = 0; i < 60; ++i) {
      run(world, chaos.next());
      const auto violations = decide::audit(decide::compile(world), world);
      CAPTURE(i);
      REQUIRE(violations == std::vector<std::string>{});
      if (world.trusted) {
        const auto& link = world.links.at(world.trusted->index);
        REQUIRE(decide::is_tunnel_kind(link.kind));
      }
      REQUIRE((decide::describe(world).state != State::protected_ || (world.trusted && decide::is_verified(world))));
    }
  }
}
