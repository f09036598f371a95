// killswitchd: starts the daemon and runs its loop. Signals end the process and nothing else: the kernel keeps the
// rules.
#include "killswitch/app/daemon.hpp"
#include "killswitch/app/paths.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/log.hpp"
#include "killswitch/os/service_manager.hpp"
#include "killswitch/sense/resolver.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace killswitch;

int fail_to_start(const Error& error) {
  os::log(os::LogLevel::error, "killswitchd cannot run: " + error.message() +
                                   ". What the kernel holds stays in force; way back: `killswitch disable --offline`");
  return 1;
}

/// A daemon that is always there gives back what it does not need: glibc would keep what a burst of events took.
void keep_memory_small() {
  ::mallopt(M_TOP_PAD, 4096);
  ::mallopt(M_TRIM_THRESHOLD, 32768);
  ::mallopt(M_MMAP_THRESHOLD, 65536);
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

/// In a process of its own, started by the daemon: the system's resolver is asked, and its answer thrown away, because
/// the daemon hears it on the wire.
int resolve_aloud(const std::vector<std::string>& names) {
  constexpr unsigned patience = 30;  // seconds; a resolver that is not there takes the C library as long
  ::alarm(patience);
  bool all = true;
  for (const auto& name : names) {
    const auto pinned = sense::resolve({name, model::Port{1194}, model::Protocol::udp, {}}, {});
    all = all && pinned.failure.empty();
  }
  return all ? 0 : 1;
}

constexpr const char* usage =
    "killswitchd keeps this machine's traffic inside its OpenVPN tunnel. It is started by the service manager;\n"
    "`killswitch` is the command to talk to it.\n"
    "Usage: killswitchd [OPTIONS]\n\n"
    "Options:\n"
    "  -h,--help                   Print this help message and exit\n"
    "  --version                   Display program version information and exit\n";

}  // namespace

// Two words do not need CLI11, which would keep half a megabyte resident.
int main(int argc, char** argv) {
  const std::string_view word = argc > 1 ? argv[1] : "";
  if (argc == 2 && (word == "-h" || word == "--help")) {
    fmt::print("{}", usage);
    return 0;
  }
  if (argc == 2 && word == "--version") {
    fmt::print("{}\n", KILLSWITCH_VERSION);
    return 0;
  }
  if (argc > 2 && word == "--resolve") {
    return resolve_aloud({argv + 2, argv + argc});
  }
  if (argc > 1) {
    fmt::print(stderr, "killswitchd: it takes no arguments\n{}", usage);
    return 2;
  }
  if (::geteuid() != 0) {
    fmt::print(stderr, "killswitchd: must run as root (CAP_NET_ADMIN): start it with `systemctl start killswitchd`\n");
    return 4;
  }
  keep_memory_small();
  return run();
}
