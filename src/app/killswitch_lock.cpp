// killswitch-lock: runs once, early in a boot, before anything that brings a network up. See app/boot_lock.hpp.
#include "killswitch/app/boot_lock.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/log.hpp"

#include <fmt/format.h>
#include <cstdio>
#include <string_view>

namespace {

using namespace killswitch;

os::LogLevel level_of(app::BootLock::Kind kind) {
  switch (kind) {
    case app::BootLock::Kind::disabled:
    case app::BootLock::Kind::stands:
    case app::BootLock::Kind::locked: return os::LogLevel::info;
    case app::BootLock::Kind::switched_off: return os::LogLevel::warning;
    case app::BootLock::Kind::refuses_all: return os::LogLevel::error;
  }
  return os::LogLevel::info;
}

/// For `status`: this boot was locked before the network.
void note(const app::Paths& paths, const std::string& line) {
  auto noted = os::ensure_directory(paths.runtime_directory, 0755);
  if (noted) {
    noted = os::replace_file(paths.boot_lock_file(), line + "\n", 0644);
  }
  if (!noted) {
    os::log(os::LogLevel::warning, noted.error().message());
  }
}

int lock() {
  const auto paths = app::paths_from_environment();
  const auto lock = app::lock_at_boot(paths, "/proc/cmdline");
  if (!lock) {
    os::log(os::LogLevel::error,
            lock.error().within("NOT locked before the network, killswitchd has to do it").message());
    return 1;
  }
  if (!lock->line.empty()) {
    os::log(level_of(lock->kind), lock->line);
  }
  if (lock->kind == app::BootLock::Kind::locked || lock->kind == app::BootLock::Kind::refuses_all) {
    note(paths, lock->line);
  }
  return 0;
}

constexpr const char* usage =
    "killswitch-lock puts the last enabled kill switch into the kernel. The service manager starts it early in a "
    "boot;\n"
    "`killswitch` is the command for people.\n"
    "Usage: killswitch-lock [OPTIONS]\n\n"
    "Options:\n"
    "  -h,--help                   Print this help message and exit\n"
    "  --version                   Display program version information and exit\n";

}  // namespace

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
  if (argc > 1) {
    fmt::print(stderr, "killswitch-lock: unexpected argument '{}'\n{}", word, usage);
    return 2;
  }
  return lock();
}
