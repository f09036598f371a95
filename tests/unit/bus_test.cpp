// The D-Bus facade, the daemon's object and the command's proxy on a private bus that the test starts and stops.
// The bus has the policy that is installed, so this is also its test. Nothing here touches the machine's own bus.
#include "killswitch/os/bus.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/serve/client.hpp"
#include "killswitch/serve/manager.hpp"

#include "support/catch.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>

namespace {

using namespace killswitch;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// Policy of the system bus ("nobody owns anything") with our file included.
std::string configuration(const fs::path& directory) {
  return fmt::format(R"(<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}/bus</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>{}/packaging/dbus/org.killswitch1.conf</include>
  <policy context="mandatory"><allow own_prefix="org.example"/><allow send_destination_prefix="org.example"/>
    <allow own="org.freedesktop.PolicyKit1"/><allow send_destination="org.freedesktop.PolicyKit1"/></policy>
</busconfig>
)",
                     directory.string(), PROJECT_ROOT);
}

template <typename Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    ::usleep(1000);
  }
  return true;
}

class PrivateBus {
public:
  PrivateBus() {
    std::string name = (fs::temp_directory_path() / "killswitch-bus-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    directory_ = name;
    REQUIRE(::chmod(name.c_str(), 0755) == 0);
    std::ofstream{directory_ / "bus.conf"} << configuration(directory_);
    ::setenv("DBUS_SYSTEM_BUS_ADDRESS", ("unix:path=" + (directory_ / "bus").string()).c_str(), 1);
    start();
  }
  PrivateBus(const PrivateBus&) = delete;
  PrivateBus& operator=(const PrivateBus&) = delete;
  ~PrivateBus() {
    stop();
    fs::remove_all(directory_);
  }

  void start() {
    const std::string argument = "--config-file=" + (directory_ / "bus.conf").string();
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::execlp("dbus-daemon", "dbus-daemon", argument.c_str(), "--nofork", "--nopidfile", "--nosyslog", nullptr);
      ::_exit(127);
    }
    // The socket appears before it listens; only a connection proves that it does.
    REQUIRE(eventually([] {
      auto loop = os::EventLoop::create();
      return os::Bus::connect_system(*loop, [](const Error&) {}).has_value();
    }));
  }
  void stop() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
      pid_ = -1;
      fs::remove(directory_ / "bus");
    }
  }

private:
  fs::path directory_;
  pid_t pid_{-1};
};

struct Peer {
  os::EventLoop loop = std::move(*os::EventLoop::create());
  std::optional<Error> lost;
  os::Bus bus = connect();

  os::Bus connect() {
    auto connected = os::Bus::connect_system(loop, [this](const Error& error) { lost = error; });
    INFO((connected ? std::string{} : connected.error().message()));
    REQUIRE(connected.has_value());
    return std::move(*connected);
  }

  template <typename Condition>
  bool reached(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      REQUIRE(sd_event_run(loop.native(), std::chrono::microseconds{10ms}.count()) >= 0);
    }
    return true;
  }
};

/// A daemon in a process of its own, as it is in life; stopped with the object.
class Daemon {
public:
  template <typename Main>
  explicit Daemon(Main main) {
    std::array<int, 2> ready{};
    REQUIRE(::pipe(ready.data()) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::close(ready[0]);
      main([&] { ::close(ready[1]); });
      ::_exit(0);
    }
    ::close(ready[1]);
    char byte{};
    REQUIRE(::read(ready[0], &byte, 1) == 0);
    ::close(ready[0]);
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon() { stop(); }
  void stop() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
      pid_ = -1;
    }
  }
  /// Waits for its own end.
  int exit_status() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) == 0 ? info.si_status : -1;
  }

private:
  pid_t pid_{-1};
};

/// killswitchd without a kill switch: answers, and announces a status on `Enable`.
template <typename Ready>
void manager_main(Ready ready, const char* state = "blocked") {
  auto loop = os::EventLoop::create();
  auto bus = os::Bus::connect_system(*loop, [&](const Error&) { loop->stop(); });
  if (!bus) {
    ::_exit(1);
  }
  std::optional<serve::Manager> manager;
  std::vector<os::EventSource> timers;
  serve::Handlers handlers;
  handlers.enable = [&](const serve::EnableCall& call) -> Result<std::string> {
    const auto& settings = call.settings_json;
    if (settings == "bad") {
      return fail("/remotes/0: a port is missing");
    }
    if (settings == "impossible") {
      return fail(EIO, "nft: apply");
    }
    auto timer = loop->after(1ms, [&] {
      if (!manager->announce({"connecting", "laptop", true}, R"({"state":"connecting"})")) {
        ::_exit(1);
      }
    });
    timers.push_back(std::move(*timer));
    return "enabled with " + std::to_string(settings.size()) +
           (call.trial ? fmt::format(" for {} s", call.trial->count()) : "") +
           (call.caller == serve::Caller::root ? "" : " by an administrator");
  };
  handlers.confirm = [] { return Result<std::string>{std::string{"confirmed"}}; };
  handlers.disable = [](const serve::Answer& answer) { answer(std::string{"disabled"}); };
  handlers.status = [] { return Result<std::string>{std::string{R"({"state":"blocked"})"}}; };
  handlers.resync = [] { return Result<std::string>{std::string{R"({"state":"read anew"})"}}; };
  handlers.rules = [] { return Result<std::string>{std::string{"table inet killswitch {}"}}; };
  auto started = serve::Manager::start(*bus, std::move(handlers), {state, "laptop", true});
  if (!started) {
    ::_exit(2);
  }
  manager.emplace(std::move(*started));
  ready();
  static_cast<void>(loop->run().has_value());
}

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

/// Runs `check` as another user. @return its exit status
template <typename Check>
int as_user(uid_t uid, Check check) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(uid) != 0 || ::setuid(uid) != 0) {
      ::_exit(99);
    }
    ::_exit(check());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

os::BusCall property(const std::string& name) {
  return {.destination = serve::bus_name,
          .path = serve::object_path,
          .interface = "org.freedesktop.DBus.Properties",
          .member = "Get",
          .arguments = {os::bus_string(serve::interface_name), os::bus_string(name)},
          .reply_signature = "v"};
}

template <typename T>
bool is(const Result<T>& result, serve::ClientError error) {
  return !result.has_value() && result.error().code == error;
}

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
