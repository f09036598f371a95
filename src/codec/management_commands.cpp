// Commands to OpenVPN's management channel.
// @source OpenVPN doc/management-notes.txt, "Command Parsing"; src/openvpn/manage.c, command_line_add
#include "killswitch/base/text.hpp"
#include "killswitch/codec/management.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

/// What OpenVPN passes on of one argument, in bytes; it cuts the rest without a word.
/// @source OpenVPN src/openvpn/options.h, OPTION_PARM_SIZE
constexpr std::size_t argument_limit = 255;

/// Controls are dropped by OpenVPN's reader, so a value with one would arrive as another value.
bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

Result<Done> check(std::string_view what, std::string_view value) {
  if (has_control(value)) {
    return fail(fmt::format("the {} has a control character, which OpenVPN does not take", what));
  }
  if (value.size() > argument_limit) {
    return fail(fmt::format("the {} is longer than the {} bytes that OpenVPN reads", what, argument_limit));
  }
  return done();
}

void append_quoted(std::string& line, std::string_view text) {
  line += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      line += '\\';
    }
    line += c;
  }
  line += '"';
}

Result<std::string> encode_secret(std::string_view command, std::string_view realm, std::string_view value) {
  if (auto fine = check("realm", realm); !fine) {
    return fail(fine.error());
  }
  if (auto fine = check(command, value); !fine) {
    return fail(fine.error());
  }
  std::string line;
  // No copy of the secret is left behind by growing.
  line.reserve(command.size() + 2 * realm.size() + 2 * value.size() + 8);
  line += command;
  line += ' ';
  append_quoted(line, realm);
  line += ' ';
  append_quoted(line, value);
  line += '\n';
  return line;
}

}  // namespace

std::string encode_hold_release() {
  return "hold release\n";
}

std::string encode_state_on() {
  return "state on\n";
}

std::string encode_state() {
  return "state\n";
}

std::string encode_remote_mod(const model::IpAddress& address, model::Port port) {
  return fmt::format("remote MOD {} {}\n", to_string(address), port.number);
}

std::string encode_remote_accept() {
  return "remote ACCEPT\n";
}

std::string encode_remote_skip() {
  return "remote SKIP\n";
}

std::string encode_restart() {
  return "signal SIGUSR1\n";
}

Result<std::string> encode_username(std::string_view realm, std::string_view value) {
  return encode_secret("username", realm, value);
}

Result<std::string> encode_password(std::string_view realm, std::string_view value) {
  return encode_secret("password", realm, value);
}

Result<std::string> encode_channel_password(std::string_view value) {
  if (auto fine = check("password", value); !fine) {
    return fail(fine.error());
  }
  std::string line;
  line.reserve(value.size() + 64);  // on the heap, so that moving it leaves nothing behind
  line += value;
  line += '\n';
  return line;
}

}  // namespace killswitch::codec
