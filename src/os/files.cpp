#include "killswitch/os/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>

namespace killswitch::os {
namespace {

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) {
    return ".";
  }
  return slash == 0 ? "/" : path.substr(0, slash);
}

Outcome write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const auto written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      return fail(errno, fmt::format("write {}", path));
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return done();
}

Outcome sync_directory(const std::string& path) {
  const Fd directory{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!directory || ::fsync(directory.get()) != 0) {
    return fail(errno, fmt::format("sync the directory {}", path));
  }
  return done();
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  // O_NONBLOCK: a FIFO in the place of a file must not stop us.
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) {
    return fail(errno, fmt::format("read {}", path));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) {
    return fail(errno, fmt::format("read {}", path));
  }
  if (!S_ISREG(info.st_mode)) {
    return fail(fmt::format("read {}: not a regular file", path));
  }
  std::string content;
  std::string chunk(16384, '\0');
  for (;;) {
    const auto got = ::read(fd.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return fail(errno, fmt::format("read {}", path));
    }
    if (got == 0) {
      return content;
    }
    content.append(chunk, 0, static_cast<std::size_t>(got));
    if (content.size() > limit) {
      return fail(fmt::format("read {}: larger than {} bytes", path, limit));
    }
  }
}

Outcome replace_file(const std::string& path, std::string_view content, mode_t mode, Durability durability) {
  std::string temporary = path + ".XXXXXX";
  const Fd fd{::mkostemp(temporary.data(), O_CLOEXEC)};
  if (!fd) {
    return fail(errno, fmt::format("write beside {}", path));
  }
  Outcome outcome = write_all(fd.get(), content, temporary);
  const bool synced = durability == Durability::synced;
  if (outcome && (::fchmod(fd.get(), mode) != 0 || (synced && ::fsync(fd.get()) != 0))) {
    outcome = fail(errno, fmt::format("sync {}", temporary));
  }
  if (outcome && ::rename(temporary.c_str(), path.c_str()) != 0) {
    outcome = fail(errno, fmt::format("replace {}", path));
  }
  if (!outcome) {
    ::unlink(temporary.c_str());
    return outcome;
  }
  return synced ? sync_directory(directory_of(path)) : done();
}

Outcome ensure_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    return done();
  }
  const int error = errno;
  struct stat info {};
  if (error == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return done();
  }
  return fail(error, fmt::format("create the directory {}", path));
}

Result<std::optional<Fd>> try_lock(const std::string& path) {
  Fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd) {
    return fail(errno, fmt::format("open the lock {}", path));
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
    return std::optional<Fd>{std::move(fd)};
  }
  if (errno == EWOULDBLOCK) {
    return std::optional<Fd>{};
  }
  return fail(errno, fmt::format("lock {}", path));
}

}  // namespace killswitch::os
