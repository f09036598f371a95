#include "killswitch/os/process.hpp"

#include "killswitch/os/files.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <memory>
#include <string_view>

namespace killswitch::os {
namespace {

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number number{};
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stop == end ? std::optional{number} : std::nullopt;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<Fd> open_process(std::uint32_t pid) {
  Fd process{static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0))};
  if (!process) {
    return fail(errno, fmt::format("open a handle of process {}", pid));
  }
  return process;
}

bool has_ended(const Fd& process) {
  pollfd waiting{process.get(), POLLIN, 0};
  return ::poll(&waiting, 1, 0) != 0;
}

std::optional<std::uint32_t> pid_of(int pidfd) {
  const auto info = read_file(fmt::format("/proc/self/fdinfo/{}", pidfd));
  constexpr std::string_view key = "\nPid:\t";
  const auto at = info ? info->find(key) : std::string::npos;
  if (at == std::string::npos) {
    return std::nullopt;
  }
  const auto begin = at + key.size();
  return number_of<std::uint32_t>(std::string_view{*info}.substr(begin, info->find('\n', begin) - begin));
}

Result<Fd> duplicate_of(const Fd& process, int number) {
  Fd duplicate{static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0))};
  if (!duplicate) {
    return fail(errno, fmt::format("duplicate descriptor {} of another process", number));
  }
  return duplicate;
}

std::optional<struct stat> stat_of_process(std::uint32_t pid, const char* entry) {
  struct stat info {};
  const auto path = fmt::format("/proc/{}/{}", pid, entry);
  return ::stat(path.c_str(), &info) == 0 ? std::optional{info} : std::nullopt;
}

std::string link_of_process(std::uint32_t pid, const char* entry) {
  std::array<char, PATH_MAX> text{};
  const auto path = fmt::format("/proc/{}/{}", pid, entry);
  const auto length = ::readlink(path.c_str(), text.data(), text.size());
  return length > 0 ? std::string{text.data(), static_cast<std::size_t>(length)} : std::string{};
}

bool any_number_in(const std::string& directory, const std::function<bool(int)>& visit) {
  const std::unique_ptr<DIR, CloseDirectory> entries{::opendir(directory.c_str())};
  while (entries) {
    const dirent* entry = ::readdir(entries.get());
    if (entry == nullptr) {
      break;
    }
    const auto number = number_of<int>(entry->d_name);
    if (number && visit(*number)) {
      return true;
    }
  }
  return false;
}

}  // namespace killswitch::os
