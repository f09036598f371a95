// The daemon's object, the command's proxy and polkit on a private bus, with the policy that is installed.
#include "killswitch/serve/manager.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/serve/client.hpp"

#include "support/private_bus.hpp"

namespace {

using namespace killswitch;
using namespace killswitch::testing;

/// polkit as far as we talk to it: says yes to one action, and only about the caller itself. With `Hold` it keeps its
/// answers until it is told to give them.
template <typename Ready>
void polkit_main(Ready ready, const std::string& granted, const std::string& detail = {}, bool hold = false) {
  constexpr const char* interface = "org.freedesktop.PolicyKit1.Authority";
  auto loop = os::EventLoop::create();
  auto bus = os::Bus::connect_system(*loop, [&](const Error&) { loop->stop(); });
  std::vector<std::function<void()>> held;
  os::BusObject object{"/org/freedesktop/PolicyKit1/Authority", interface, {}, {}, {}};
  const auto check = [&](const os::BusRequest& request, const os::BusAnswer& answer) {
    const auto& subject = std::get<os::BusValues>(request.arguments.at(0).content);
    const auto& properties = std::get<os::BusValues>(subject.at(1).content);
    const auto expected = os::bus_string("system-bus-name");
    const bool asked_well =
        subject.at(0) == expected && properties.size() == 1 && request.arguments.at(3) == os::bus_uint32(1);
    const bool yes = asked_well && std::get<std::string>(request.arguments.at(1).content) == granted;
    os::BusValues details;
    if (!detail.empty()) {
      details.push_back(os::bus_entry(os::bus_string(detail), os::bus_string("true")));
    }
    const auto decision = os::bus_struct(
        {os::bus_boolean(yes), os::bus_boolean(detail == "challenge"), os::bus_array("{ss}", std::move(details))});
    auto give = [answer, decision] { answer(os::BusValues{decision}); };
    if (hold) {
      held.emplace_back(std::move(give));
    } else {
      give();
    }
  };
  const auto count = [&](const os::BusRequest&, const os::BusAnswer& answer) {
    answer(os::BusValues{os::bus_uint32(static_cast<std::uint32_t>(held.size()))});
  };
  const auto release = [&](const os::BusRequest& request, const os::BusAnswer& answer) {
    count(request, answer);
    for (const auto& give : std::exchange(held, {})) {
      give();
    }
  };
  object.methods.push_back({"CheckAuthorization", "(sa{sv})sa{ss}us", {}, "(bba{ss})", {}, check});
  object.methods.push_back({"Held", "", {}, "u", {}, count});
  object.methods.push_back({"Release", "", {}, "u", {}, release});
  if (bus->export_object(std::move(object)) && bus->request_name("org.freedesktop.PolicyKit1")) {
    ready();
    static_cast<void>(loop->run().has_value());
  }
}

/// How many answers it holds back. @param member "Held", or "Release", which gives them
std::uint32_t ask_polkit_for(os::Bus& bus, const char* member) {
  const auto held = bus.call({.destination = "org.freedesktop.PolicyKit1",
                              .path = "/org/freedesktop/PolicyKit1/Authority",
                              .interface = "org.freedesktop.PolicyKit1.Authority",
                              .member = member,
                              .reply_signature = "u"});
  return held ? std::get<std::uint32_t>(held->at(0).content) : 0;
}

template <typename T>
bool is(const Result<T>& result, serve::ClientError error) {
  return !result.has_value() && result.error().code == error;
}

}  // namespace

TEST_CASE("without a bus the command says so") {
  ::setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
  auto loop = os::EventLoop::create();
  CHECK(is(serve::Client::connect(*loop), serve::ClientError::bus_unreachable));
}

TEST_CASE("without a daemon the command says so, and does not wait") {
  const PrivateBus private_bus;
  auto loop = os::EventLoop::create();
  auto client = serve::Client::connect(*loop);
  REQUIRE(client.has_value());
  CHECK(is(client->status(), serve::ClientError::daemon_not_running));
}

TEST_CASE("root may do everything, and is told what went wrong") {
  const PrivateBus private_bus;
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  auto loop = os::EventLoop::create();
  auto client = serve::Client::connect(*loop);
  REQUIRE(client.has_value());
  CHECK(client->status().value() == R"({"state":"blocked"})");
  CHECK(client->enable("{}").value() == "enabled with 2");
  using namespace std::chrono_literals;
  CHECK(client->enable("{}", 60s).value() == "enabled with 2 for 60 s");
  CHECK(client->confirm().value() == "confirmed");
  CHECK(client->disable().value() == "disabled");
  CHECK(client->rules().value() == "table inet killswitch {}");
  CHECK(client->resync(os::Activation::refused, 2s).value() == R"({"state":"read anew"})");
  const auto bad = client->enable("bad");
  CHECK(is(bad, serve::ClientError::bad_request));
  CHECK(bad.error().message().find("/remotes/0: a port is missing") != std::string::npos);
  const auto impossible = client->enable("impossible");
  CHECK(is(impossible, serve::ClientError::failed));
  CHECK(impossible.error().message().find("nft: apply") != std::string::npos);
}

TEST_CASE("settings of a mebibyte are accepted, a byte more is not") {
  const PrivateBus private_bus;
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  auto loop = os::EventLoop::create();
  auto client = serve::Client::connect(*loop);
  REQUIRE(client.has_value());
  CHECK(client->enable(std::string(serve::longest_settings, 'x')).has_value());
  CHECK(is(client->enable(std::string(serve::longest_settings + 1, 'x')), serve::ClientError::bad_request));
}

TEST_CASE("another user may read the status and nothing more") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const PrivateBus private_bus;
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  CHECK(as_user(65534, [] {
          auto loop = os::EventLoop::create();
          auto client = serve::Client::connect(*loop);
          if (!client) {
            return 1;
          }
          auto bus = os::Bus::connect_system(*loop, [](const Error&) {});
          auto set = property("State");
          set.member = "Set";
          set.arguments.push_back(os::bus_variant(os::bus_string("disabled")));
          return !client->status()                                              ? 2
                 : !is(client->enable("{}"), serve::ClientError::not_permitted) ? 3
                 : !is(client->disable(), serve::ClientError::not_permitted)    ? 4
                 : !is(client->confirm(), serve::ClientError::not_permitted)    ? 9
                 : !is(client->rules(), serve::ClientError::not_permitted)      ? 5
                 : !is(client->resync(os::Activation::refused, std::chrono::seconds{2}),
                       serve::ClientError::not_permitted)
                     ? 10
                 : !bus->call(property("State"))                  ? 6
                 : bus->call(set).has_value()                     ? 7
                 : bus->request_name(serve::bus_name).has_value() ? 8
                                                                  : 0;
        }) == 0);
}

TEST_CASE("whoever polkit lets may do just that") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  struct Row {
    const char* granted;
    const char* state;
    bool enables;
    bool disables;
  };
  for (const auto& row :
       {Row{"org.killswitch1.policy", "blocked", true, false}, Row{"org.killswitch1.enable", "blocked", false, false},
        Row{"org.killswitch1.enable", "disabled", true, false}, Row{"org.killswitch1.policy", "disabled", false, false},
        Row{"org.killswitch1.disable", "blocked", false, true},
        Row{"org.killswitch1.status", "blocked", false, false}}) {
    INFO(row.granted << " while " << row.state);
    const PrivateBus private_bus;
    const Daemon polkit{[&](auto ready) { polkit_main(ready, row.granted); }};
    const Daemon daemon{[&](auto ready) { manager_main(ready, row.state); }};
    CHECK(as_user(65534, [&] {
            auto loop = os::EventLoop::create();
            auto client = serve::Client::connect(*loop);
            const auto enabled = client->enable("{}");
            const auto disabled = client->disable();
            if (enabled.has_value() != row.enables || disabled.has_value() != row.disables) {
              return 1;
            }
            if (!enabled && enabled.error().code != serve::ClientError::not_permitted) {
              return 2;
            }
            return enabled && *enabled != "enabled with 2 by an administrator" ? 3 : 0;
          }) == 0);
  }
}

TEST_CASE("polkit's no is passed on with its reason") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  for (const auto& [detail, words] :
       {std::pair{"", "polkit says no"}, std::pair{"polkit.dismissed", "dismissed"}, std::pair{"challenge", "sudo"}}) {
    INFO(words);
    const PrivateBus private_bus;
    const Daemon polkit{[&](auto ready) { polkit_main(ready, "nothing", detail); }};
    const Daemon daemon{[](auto ready) { manager_main(ready); }};
    CHECK(as_user(65534, [&] {
            auto loop = os::EventLoop::create();
            auto client = serve::Client::connect(*loop);
            const auto disabled = client->disable();
            return is(disabled, serve::ClientError::not_permitted) &&
                           disabled.error().message().find(words) != std::string::npos
                       ? 0
                       : 1;
          }) == 0);
  }
}

TEST_CASE("what was authorised is done only if it still is that") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const PrivateBus private_bus;
  const Daemon polkit{[](auto ready) { polkit_main(ready, "org.killswitch1.enable", "", true); }};
  const Daemon daemon{[](auto ready) { manager_main(ready, "disabled"); }};
  const Daemon user{[](auto ready) {
    ready();
    const int answered = as_user(65534, [] {
      auto loop = os::EventLoop::create();
      auto client = serve::Client::connect(*loop);
      const auto enabled = client->enable("{}");
      return is(enabled, serve::ClientError::not_permitted) &&
                     enabled.error().message().find("was changed") != std::string::npos
                 ? 7
                 : 1;
    });
    ::_exit(answered);
  }};
  Peer root;
  bool connecting = false;
  const auto told = root.bus.subscribe({.sender = serve::bus_name, .member = "StatusChanged", .signature = "s"},
                                       [&](const os::BusNotice&) { connecting = true; });
  REQUIRE(told.has_value());
  REQUIRE(root.reached([&] { return ask_polkit_for(root.bus, "Held") == 1; }));
  auto loop = os::EventLoop::create();
  auto client = serve::Client::connect(*loop);
  REQUIRE(client.has_value());
  CHECK(client->enable("{}").has_value());  // root locks the machine meanwhile
  REQUIRE(root.reached([&] { return connecting; }));
  CHECK(ask_polkit_for(root.bus, "Release") == 1);
  CHECK(user.exit_status() == 7);
}

TEST_CASE("nobody can make the daemon hold requests without end") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const PrivateBus private_bus;
  const Daemon polkit{[](auto ready) { polkit_main(ready, "nothing", "", true); }};
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  CHECK(as_user(65534, [] {
          Peer peer;
          std::size_t refused = 0;
          const os::BusCall call{.destination = serve::bus_name,
                                 .path = serve::object_path,
                                 .interface = serve::interface_name,
                                 .member = "Disable",
                                 .reply_signature = "s",
                                 .activation = os::Activation::allowed};
          for (std::size_t i = 0; i < serve::most_waiting_of_a_user + 3; ++i) {
            const auto sent = peer.bus.call_async(call, [&](const Result<os::BusValues>&) { ++refused; });
            if (!sent) {
              return 1;
            }
          }
          return peer.reached([&] { return refused == 3; }) ? 0 : 2;
        }) == 0);
  auto loop = os::EventLoop::create();
  auto client = serve::Client::connect(*loop);
  CHECK(client->disable().value() == "disabled");  // root does not stand in that line
}

TEST_CASE("nobody but root can own the name, and not twice") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const PrivateBus private_bus;
  CHECK(as_user(65534, [] {
          auto loop = os::EventLoop::create();
          auto bus = os::Bus::connect_system(*loop, [](const Error&) {});
          const auto named = bus->request_name(serve::bus_name);
          return !named && named.error().code == os::BusError::access_denied ? 0 : 1;
        }) == 0);
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  Peer second;
  const auto named = second.bus.request_name(serve::bus_name);
  REQUIRE(!named.has_value());
  CHECK(named.error().code == os::BusError::name_taken);
}

TEST_CASE("properties are read and their changes announced, with the status as a signal") {
  const PrivateBus private_bus;
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  Peer peer;
  CHECK(peer.bus.call(property("State")).value() == os::BusValues{os::bus_variant(os::bus_string("blocked"))});
  CHECK(peer.bus.call(property("Enforced")).value() == os::BusValues{os::bus_variant(os::bus_boolean(true))});
  std::vector<os::BusValues> changes;
  std::vector<os::BusValues> statuses;
  const auto changed = peer.bus.subscribe({.sender = serve::bus_name,
                                           .path = serve::object_path,
                                           .interface = "org.freedesktop.DBus.Properties",
                                           .member = "PropertiesChanged",
                                           .signature = "sa{sv}as"},
                                          [&](const os::BusNotice& notice) { changes.push_back(notice.arguments); });
  const auto status = peer.bus.subscribe({.sender = serve::bus_name, .member = "StatusChanged", .signature = "s"},
                                         [&](const os::BusNotice& notice) { statuses.push_back(notice.arguments); });
  REQUIRE(changed.has_value());
  REQUIRE(status.has_value());
  std::optional<Result<os::BusValues>> reply;
  REQUIRE(peer.bus
              .call_async({.destination = serve::bus_name,
                           .path = serve::object_path,
                           .interface = serve::interface_name,
                           .member = "Enable",
                           .arguments = {os::bus_string("{}")},
                           .reply_signature = "s"},
                          [&](const Result<os::BusValues>& result) { reply = result; })
              .has_value());
  CHECK(peer.reached([&] { return reply && !statuses.empty(); }));
  REQUIRE(reply->has_value());
  CHECK(**reply == os::BusValues{os::bus_string("enabled with 2")});
  CHECK(statuses == std::vector<os::BusValues>{{os::bus_string(R"({"state":"connecting"})")}});
  const os::BusValue entry = os::bus_entry(os::bus_string("State"), os::bus_variant(os::bus_string("connecting")));
  CHECK(changes == std::vector<os::BusValues>{{os::bus_string(serve::interface_name), os::bus_array("{sv}", {entry}),
                                               os::bus_array("s", {})}});
}

TEST_CASE("the command watches the status, also over a restart of the daemon") {
  const PrivateBus private_bus;
  auto daemon = std::make_unique<Daemon>([](auto ready) { manager_main(ready); });
  auto loop = os::EventLoop::create();
  auto client = serve::Client::connect(*loop);
  REQUIRE(client.has_value());
  std::vector<std::string> seen;
  const auto watched = client->watch(
      [&](const std::string& status) {
        seen.push_back(status);
        if (seen.size() == 1) {
          daemon.reset();
        } else {
          loop->stop();
        }
      },
      [&] {
        seen.emplace_back("absent");
        daemon = std::make_unique<Daemon>([](auto ready) { manager_main(ready); });
      });
  CHECK(watched.has_value());
  CHECK(seen == std::vector<std::string>{R"({"state":"blocked"})", "absent", R"({"state":"blocked"})"});
}

TEST_CASE("the object describes itself as the introspection file does") {
  const PrivateBus private_bus;
  const Daemon daemon{[](auto ready) { manager_main(ready); }};
  Peer peer;
  const auto described = peer.bus.call({.destination = serve::bus_name,
                                        .path = serve::object_path,
                                        .interface = "org.freedesktop.DBus.Introspectable",
                                        .member = "Introspect",
                                        .reply_signature = "s"});
  REQUIRE(described.has_value());
  const auto& live = std::get<std::string>(described->at(0).content);
  const auto file = os::read_file(std::string{PROJECT_ROOT} + "/packaging/dbus/org.killswitch1.Manager.xml");
  REQUIRE(file.has_value());
  // Both name the same members with the same types; only their order and their comments differ.
  const auto count = [](const std::string& text, const std::string& what) {
    int found = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
      ++found;
    }
    return found;
  };
  const std::string ours = live.substr(live.find("<interface name=\"org.killswitch1.Manager\">"));
  for (const char* member : {"<method name=\"Enable\">", "<method name=\"EnableOnTrial\">", "<method name=\"Confirm\">",
                             "<method name=\"Disable\">", "<method name=\"GetStatus\">", "<method name=\"GetRules\">",
                             "<method name=\"Resync\">", "<signal name=\"StatusChanged\">"}) {
    INFO(member);
    CHECK(count(*file, member) == 1);
    CHECK(count(ours, member) == 1);
  }
  for (const char* name : {"name=\"State\"", "name=\"Policy\"", "name=\"Enforced\"", "name=\"settings_json\"",
                           "name=\"seconds\"", "name=\"status_json\"", "name=\"nft_text\""}) {
    INFO(name);
    CHECK(count(*file, name) == count(ours, name));
  }
}
