// The D-Bus facade on a private bus. The bus has the policy that is installed, so this is also its test.
#include "killswitch/os/bus.hpp"
#include "killswitch/serve/manager.hpp"

#include "support/private_bus.hpp"

namespace {

using namespace killswitch;
using namespace killswitch::testing;

}  // namespace

TEST_CASE("signatures are split at complete types") {
  CHECK(os::complete_type_length("s") == 1);
  CHECK(os::complete_type_length("a{sv}u") == 5);
  CHECK(os::complete_type_length("(ia(iay))s") == 9);
  CHECK(os::complete_type_length("") == 0);
  CHECK(os::complete_type_length("a") == 0);
  CHECK(os::complete_type_length("(s") == 0);
  CHECK(os::complete_type_length("!") == 0);
}

TEST_CASE("without a bus there is an error, not an end") {
  ::setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
  auto loop = os::EventLoop::create();
  const auto bus = os::Bus::connect_system(*loop, [](const Error&) {});
  REQUIRE(!bus.has_value());
  CHECK(bus.error().code == os::BusError::unreachable);
}

TEST_CASE("what a service tells everybody is heard, whoever it runs as") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const PrivateBus private_bus;
  Peer peer;
  REQUIRE(peer.bus.request_name(serve::bus_name).has_value());
  int heard = 0;
  const auto subscription = peer.bus.subscribe(
      {.sender = "org.example.Names", .path = "/org/example", .interface = "org.example.Names", .member = "Changed"},
      [&](const os::BusNotice&) { ++heard; });
  REQUIRE(subscription.has_value());
  CHECK(as_user(65534, [] {
          auto loop = os::EventLoop::create();
          auto bus = os::Bus::connect_system(*loop, [](const Error&) {});
          os::BusObject object{"/org/example", "org.example.Names", {}, {}, {{"Changed", "", {}}}};
          return !bus->export_object(std::move(object))             ? 1
                 : !bus->request_name("org.example.Names")          ? 2
                 : !bus->emit_signal("/org/example", "Changed", {}) ? 3
                                                                    : 0;
        }) == 0);
  CHECK(peer.reached([&] { return heard == 1; }));
}

TEST_CASE("values of every shape go out and come back the same") {
  const PrivateBus private_bus;
  const std::string signature = "bynqiuxtdsoga{sv}(iay)aas";
  const os::BusValues values{
      os::bus_boolean(true),
      os::bus_byte(7),
      {"n", std::int16_t{-3}},
      {"q", std::uint16_t{65535}},
      os::bus_int32(-5),
      os::bus_uint32(4000000000U),
      {"x", std::int64_t{-1}},
      os::bus_uint64(1),
      {"d", 0.5},
      os::bus_string("text"),
      os::bus_path("/org/example"),
      {"g", std::string{"a{sv}"}},
      os::bus_array("{sv}", {os::bus_entry(os::bus_string("k"), os::bus_variant(os::bus_array("u", {})))}),
      os::bus_struct({os::bus_int32(2), os::bus_array("y", {os::bus_byte(1)})}),
      os::bus_array("as", {os::bus_array("s", {os::bus_string("x")}), os::bus_array("s", {})})};
  REQUIRE(os::signature_of(values) == signature);
  const Daemon daemon{[&](auto ready) {
    auto loop = os::EventLoop::create();
    auto bus = os::Bus::connect_system(*loop, [&](const Error&) { loop->stop(); });
    os::BusObject object{"/org/example", "org.example.Echo", {}, {}, {}};
    object.methods.push_back(
        {"Echo", signature, {}, signature, {}, [](const os::BusRequest& request, const os::BusAnswer& answer) {
           answer(request.arguments);
         }});
    if (bus->export_object(std::move(object)) && bus->request_name("org.example.Echo")) {
      ready();
      static_cast<void>(loop->run().has_value());
    }
  }};
  Peer peer;
  const auto echoed = peer.bus.call({.destination = "org.example.Echo",
                                     .path = "/org/example",
                                     .interface = "org.example.Echo",
                                     .member = "Echo",
                                     .arguments = values,
                                     .reply_signature = signature});
  INFO((echoed ? std::string{} : echoed.error().message()));
  REQUIRE(echoed.has_value());
  CHECK(*echoed == values);
}

TEST_CASE("an answer may come later, or never") {
  const PrivateBus private_bus;
  const Daemon daemon{[](auto ready) {
    auto loop = os::EventLoop::create();
    auto bus = os::Bus::connect_system(*loop, [&](const Error&) { loop->stop(); });
    os::BusObject object{"/org/example", "org.example.Slow", {}, {}, {}};
    os::EventSource timer;
    object.methods.push_back({"Later", "", {}, "s", {}, [&](const os::BusRequest&, const os::BusAnswer& answer) {
                                auto set =
                                    loop->after(20ms, [answer] { answer(os::BusValues{os::bus_string("late")}); });
                                timer = std::move(*set);
                              }});
    object.methods.push_back({"Never", "", {}, "s", {}, [](const os::BusRequest&, const os::BusAnswer&) {}});
    if (bus->export_object(std::move(object)) && bus->request_name("org.example.Slow")) {
      ready();
      static_cast<void>(loop->run().has_value());
    }
  }};
  Peer peer;
  os::BusCall call{.destination = "org.example.Slow",
                   .path = "/org/example",
                   .interface = "org.example.Slow",
                   .member = "Later",
                   .reply_signature = "s"};
  CHECK(peer.bus.call(call).value() == os::BusValues{os::bus_string("late")});
  call.member = "Never";
  call.timeout = 50ms;
  const auto waited = peer.bus.call(call);
  REQUIRE(!waited.has_value());
  CHECK(waited.error().code == os::BusError::timed_out);
  std::optional<Result<os::BusValues>> reply;
  REQUIRE(peer.bus.call_async(call, [&](const Result<os::BusValues>& result) { reply = result; }).has_value());
  CHECK(peer.reached([&] { return reply.has_value(); }));
  CHECK(reply->error().code == os::BusError::timed_out);
  call.destination = "org.example.Nobody";
  reply.reset();
  REQUIRE(peer.bus.call_async(call, [&](const Result<os::BusValues>& result) { reply = result; }).has_value());
  CHECK(peer.reached([&] { return reply.has_value(); }));
  CHECK(reply->error().code == os::BusError::service_unknown);
}

TEST_CASE("a name that comes and goes is watched") {
  const PrivateBus private_bus;
  Peer peer;
  std::vector<std::string> owners;
  auto watch = peer.bus.watch_name(serve::bus_name, [&](const std::string& owner) { owners.push_back(owner); });
  REQUIRE(watch.has_value());
  CHECK(peer.bus.owner_of(serve::bus_name).value() == std::nullopt);
  {
    const Daemon daemon{[](auto ready) { manager_main(ready); }};
    CHECK(peer.reached([&] { return owners.size() == 1; }));
    CHECK(peer.bus.owner_of(serve::bus_name).value() == owners.at(0));
  }
  CHECK(peer.reached([&] { return owners.size() == 2; }));
  CHECK(owners.at(1).empty());
  *watch = {};  // and not after its end
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  REQUIRE(peer.bus.call(property("State")).has_value());
  REQUIRE(sd_event_run(peer.loop.native(), 20000) >= 0);
  CHECK(owners.size() == 2);
}

TEST_CASE("calls that nobody waits for go to whoever has the name now") {
  const PrivateBus private_bus;
  Peer peer;
  const auto ask = [&] {
    std::optional<Result<os::BusValues>> reply;
    REQUIRE(peer.bus.call_async(property("State"), [&](Result<os::BusValues> given) { reply = given; }).has_value());
    REQUIRE(peer.reached([&] { return reply.has_value(); }));
    return *reply;
  };
  auto daemon = std::make_unique<Daemon>([](auto ready) { manager_main(ready); });
  CHECK(ask().has_value());
  CHECK(ask().has_value());
  // Another one before this connection has looked at what it was told.
  daemon.reset();
  daemon = std::make_unique<Daemon>([](auto ready) { manager_main(ready); });
  CHECK(ask().has_value());
  daemon.reset();
  CHECK(ask().error().code == os::BusError::service_unknown);
  CHECK(ask().error().code == os::BusError::service_unknown);
  daemon = std::make_unique<Daemon>([](auto ready) { manager_main(ready); });
  CHECK(ask().has_value());
}

TEST_CASE("a bus that dies is told once, ends nothing, and a new one can be had") {
  PrivateBus private_bus;
  Peer peer;
  std::optional<Result<os::BusValues>> reply;
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  os::BusObject object{"/org/example", "org.example.Here", {}, {}, {{"Sign", "s", {"text"}}}};
  REQUIRE(peer.bus.export_object(std::move(object)).has_value());
  auto subscription = peer.bus.subscribe({.sender = serve::bus_name, .signature = ""}, [](const os::BusNotice&) {});
  REQUIRE(subscription.has_value());
  private_bus.stop();
  CHECK(peer.reached([&] { return peer.lost.has_value(); }));
  CHECK(peer.lost->code == os::BusError::disconnected);
  CHECK(peer.bus.emit_signal("/org/example", "Sign", {os::bus_string("x")}).error().code == os::BusError::disconnected);
  CHECK(peer.bus.call(property("State")).error().code == os::BusError::disconnected);
  CHECK(peer.bus.call_async(property("State"), [](const Result<os::BusValues>&) {}).error().code ==
        os::BusError::disconnected);
  private_bus.start();
  peer.lost.reset();
  peer.bus = peer.connect();
  *subscription = {};  // of the connection that is gone
  CHECK(peer.bus.owner_of("org.freedesktop.DBus").value().has_value());
  CHECK(!peer.lost.has_value());
}

TEST_CASE("calls that wait when the bus dies are answered with an error") {
  PrivateBus private_bus;
  const Daemon daemon{[](auto ready) {
    auto loop = os::EventLoop::create();
    auto bus = os::Bus::connect_system(*loop, [&](const Error&) { loop->stop(); });
    os::BusObject object{"/org/example", "org.example.Slow", {}, {}, {}};
    object.methods.push_back({"Never", "", {}, "s", {}, [](const os::BusRequest&, const os::BusAnswer&) {}});
    if (bus->export_object(std::move(object)) && bus->request_name("org.example.Slow")) {
      ready();
      static_cast<void>(loop->run().has_value());
    }
  }};
  Peer peer;
  std::optional<Result<os::BusValues>> reply;
  REQUIRE(peer.bus
              .call_async({.destination = "org.example.Slow",
                           .path = "/org/example",
                           .interface = "org.example.Slow",
                           .member = "Never",
                           .reply_signature = "s",
                           .activation = os::Activation::allowed},
                          [&](const Result<os::BusValues>& result) { reply = result; })
              .has_value());
  REQUIRE(sd_event_run(peer.loop.native(), 10000) >= 0);
  private_bus.stop();
  CHECK(peer.reached([&] { return reply.has_value() && peer.lost.has_value(); }));
  CHECK(!reply->has_value());
}
