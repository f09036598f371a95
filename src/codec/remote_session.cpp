#include "killswitch/codec/remote_session.hpp"

#include "killswitch/base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace killswitch::codec {
namespace {

using namespace model;

/// Words of a line, however many blanks are between them.
std::vector<std::string_view> words_of(std::string_view line) {
  auto words = split(line, ' ');
  std::erase_if(words, [](std::string_view word) { return word.empty(); });
  return words;
}

template <typename Number>
std::optional<Number> read_number(std::string_view text, int base) {
  Number number{};
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number, base);
  return error == std::errc{} && stop == end ? std::optional{number} : std::nullopt;
}

IpAddress without_mapping(const IpAddress& address) {
  constexpr std::array<std::uint8_t, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.family == Family::ipv6 && std::equal(mapped.begin(), mapped.end(), address.bytes.begin())) {
    return make_ip_address(Family::ipv4, std::span{address.bytes}.subspan(mapped.size(), 4));
  }
  return address;
}

/// An address with what stands behind '%' taken off and kept.
std::optional<IpAddress> read_scoped(std::string_view text, std::string& interface) {
  if (const auto percent = text.find('%'); percent != std::string_view::npos) {
    interface = text.substr(percent + 1);
    text = text.substr(0, percent);
  }
  const auto address = parse_ip_address(text);
  return address ? std::optional{without_mapping(*address)} : std::nullopt;
}

std::optional<RemoteSession> read_ssh_connection(std::string_view value) {
  const auto words = words_of(value);
  if (words.size() != 4) {
    return std::nullopt;
  }
  RemoteSession session;
  const auto client = read_scoped(words[0], session.interface);
  const auto client_port = parse_port(words[1]);
  const auto server = read_scoped(words[2], session.interface);
  const auto server_port = parse_port(words[3]);
  if (!client || !client_port || !server || !server_port) {
    return std::nullopt;
  }
  session.client = *client;
  session.client_port = *client_port;
  session.server = *server;
  session.server_port = *server_port;
  return session;
}

/// "0100007F:0016": words of four bytes as this machine has them in memory, then the port as a number.
std::optional<std::pair<IpAddress, Port>> read_table_end(std::string_view text) {
  const auto colon = text.find(':');
  if (colon != 8 && colon != 32) {
    return std::nullopt;
  }
  std::array<std::uint8_t, 16> octets{};
  for (std::size_t at = 0; at < colon; at += 8) {
    const auto word = read_number<std::uint32_t>(text.substr(at, 8), 16);
    if (!word) {
      return std::nullopt;
    }
    std::memcpy(octets.data() + at / 2, &*word, sizeof *word);
  }
  const auto port = read_number<std::uint16_t>(text.substr(colon + 1), 16);
  if (!port) {
    return std::nullopt;
  }
  const auto family = colon == 8 ? Family::ipv4 : Family::ipv6;
  return std::pair{without_mapping(make_ip_address(family, std::span{octets}.first(colon / 2))), Port{*port}};
}

}  // namespace

std::optional<RemoteSession> session_in_environment(std::string_view environment) {
  constexpr std::string_view key = "SSH_CONNECTION=";
  for (const auto entry : split(environment, '\0')) {
    if (entry.starts_with(key)) {
      return read_ssh_connection(entry.substr(key.size()));
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> parent_in_stat(std::string_view stat) {
  // The name of the program stands in brackets and may hold anything, brackets and blanks included.
  const auto bracket = stat.rfind(')');
  if (bracket == std::string_view::npos) {
    return std::nullopt;
  }
  const auto words = words_of(stat.substr(bracket + 1));
  return words.size() > 1 ? parse_number(words[1]) : std::nullopt;
}

std::vector<TcpConnection> connections_in_table(std::string_view table) {
  constexpr std::string_view established = "01";
  std::vector<TcpConnection> connections;
  for (const auto line : split(table, '\n')) {
    const auto words = words_of(line);
    if (words.size() < 10 || words[3] != established) {
      continue;
    }
    const auto local = read_table_end(words[1]);
    const auto remote = read_table_end(words[2]);
    const auto inode = read_number<std::uint64_t>(words[9], 10);
    if (local && remote && inode) {
      connections.push_back({{remote->first, remote->second, local->first, local->second, ""}, *inode});
    }
  }
  return connections;
}

}  // namespace killswitch::codec
