// A private bus that the test starts and stops, with the policy that is installed, and who talks over it. Nothing here
// touches the machine's own bus.
#pragma once

#include "killswitch/os/bus.hpp"
#include "killswitch/serve/manager.hpp"

#include "support/catch.hpp"

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

namespace killswitch::testing {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// Policy of the system bus ("nobody owns anything") with our file included.
inline std::string configuration(const fs::path& directory) {
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

inline os::BusCall property(const std::string& name) {
  return {.destination = serve::bus_name,
          .path = serve::object_path,
          .interface = "org.freedesktop.DBus.Properties",
          .member = "Get",
          .arguments = {os::bus_string(serve::interface_name), os::bus_string(name)},
          .reply_signature = "v"};
}

}  // namespace killswitch::testing
