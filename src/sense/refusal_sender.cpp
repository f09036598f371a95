// Whose socket it was: the tables of sockets in /proc/net, then the open files of every process.
#include "killswitch/base/text.hpp"
#include "killswitch/sense/refusals.hpp"

#include <fmt/format.h>
#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

namespace killswitch::sense {
namespace {

using model::Family;
using model::Packet;

constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t udp = 17;

/// An address as /proc/net writes it: words of four bytes, each in the order of this machine.
std::string kernel_form(const model::IpAddress& address) {
  std::string text;
  const auto octets = address.octets();
  for (std::size_t word = 0; word < octets.size(); word += 4) {
    for (std::size_t byte = 4; byte-- > 0;) {
      text += fmt::format("{:02X}", octets[word + byte]);
    }
  }
  return text;
}

/// The inode of the socket that has this port; one with the packet's own address before one with any address.
std::string find_inode(const char* table, const Packet& packet) {
  std::ifstream file{table};
  const std::string port = fmt::format("{:04X}", packet.source_port->number);
  const std::string address = kernel_form(packet.source);
  std::string line;
  std::string with_any_address;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream words{line};
    std::array<std::string, 10> column;
    for (auto& word : column) {
      words >> word;
    }
    const auto colon = column[1].find(':');
    if (colon == std::string::npos || column[1].substr(colon + 1) != port || column[9] == "0") {
      continue;
    }
    if (column[1].substr(0, colon) == address) {
      return column[9];
    }
    with_any_address = column[9];
  }
  return with_any_address;
}

/// The first entry of a directory for which `is_it(path)` holds. Processes come and go while one looks: an error ends
/// it.
template <typename Predicate>
std::optional<std::filesystem::path> find_entry(const std::filesystem::path& directory, Predicate is_it) {
  std::error_code error;
  std::filesystem::directory_iterator entry{directory, error};
  for (; !error && entry != std::filesystem::directory_iterator{}; entry.increment(error)) {
    if (is_it(entry->path())) {
      return entry->path();
    }
  }
  return std::nullopt;
}

bool holds(const std::filesystem::path& process, const std::filesystem::path& socket) {
  const auto is_socket = [&socket](const std::filesystem::path& file) {
    std::error_code error;
    return std::filesystem::read_symlink(file, error) == socket;
  };
  return find_entry(process / "fd", is_socket).has_value();
}

}  // namespace

std::optional<Process> find_sender(const Packet& packet) {
  if (!packet.source_port || (packet.protocol != udp && packet.protocol != tcp)) {
    return std::nullopt;
  }
  // A socket of both families stands in the table of IPv6.
  const auto tables = packet.protocol == udp ? std::array{"/proc/net/udp", "/proc/net/udp6"}
                                             : std::array{"/proc/net/tcp", "/proc/net/tcp6"};
  std::string inode;
  for (const char* table : tables) {
    inode = inode.empty() ? find_inode(table, packet) : inode;
  }
  if (inode.empty()) {
    return std::nullopt;
  }
  const std::filesystem::path socket = "socket:[" + inode + "]";
  const auto process = find_entry("/proc", [&socket](const std::filesystem::path& directory) {
    return parse_number(directory.filename().string()) && holds(directory, socket);
  });
  if (!process) {
    return std::nullopt;
  }
  std::string name;
  std::ifstream file{*process / "comm"};
  std::getline(file, name);
  return Process{static_cast<int>(parse_number(process->filename().string()).value_or(0)), name};
}

}  // namespace killswitch::sense
