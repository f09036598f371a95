// Which file a trusted program's path leads to, and who could put another one there.
#include "killswitch/base/text.hpp"
#include "killswitch/os/fd.hpp"
#include "killswitch/sense/processes.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <system_error>

namespace killswitch::sense {
namespace {

using model::ProgramFile;

constexpr int most_links = 40;  // @source path_resolution(7), MAXSYMLINKS

/// Why an unprivileged user can put another file there; empty: none can.
std::string change_by_others(const std::string& path, const struct stat& info) {
  if (info.st_uid != 0) {
    return fmt::format("{} belongs to uid {}", path, info.st_uid);
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fmt::format("{} can be written by others than root (mode {:04o})", path, info.st_mode & 07777U);
  }
  return {};
}

void put_in_front(std::deque<std::string>& parts, const std::string& path) {
  std::vector<std::string> all;
  for (const auto part : split(path, '/')) {
    if (!part.empty() && part != ".") {
      all.emplace_back(part);
    }
  }
  parts.insert(parts.begin(), all.begin(), all.end());
}

std::string target_of(const std::string& path) {
  std::array<char, PATH_MAX> text{};
  const auto length = ::readlink(path.c_str(), text.data(), text.size());
  return length > 0 ? std::string{text.data(), static_cast<std::size_t>(length)} : std::string{};
}

/// Follows a path part by part, as the kernel does.
class PathWalk {
public:
  explicit PathWalk(const std::string& path) { put_in_front(parts_, path); }

  /// @return why the path cannot be trusted; empty: it leads to `path()`, which is `info()`
  std::string follow() {
    std::string problem = look_at("/");
    while (problem.empty() && !parts_.empty()) {
      const auto part = std::move(parts_.front());
      parts_.pop_front();
      problem = part == ".." ? step_back() : step_to(part);
    }
    return problem;
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const struct stat& info() const { return info_; }

private:
  std::string look_at(const std::string& path) {
    if (::lstat(path.c_str(), &info_) != 0) {
      return fmt::format("{}: {}", path, std::generic_category().message(errno));
    }
    path_ = path;
    return S_ISLNK(info_.st_mode) ? std::string{} : change_by_others(path, info_);
  }

  std::string step_back() {
    const auto slash = path_.rfind('/');
    return look_at(slash == 0 ? "/" : path_.substr(0, slash));
  }

  std::string step_to(const std::string& part) {
    const std::string folder = path_;
    if (auto problem = look_at(folder == "/" ? "/" + part : folder + "/" + part); !problem.empty()) {
      return problem;
    }
    if (!S_ISLNK(info_.st_mode)) {
      return {};
    }
    // Only root can have put a link into a folder of its own.
    const auto target = target_of(path_);
    if (++links_ > most_links || target.empty()) {
      return path_ + ": too many symbolic links";
    }
    put_in_front(parts_, target);
    return look_at(target.starts_with('/') ? "/" : folder);
  }

  std::deque<std::string> parts_;
  std::string path_;
  struct stat info_ {};
  int links_{0};
};

bool is_script(const std::string& path) {
  const os::Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  std::array<char, 2> begin{};
  return file && ::read(file.get(), begin.data(), begin.size()) == 2 && begin == std::array{'#', '!'};
}

/// Local users alone: a service of user names may be slow, or somebody else's.
std::map<std::string, std::uint32_t> read_users() {
  std::map<std::string, std::uint32_t> users;
  const std::unique_ptr<FILE, int (*)(FILE*)> file{std::fopen("/etc/passwd", "re"), std::fclose};
  while (file) {
    const passwd* entry = ::fgetpwent(file.get());
    if (entry == nullptr) {
      break;
    }
    users.emplace(entry->pw_name, entry->pw_uid);
  }
  return users;
}

ProgramFile inspect(const model::TransportProgram& program, const std::map<std::string, std::uint32_t>& users) {
  ProgramFile found{program, {}, {}, {}};
  if (const auto user = users.find(program.user); user != users.end()) {
    found.uid = user->second;
  }
  struct stat info {};
  if (::stat(program.path.c_str(), &info) != 0) {
    found.untrusted = fmt::format("{}: {}", program.path, std::generic_category().message(errno));
    return found;
  }
  found.file = {info.st_dev, info.st_ino};
  PathWalk walk{program.path};
  found.untrusted = walk.follow();
  if (!found.untrusted.empty()) {
    return found;
  }
  if (!S_ISREG(walk.info().st_mode) || (walk.info().st_mode & S_IXUSR) == 0) {
    found.untrusted = walk.path() + " is not a program";
  } else if (is_script(walk.path())) {
    found.untrusted = walk.path() + " is a script: the process would be its interpreter's";
  }
  found.file = {walk.info().st_dev, walk.info().st_ino};
  return found;
}

}  // namespace

std::vector<ProgramFile> inspect_programs(const std::vector<model::TransportProgram>& programs) {
  const auto users = read_users();
  std::vector<ProgramFile> files;
  files.reserve(programs.size());
  for (const auto& program : programs) {
    files.push_back(inspect(program, users));
  }
  return files;
}

}  // namespace killswitch::sense
