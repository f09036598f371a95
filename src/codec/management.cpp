#include "killswitch/codec/management.hpp"

#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <cstring>
#include <utility>

namespace killswitch::codec {
namespace {

using namespace model;
using namespace model::management;

constexpr std::string_view prompt = "ENTER PASSWORD:";
constexpr std::size_t text_limit = 500;  ///< of a text of OpenVPN that is kept for people, in bytes

/// The rest of `text` behind `prefix`.
std::optional<std::string_view> after(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) {
    return std::nullopt;
  }
  return text.substr(prefix.size());
}

bool is_host(std::string_view text) {
  const auto visible = [](char c) { return c > ' ' && c < '\x7f'; };
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), visible);
}

bool is_state_name(std::string_view text) {
  const auto fits = [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; };
  return !text.empty() && text.size() <= 32 && std::all_of(text.begin(), text.end(), fits);
}

/// The time of a state: seconds since 1970, as many digits as they may need.
bool is_time(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return !text.empty() && text.size() <= 20 && std::all_of(text.begin(), text.end(), digit);
}

/// Without what OpenVPN repeats of a command that it could not parse: that may be a password.
/// "Options error: Parameter at TCP:0 is too long (256 chars max): …" (2.6.14)
std::string_view without_echo(std::string_view text) {
  constexpr std::string_view marker = "chars max)";
  const auto at = text.find(marker);
  return at == std::string_view::npos ? text : text.substr(0, at + marker.size());
}

/// Parses a field that may be empty; a bad one is skipped and reported.
std::optional<IpAddress> optional_address(std::string_view text, std::vector<std::string>& problems) {
  if (text.empty()) {
    return std::nullopt;
  }
  auto address = parse_ip_address(text);
  if (!address) {
    problems.push_back("the state's address " + address.error().message());
    return std::nullopt;
  }
  return without_mapping(*address);
}

}  // namespace

std::vector<Message> ManagementDecoder::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    const bool complete = end != std::string_view::npos;
    take_piece(bytes.substr(0, end), complete);
    bytes.remove_prefix(complete ? end + 1 : bytes.size());
  }
  return std::exchange(messages_, {});
}

void ManagementDecoder::emit(Message message) {
  nonsense_ = false;
  messages_.push_back(std::move(message));
}

/// One message for a whole run of bad lines: a peer that sends nothing else must not fill memory or the journal.
void ManagementDecoder::report(std::string reason) {
  if (!nonsense_) {
    messages_.emplace_back(Malformed{std::move(reason)});
  }
  nonsense_ = true;
}

void ManagementDecoder::complain(const std::vector<std::string>& problems) {
  constexpr std::size_t shown = 5;
  if (problems.empty()) {
    return;
  }
  std::string text = problems.front();
  for (std::size_t i = 1; i < std::min(problems.size(), shown); ++i) {
    text += "; " + problems[i];
  }
  if (problems.size() > shown) {
    text += fmt::format("; and {} more", problems.size() - shown);
  }
  emit(Malformed{std::move(text)});
}

/// The prompt comes without a newline, so it may arrive in parts with nothing behind it.
/// @return true when `line_` and the front of `piece` were one; what is left of `piece` starts a line.
bool ManagementDecoder::take_split_prompt(std::string_view& piece) {
  if (line_.size() >= prompt.size()) {
    return false;
  }
  const auto missing = prompt.size() - line_.size();
  if (!prompt.starts_with(line_) || !piece.starts_with(prompt.substr(line_.size(), missing))) {
    return false;
  }
  line_.clear();
  piece.remove_prefix(missing);
  emit(ChannelPasswordNeeded{});
  return true;
}

/// @param piece bytes without a newline; @param complete whether one follows
void ManagementDecoder::take_piece(std::string_view piece, bool complete) {
  if (skipping_) {
    skipping_ = !complete;
    return;
  }
  while (take_split_prompt(piece)) {
  }
  if (line_.size() + piece.size() > line_limit) {
    line_.clear();
    skipping_ = !complete;
    report(fmt::format("a line longer than {} bytes", line_limit));
    return;
  }
  if (complete && line_.empty()) {
    take_line(piece);
    return;
  }
  line_ += piece;
  if (complete) {
    take_line(line_);
    ::explicit_bzero(line_.data(), line_.size());  // it may have held a session token
    line_.clear();
  }
}

void ManagementDecoder::take_line(std::string_view line) {
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  if (const auto entry = after(line, ">UPDOWN:")) {
    take_updown(*entry);
  } else if (const auto state = after(line, ">STATE:")) {
    take_state(*state);
  } else if (const auto remote = after(line, ">REMOTE:")) {
    take_remote(*remote);
  } else if (after(line, ">HOLD:")) {
    emit(Hold{});
  } else if (const auto password = after(line, ">PASSWORD:")) {
    take_password(*password);
  } else if (const auto fatal = after(line, ">FATAL:")) {
    emit(Fatal{printable(*fatal, text_limit)});
  } else if (const auto refused = after(line, "ERROR:")) {
    emit(CommandRefused{printable(without_echo(trim(*refused)), text_limit)});
  } else if (line.starts_with('>') || line.starts_with("SUCCESS:") || line == "END" || line.empty()) {
    nonsense_ = false;  // notifications and answers that do not matter here
  } else if (line.front() >= '0' && line.front() <= '9') {
    take_state(line);  // a line of the answer to `state`
  } else {
    report(fmt::format("unknown line '{}'", printable(line, 80)));
  }
}

/// HOST,PORT,PROTOCOL
void ManagementDecoder::take_remote(std::string_view text) {
  const auto fields = split(text, ',');
  const auto transport = fields.size() == 3 ? parse_openvpn_protocol(fields[2]) : std::nullopt;
  asked_.reset();
  if (!transport || !is_host(fields[0])) {
    report(fmt::format(">REMOTE:{}: expected HOST,PORT,PROTOCOL", printable(text)));
    return;
  }
  const auto port = parse_port(fields[1]);
  if (!port) {
    report(fmt::format(">REMOTE:{}: {}", printable(text), port.error().message()));
    return;
  }
  asked_ = RemoteQuery{std::string{fields[0]}, *port, transport->protocol, transport->family};
  emit(*asked_);
}

/// TIME,NAME,DETAIL,LOCAL4,SERVER,SERVER PORT,OWN ADDRESS,OWN PORT,LOCAL6; later versions may add fields.
void ManagementDecoder::take_state(std::string_view text) {
  auto fields = split(text, ',');
  if (fields.size() < 2 || !is_time(fields[0]) || !is_state_name(fields[1])) {
    report(fmt::format("state '{}': expected TIME,NAME,…", printable(text)));
    return;
  }
  fields.resize(std::max<std::size_t>(fields.size(), 9));
  std::vector<std::string> problems;
  State state{std::string{fields[1]}, printable(fields[2]), {}, {}, {}};
  for (const auto field : {fields[3], fields[8]}) {
    if (const auto address = optional_address(field, problems)) {
      state.tunnel_addresses.push_back(*address);
    }
  }
  state.server_address = optional_address(fields[4], problems);
  if (!fields[5].empty()) {
    if (const auto port = parse_port(fields[5])) {
      state.server_port = *port;
    } else {
      problems.push_back("the state's port " + port.error().message());
    }
  }
  complain(problems);
  emit(std::move(state));
}

/// "Need 'Auth' username/password", "Need 'Private Key' password", "Verification Failed: 'Auth' ['CRV1:…']",
/// "Auth-Token:…" (a secret: not looked at). Challenges are named, their text is not kept.
void ManagementDecoder::take_password(std::string_view text) {
  if (text.starts_with("Auth-Token:")) {
    nonsense_ = false;
    return;
  }
  const auto need = after(text, "Need '");
  const auto failed = after(text, "Verification Failed: '");
  const auto quoted = need ? need : failed;
  const auto end = quoted ? quoted->find('\'') : std::string_view::npos;
  if (failed.has_value() && failed->starts_with("CRV1:")) {
    dynamic_challenge_ = true;  // some versions leave out the realm
    emit(PasswordRefused{"Auth"});
  } else if (end == std::string_view::npos && text.starts_with("Verification Failed: ['CRV1:")) {
    dynamic_challenge_ = true;
    emit(PasswordRefused{"Auth"});
  } else if (end == std::string_view::npos || end == 0) {
    report(">PASSWORD: neither a question nor a refusal that is known");
  } else if (failed) {
    const auto rest = trim(failed->substr(end + 1));
    dynamic_challenge_ = rest.starts_with("['CRV1:");
    emit(PasswordRefused{printable(failed->substr(0, end))});
  } else {
    const auto realm = need->substr(0, end);
    const auto kind = trim(need->substr(end + 1));
    const bool username = kind.starts_with("username/password");
    if (!username && !kind.starts_with("password")) {
      report(fmt::format(">PASSWORD:Need '{}': expected 'username/password' or 'password'", printable(realm)));
      return;
    }
    const bool dynamic = realm == "Auth" && std::exchange(dynamic_challenge_, false);
    emit(PasswordNeeded{printable(realm), username, dynamic || kind.find(" SC:") != std::string_view::npos});
  }
}

void ManagementDecoder::take_updown(std::string_view text) {
  if (text == "ENV,END") {
    if (block_) {
      finish_block();
    } else {
      report(">UPDOWN:ENV without >UPDOWN:UP or DOWN before it");
    }
  } else if (const auto entry = after(text, "ENV,")) {
    take_entry(*entry);
  } else if (text == "UP" || text == "DOWN") {
    if (block_) {
      report(">UPDOWN: the last environment did not end");
    }
    block_ = Block{text == "UP", false, {}, 0};
  } else {
    report(fmt::format(">UPDOWN:{}: expected UP, DOWN or ENV", printable(text, 80)));
  }
}

void ManagementDecoder::take_entry(std::string_view entry) {
  if (!block_) {
    report(">UPDOWN:ENV without >UPDOWN:UP or DOWN before it");
    return;
  }
  nonsense_ = false;
  const auto equals = entry.find('=');
  const auto name = entry.substr(0, equals);
  if (block_->dropped || equals == std::string_view::npos || !is_tunnel_variable(name)) {
    return;
  }
  if (block_->entries.size() >= block_entry_limit || block_->bytes + entry.size() > block_byte_limit) {
    block_->dropped = true;
    report(fmt::format(">UPDOWN: an environment of more than {} entries or {} bytes", block_entry_limit,
                       block_byte_limit));
    return;
  }
  // A variable that comes twice: what it says is not clear, and the block is not believed.
  const auto [at, fresh] = block_->entries.emplace(name, entry.substr(equals + 1));
  if (!fresh && at->second != entry.substr(equals + 1)) {
    block_->dropped = true;
    report(fmt::format(">UPDOWN: two values for '{}'", printable(name, 80)));
    return;
  }
  block_->bytes += fresh ? entry.size() : 0;
}

/// The end of a tunnel is reported whatever else the block holds; the start only if all of it is understood.
void ManagementDecoder::finish_block() {
  const Block block = std::move(*block_);
  block_.reset();
  nonsense_ = false;
  if (!block.up) {
    // After a reconnect that preserved the device OpenVPN leaves `dev` out (2.6.14): it is the one of the last UP.
    const auto device = block.entries.find("dev");
    const bool named = device != block.entries.end() && is_device_name(device->second);
    emit(TunnelDown{named ? device->second : device_});
    device_.clear();
    return;
  }
  if (block.dropped) {
    return;
  }
  auto decoded = decode_tunnel_environment(block.entries, asked_);
  if (!decoded) {
    emit(Malformed{">UPDOWN:UP: " + decoded.error().message()});
    return;
  }
  complain(decoded->problems);
  device_ = decoded->report.interface;
  emit(TunnelUp{std::move(decoded->report)});
}

}  // namespace killswitch::codec
