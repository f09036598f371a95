// Which route to the VPN server is missing, and how the daemon comes from one to the next.
#include "killswitch/decide/host_route.hpp"
#include "killswitch/decide/step.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

constexpr std::chrono::sys_seconds noon{std::chrono::seconds{1795400000}};

std::vector<Effect> run(World& world, const Event& event) {
  return decide::step(world, event, noon);
}

const IpAddress server = ip("198.51.100.49");
const DefaultRoute over_wifi{wifi, ip("192.168.43.1"), 600};
const HostRoute by_wifi{server, wifi, ip("192.168.43.1")};

ServerRoute circles(std::vector<DefaultRoute> defaults) {
  return {server, tunnel, std::move(defaults)};
}

const ChangeHostRoute* change_in(const std::vector<Effect>& effects) {
  for (const auto& effect : effects) {
    if (const auto* change = std::get_if<ChangeHostRoute>(&effect)) {
      return change;
    }
  }
  return nullptr;
}

}  // namespace

TEST_CASE("The way to the server is asked for while a tunnel is trusted", "[route]") {
  auto world = laptop_protected();
  world.report->server = Endpoint{server, {1194}, Protocol::udp};
  world.trusted = TrustedTunnel{tunnel, *world.report};
  const auto question = decide::route_in_question(world);
  REQUIRE(question);
  CHECK(question->server == server);
  CHECK(question->tunnel == tunnel);
  CHECK(question->mark == world.settings.policy.transport_mark);
  CHECK_FALSE(question->ours_in_place);
  SECTION("of the server that OpenVPN was told to use last") {
    world.peers[{1}].server = ip("198.51.100.50");
    CHECK(decide::route_in_question(world)->server == ip("198.51.100.50"));
  }
  SECTION("not while disabled") {
    world.enabled = false;
    CHECK_FALSE(decide::route_in_question(world));
  }
  SECTION("not without a tunnel") {
    world.trusted.reset();
    CHECK_FALSE(decide::route_in_question(world));
  }
}

TEST_CASE("A host route is set only where the tunnel would lead into itself", "[route]") {
  auto world = laptop_protected();
  world.report->server = Endpoint{server, {1194}, Protocol::udp};
  world.trusted = TrustedTunnel{tunnel, *world.report};
  const IfIndex ethernet{12};
  world.links[ethernet] = Link{ethernet, "eth9", "", {}, {}, true, {}, {}};
  const DefaultRoute by_cable{ethernet, ip("10.0.0.1"), 100};
  struct Row {
    const char* what;
    ServerRoute found;
    std::optional<HostRoute> wanted;
  };
  const Row rows[] = {
      {"OpenVPN's own route", {server, wifi, {over_wifi}}, {}},
      {"no way at all", {server, {}, {over_wifi}}, {}},
      {"taken away", circles({over_wifi}), by_wifi},
      {"the better of two links", circles({over_wifi, by_cable}), HostRoute{server, ethernet, ip("10.0.0.1")}},
      {"a link without a router", circles({{wifi, {}, 0}}), HostRoute{server, wifi, {}}},
      {"no default route yet", circles({}), {}},
      {"the tunnel's own default route is none", circles({{tunnel, {}, 0}}), {}},
      {"an interface that is gone", circles({{IfIndex{77}, ip("10.0.0.1"), 0}}), {}},
      {"found for another server", {ip("198.51.100.50"), tunnel, {over_wifi}}, {}},
  };
  for (const auto& row : rows) {
    INFO(row.what);
    world.route.found = row.found;
    CHECK(decide::wanted_host_route(world) == row.wanted);
  }
  world.links[ethernet].up = false;
  world.route.found = circles({over_wifi, by_cable});
  CHECK(decide::wanted_host_route(world) == by_wifi);
}

TEST_CASE("A host route of ours: set, set again, moved, and taken away", "[route]") {
  auto world = laptop_protected();
  world.report->server = Endpoint{server, {1194}, Protocol::udp};
  world.trusted = TrustedTunnel{tunnel, *world.report};
  const auto effects = run(world, ServerRouteFound{circles({over_wifi})});
  REQUIRE(change_in(effects) != nullptr);
  CHECK(change_in(effects)->after == by_wifi);
  CHECK(change_in(run(world, HostRouteTouched{server})) == nullptr);  // under way
  run(world, HostRouteChanged{by_wifi, ""});
  CHECK(decide::route_in_question(world)->ours_in_place);
  CHECK(change_in(run(world, ServerRouteFound{{server, wifi, {over_wifi}}})) == nullptr);

  SECTION("taken away once more") {
    const auto again = run(world, ServerRouteFound{circles({over_wifi})});
    REQUIRE(change_in(again) != nullptr);
    CHECK_FALSE(change_in(again)->before);
    CHECK(change_in(again)->after == by_wifi);
  }
  SECTION("another router") {
    const auto moved = run(world, ServerRouteFound{{server, wifi, {{wifi, ip("192.168.44.1"), 600}}}});
    REQUIRE(change_in(moved) != nullptr);
    CHECK(change_in(moved)->before == by_wifi);
    CHECK(change_in(moved)->after == HostRoute{server, wifi, ip("192.168.44.1")});
  }
  SECTION("the links have no default route for a while: it stays") {
    CHECK(change_in(run(world, ServerRouteFound{{server, wifi, {}}})) == nullptr);
  }
  SECTION("disabled") {
    const auto gone = run(world, DisableRequested{});
    REQUIRE(change_in(gone) != nullptr);
    CHECK(change_in(gone)->before == by_wifi);
    CHECK_FALSE(change_in(gone)->after);
  }
  SECTION("another server") {
    world.peers[{1}].server = ip("198.51.100.50");
    const auto gone = run(world, HostRouteTouched{server});
    REQUIRE(change_in(gone) != nullptr);
    CHECK_FALSE(change_in(gone)->after);
  }
  SECTION("somebody who takes it away all the time is not raced with") {
    unsigned changes = 0;
    for (int i = 0; i < 100; ++i) {
      changes += change_in(run(world, ServerRouteFound{circles({over_wifi})})) != nullptr ? 1 : 0;
      if (world.route.changing) {
        run(world, HostRouteChanged{by_wifi, ""});
      }
      if (world.route.stalled) {
        break;
      }
    }
    CHECK(changes < 30);
    CHECK(world.route.stalled);
    CHECK(change_in(decide::step(world, HostRouteTouched{server}, noon + std::chrono::seconds{2})) != nullptr);
  }
}

TEST_CASE("A host route that cannot be set is said once and tried again", "[route]") {
  auto world = laptop_protected();
  world.report->server = Endpoint{server, {1194}, Protocol::udp};
  world.trusted = TrustedTunnel{tunnel, *world.report};
  REQUIRE(change_in(run(world, ServerRouteFound{circles({over_wifi})})) != nullptr);
  const auto failed = run(world, HostRouteChanged{{}, "set the route to the VPN server: File exists"});
  CHECK(std::get_if<LogLine>(&failed.front()) != nullptr);
  CHECK(change_in(failed) == nullptr);
  CHECK(world.route.stalled);
  CHECK(change_in(run(world, HostRouteTouched{})) != nullptr);
}
