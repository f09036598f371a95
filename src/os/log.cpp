#include "killswitch/os/log.hpp"

#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>
#include <array>
#include <cstdio>
#include <string>

namespace killswitch::os {
namespace {

struct LevelName {
  int priority;
  const char* prefix;
};

LevelName name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return {LOG_DEBUG, "debug"};
    case LogLevel::info: return {LOG_INFO, "info"};
    case LogLevel::warning: return {LOG_WARNING, "warning"};
    case LogLevel::error: return {LOG_ERR, "error"};
  }
  return {LOG_INFO, "info"};
}

/// Whether standard error is the journal's own stream; systemd says so in the environment.
/// @source sd_journal_stream_fd(3), $JOURNAL_STREAM
bool stderr_is_journal() {
  struct stat info {};
  const char* stream = ::secure_getenv("JOURNAL_STREAM");
  if (stream == nullptr || ::fstat(STDERR_FILENO, &info) != 0) {
    return false;
  }
  return std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino) == stream;
}

}  // namespace

void log(LogLevel level, std::string_view line) {
  static const bool to_journal = stderr_is_journal();
  const auto name = name_of(level);
  if (to_journal && sd_journal_send("PRIORITY=%i", name.priority, "MESSAGE=%.*s", static_cast<int>(line.size()),
                                    line.data(), nullptr) >= 0) {
    return;
  }
  const std::string text = std::string{name.prefix} + ": " + std::string{line} + "\n";
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) {
    return;  // nowhere left to say it
  }
}

}  // namespace killswitch::os
