#include "killswitch/os/snapshot.hpp"

#include "killswitch/os/fd.hpp"
#include "killswitch/os/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>

namespace killswitch::os {
namespace {

Result<std::string> read_link(const std::string& path) {
  std::array<char, PATH_MAX> buffer{};
  const auto length = ::readlink(path.c_str(), buffer.data(), buffer.size());
  if (length < 0) {
    return fail(errno, fmt::format("read the link {}", path));
  }
  return std::string{buffer.data(), static_cast<std::size_t>(length)};
}

std::string real_path_of(const std::string& path) {
  std::array<char, PATH_MAX> buffer{};
  return ::realpath(path.c_str(), buffer.data()) != nullptr ? std::string{buffer.data()} : std::string{};
}

void read_attributes(const std::string& path, Snapshot& snapshot) {
  struct statx extended {};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_BASIC_STATS, &extended) == 0) {
    snapshot.mount_point = (extended.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    snapshot.immutable = (extended.stx_attributes & STATX_ATTR_IMMUTABLE) != 0;
  }
}

}  // namespace

Result<Snapshot> take_snapshot(const std::string& path, std::size_t limit) {
  Snapshot snapshot;
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Result<Snapshot>{std::move(snapshot)} : fail(errno, fmt::format("look at {}", path));
  }
  snapshot.kind = S_ISREG(info.st_mode)   ? Snapshot::Kind::regular
                  : S_ISLNK(info.st_mode) ? Snapshot::Kind::symlink
                                          : Snapshot::Kind::other;
  if (snapshot.kind == Snapshot::Kind::symlink) {
    auto target = read_link(path);
    if (!target) {
      return fail(target.error());
    }
    snapshot.target = *std::move(target);
  }
  snapshot.real_path = real_path_of(path);
  if (snapshot.real_path.empty() || ::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return snapshot;
  }
  snapshot.mode = info.st_mode & 07777U;
  snapshot.user = info.st_uid;
  snapshot.group = info.st_gid;
  read_attributes(path, snapshot);
  auto content = read_file(path, limit);
  if (!content) {
    return fail(content.error());
  }
  snapshot.content = *std::move(content);
  return snapshot;
}

Outcome write_in_place(const std::string& path, std::string_view content) {
  const Fd fd{::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) {
    return fail(errno, fmt::format("write {}", path));
  }
  // Written first and cut afterwards: a reader never finds it empty.
  std::size_t written = 0;
  while (written < content.size()) {
    const auto got =
        ::pwrite(fd.get(), content.data() + written, content.size() - written, static_cast<off_t>(written));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return fail(errno, fmt::format("write {}", path));
    }
    written += static_cast<std::size_t>(got);
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(content.size())) != 0) {
    return fail(errno, fmt::format("cut {}", path));
  }
  return done();
}

Outcome replace_with_link(const std::string& path, const std::string& target) {
  const auto temporary = path + ".killswitch-link";
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) {
    return fail(errno, fmt::format("make the link {}", temporary));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    return fail(error, fmt::format("replace {}", path));
  }
  return done();
}

Outcome remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(errno, fmt::format("remove {}", path));
  }
  return done();
}

Outcome change_owner(const std::string& path, uid_t user, gid_t group) {
  if (::lchown(path.c_str(), user, group) != 0) {
    return fail(errno, fmt::format("give {} back to its owner", path));
  }
  return done();
}

}  // namespace killswitch::os
