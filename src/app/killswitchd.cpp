// killswitchd: starts the daemon and runs its loop. Signals end the process and nothing else: the kernel keeps the
// rules.
#include "killswitch/app/daemon.hpp"
#include "killswitch/app/paths.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/log.hpp"
#include "killswitch/os/service_manager.hpp"

#include <unistd.h>
#include <CLI/CLI.hpp>
#include <csignal>

namespace {

using namespace killswitch;

int fail_to_start(const Error& error) {
  os::log(os::LogLevel::error, "killswitchd cannot run: " + error.message() +
                                   ". What the kernel holds stays in force; way back: `killswitch disable --offline`");
  return 1;
}

int run() {
  auto loop = os::EventLoop::create();
  if (!loop) {
    return fail_to_start(loop.error());
  }
  std::signal(SIGPIPE, SIG_IGN);
  auto stop = [&loop] { loop->stop(); };
  auto terminate = loop->watch_signal(SIGTERM, stop);
  auto interrupt = loop->watch_signal(SIGINT, stop);
  if (!terminate || !interrupt) {
    return fail_to_start(!terminate ? terminate.error() : interrupt.error());
  }
  auto daemon = app::Daemon::create(*loop, app::paths_from_environment());
  if (!daemon) {
    return fail_to_start(daemon.error());
  }
  for (const auto& outcome : {(*daemon)->start(), loop->enable_watchdog(), os::notify_ready("running")}) {
    if (!outcome) {
      return fail_to_start(outcome.error());
    }
  }
  if (const auto ended = loop->run(); !ended) {
    return fail_to_start(ended.error());
  }
  if (const auto told = os::notify_stopping(); !told) {
    os::log(os::LogLevel::debug, told.error().message());
  }
  os::log(os::LogLevel::info, "killswitchd ends; the rules stay in the kernel");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "killswitchd keeps this machine's traffic inside its OpenVPN tunnel. It is started by the service "
      "manager; `killswitch` is the command to talk to it.",
      "killswitchd"};
  app.set_version_flag("--version", KILLSWITCH_VERSION);
  CLI11_PARSE(app, argc, argv);
  if (::geteuid() != 0) {
    std::cerr << "killswitchd: must run as root (CAP_NET_ADMIN): start it with `systemctl start killswitchd`\n";
    return 4;
  }
  return run();
}
