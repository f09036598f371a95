#include "killswitch/os/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <unistd.h>
#include <array>
#include <csignal>

namespace killswitch::os {
namespace {

/// Attributes and file actions of one posix_spawn.
class SpawnPlan {
public:
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  /// The daemon blocks signals for its event loop; the program must not inherit that.
  void reset_signals() {
    sigset_t set;
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attributes_, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attributes_, &set);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  void redirect(int output) {
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (output >= 0) {
      posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
    } else {
      posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    }
  }
  Result<pid_t> run(Child& child) {
    std::vector<char*> argv;
    argv.reserve(child.arguments.size() + 1);
    for (auto& argument : child.arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    std::string path = "PATH=/usr/bin:/bin";
    std::string locale = "LC_ALL=C.UTF-8";
    std::array<char*, 3> environment{path.data(), locale.data(), nullptr};
    pid_t pid = -1;
    const int error =
        ::posix_spawn(&pid, child.program.c_str(), &actions_, &attributes_, argv.data(), environment.data());
    if (error != 0) {
      return fail(error, fmt::format("start {}", child.program));
    }
    return pid;
  }

private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

}  // namespace

Result<pid_t> start_child(Child child) {
  SpawnPlan plan;
  plan.reset_signals();
  plan.redirect(child.output);
  return plan.run(child);
}

}  // namespace killswitch::os
