#include "killswitch/sense/openvpn.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/log.hpp"
#include "openvpn_socket.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace killswitch::sense {
namespace {

using namespace model;
using namespace model::management;

constexpr std::string_view listener_name = "mgmt-listen";

void wipe(std::string& text) {
  ::explicit_bzero(text.data(), text.size());
  text.clear();
}

/// The number of "mgmt-3-in".
std::optional<ConnectionId> parse_descriptor_name(std::string_view name) {
  constexpr std::string_view prefix = "mgmt-";
  constexpr std::string_view suffix = "-in";
  if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() <= prefix.size() + suffix.size()) {
    return std::nullopt;
  }
  const auto number =
      parse_number(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()), UINT32_MAX - 1);
  return number ? std::optional{ConnectionId{*number}} : std::nullopt;
}

}  // namespace

OpenVpnSensor::OpenVpnSensor(os::EventLoop& loop, Report report) : loop_{loop}, report_{std::move(report)} {}

// ---- OpenVPN comes to us ----

Outcome OpenVpnSensor::listen(const std::string& path) {
  if (listener_ && listens_at(listener_.get(), path)) {
    return done();
  }
  listener_source_ = {};
  listener_ = {};
  auto fd = open_unix_listener(path);
  if (!fd) {
    return fail(fd.error().within("management socket"));
  }
  listener_ = std::move(*fd);
  return watch_listener();
}

Outcome OpenVpnSensor::watch_listener() {
  auto source = loop_.watch_fd(listener_.get(), EPOLLIN, [this](std::uint32_t) { on_incoming(); });
  if (!source) {
    return fail(source.error());
  }
  listener_source_ = std::move(*source);
  return done();
}

void OpenVpnSensor::on_incoming() {
  for (std::size_t i = 0; i < connection_limit && accept_one(); ++i) {
  }
}

/// @return false when nobody waits any more.
bool OpenVpnSensor::accept_one() {
  os::Fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!fd) {
    const int error = errno;
    if (error != EAGAIN && error != EINTR && error != ECONNABORTED) {
      pause_listening(error);
    }
    return error == EINTR || error == ECONNABORTED;
  }
  if (const auto trusted = check_unix_peer(fd.get()); !trusted) {
    os::log(os::LogLevel::warning, "management socket: refused: " + trusted.error().message());
  } else if (connections_.size() >= connection_limit) {
    os::log(os::LogLevel::warning,
            fmt::format("management socket: refused: there are {} connections already", connections_.size()));
  } else {
    open(Direction::openvpn_connected, std::move(fd), std::nullopt);
  }
  return true;
}

/// Without descriptors or memory the socket stays readable; asking it again at once would only burn the processor.
void OpenVpnSensor::pause_listening(int errno_value) {
  os::log(os::LogLevel::warning, fail(errno_value, "management socket: accept").error.message());
  listener_source_ = {};
  auto timer = loop_.after(std::chrono::seconds{1}, [this] {
    if (const auto watched = watch_listener(); !watched) {
      os::log(os::LogLevel::error, "management socket: " + watched.error().message());
    }
  });
  if (timer) {
    listener_pause_ = std::move(*timer);
  }
}

Outcome OpenVpnSensor::adopt(std::string_view name, os::Fd fd) {
  const auto what = fmt::format("adopt '{}'", printable(name, 60));
  if (const auto ready = prepare(fd.get()); !ready) {
    return fail(ready.error().within(what));
  }
  if (name == listener_name) {
    if (!is_unix_listener(fd.get())) {
      return fail(what + ": not a listening unix socket");
    }
    listener_source_ = {};
    listener_ = std::move(fd);
    return watch_listener();
  }
  const auto id = parse_descriptor_name(name);
  if (!id || connections_.contains(*id)) {
    return fail(what + ": not a name of ours");
  }
  if (const auto trusted = check_unix_peer(fd.get()); !trusted) {
    return fail(trusted.error().within(what));
  }
  if (is_unix_listener(fd.get())) {
    return fail(what + ": not a connection");
  }
  open(Direction::openvpn_connected, std::move(fd), id);
  return done();
}

std::string OpenVpnSensor::descriptor_name(ConnectionId connection) {
  return fmt::format("mgmt-{}-in", connection.number);
}

std::vector<std::pair<std::string, int>> OpenVpnSensor::descriptors() const {
  std::vector<std::pair<std::string, int>> named;
  if (listener_) {
    named.emplace_back(listener_name, listener_.get());
  }
  for (const auto& [id, connection] : connections_) {
    if (connection.direction == Direction::openvpn_connected) {
      named.emplace_back(descriptor_name(id), connection.fd.get());
    }
  }
  return named;
}

// ---- a connection, whoever opened it ----

void OpenVpnSensor::open(Direction direction, os::Fd fd, std::optional<ConnectionId> id) {
  const ConnectionId name = id.value_or(ConnectionId{last_id_ + 1});
  last_id_ = std::max(last_id_, name.number);
  connections_.emplace(name, Connection{direction, std::move(fd), {}, {}, 0, {}});
  watch(name);
  report_(ManagementOpened{name, direction, false, unix_peer_pid(connections_.at(name).fd.get())});
}

/// Watches for what is wanted now: input always, room for output while some waits.
void OpenVpnSensor::watch(ConnectionId id) {
  auto& connection = connections_.at(id);
  const std::uint32_t wanted = connection.output.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
  if (connection.interest == wanted) {
    return;
  }
  connection.source = {};  // epoll takes a descriptor once
  connection.interest = 0;
  auto source = loop_.watch_fd(connection.fd.get(), wanted, [this, id](std::uint32_t events) { on_ready(id, events); });
  if (!source) {
    os::log(os::LogLevel::error, "management connection: " + source.error().message());
    return;
  }
  connection.source = std::move(*source);
  connection.interest = wanted;
}

void OpenVpnSensor::on_ready(ConnectionId id, std::uint32_t epoll_events) {
  if ((epoll_events & EPOLLOUT) != 0) {
    flush(id);
  }
  if ((epoll_events & ~std::uint32_t{EPOLLOUT}) != 0) {
    read_from(id);
  }
}

void OpenVpnSensor::read_from(ConnectionId id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return;
  }
  std::array<char, read_limit> bytes;
  const auto got = ::recv(found->second.fd.get(), bytes.data(), bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (got <= 0) {
    close(id, got == 0 ? "OpenVPN closed it" : fail(errno, "read").error.message());
    return;
  }
  const auto size = static_cast<std::size_t>(got);
  auto messages = found->second.decoder.feed({bytes.data(), size});
  ::explicit_bzero(bytes.data(), size);  // there may be a session token in it
  for (auto& message : messages) {
    if (!connections_.contains(id)) {
      return;  // what was reported made somebody close it
    }
    if (outgoing_ == id && !std::holds_alternative<ChannelPasswordNeeded>(message)) {
      retry_delay_ = first_retry;  // OpenVPN talks to us, it does not only refuse our password: next time may be soon
    }
    report_(ManagementReceived{id, std::move(message)});
  }
}

Outcome OpenVpnSensor::send(ConnectionId id, std::string line) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    wipe(line);
    return fail("management connection: it is closed");
  }
  auto& output = found->second.output;
  if (output.size() + line.size() > output_limit) {
    wipe(line);
    close(id, "OpenVPN does not read what it is sent");
    return fail("management connection: OpenVPN does not read what it is sent");
  }
  const bool waits = !output.empty();
  output.reserve(output_limit);  // never moved, so that no copy of a secret stays behind
  output += line;
  wipe(line);
  if (!waits) {
    flush(id);
  }
  return connections_.contains(id) ? Outcome{done()} : Outcome{fail("management connection: it closed")};
}

void OpenVpnSensor::flush(ConnectionId id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return;
  }
  auto& output = found->second.output;
  const auto sent = ::send(found->second.fd.get(), output.data(), output.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    close(id, fail(errno, "write").error.message());
    return;
  }
  const auto rest = output.size() - static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
  std::memmove(output.data(), output.data() + (output.size() - rest), rest);
  ::explicit_bzero(output.data() + rest, output.size() - rest);
  output.resize(rest);
  watch(id);
}

/// Ends a connection for everybody who holds it, the service manager too.
void OpenVpnSensor::close(ConnectionId id, const std::string& reason) {
  auto node = connections_.extract(id);
  if (node.empty()) {
    return;
  }
  ::shutdown(node.mapped().fd.get(), SHUT_RDWR);
  wipe(node.mapped().output);
  if (outgoing_ == id) {
    outgoing_.reset();
    retry_later("");
  }
  report_(ManagementClosed{id, reason});
}

// ---- we go to OpenVPN ----

void OpenVpnSensor::connect_to(std::optional<ManagementAddress> address) {
  if (address == target_) {
    return;
  }
  target_ = std::move(address);
  retry_timer_ = {};
  attempt_source_ = {};
  attempt_fd_ = {};
  retry_delay_ = first_retry;
  last_failure_.clear();
  if (const auto old = std::exchange(outgoing_, std::nullopt)) {
    close(*old, "another management address was set");
  }
  if (target_) {
    attempt();
  }
}

void OpenVpnSensor::attempt() {
  auto started = start_connecting(*target_);
  if (!started) {
    retry_later(started.error().message());
    return;
  }
  attempt_fd_ = std::move(started->fd);
  if (started->done) {
    on_connected();
    return;
  }
  auto source = loop_.watch_fd(attempt_fd_.get(), EPOLLOUT, [this](std::uint32_t) { on_connected(); });
  if (!source) {
    retry_later(source.error().message());
    return;
  }
  attempt_source_ = std::move(*source);
}

void OpenVpnSensor::on_connected() {
  attempt_source_ = {};
  os::Fd fd = std::exchange(attempt_fd_, os::Fd{});
  auto connected = connect_result(fd.get());
  if (connected) {
    connected = check_listener(*target_, fd.get());
  }
  if (!connected) {
    retry_later(connected.error().message());
    return;
  }
  last_failure_.clear();
  outgoing_ = ConnectionId{last_id_ + 1};  // known before the report, which may answer at once
  open(Direction::we_connected, std::move(fd), outgoing_);
}

/// @param why said once, not at every attempt
void OpenVpnSensor::retry_later(const std::string& why) {
  attempt_fd_ = {};
  if (!target_) {
    return;
  }
  if (!why.empty() && why != last_failure_) {
    os::log(os::LogLevel::info,
            fmt::format("OpenVPN's management interface {}: {}; trying again", model::to_string(*target_), why));
    last_failure_ = why;
  }
  auto timer = loop_.after(retry_delay_, [this] { attempt(); });
  retry_delay_ = std::min(retry_delay_ * 2, last_retry);
  if (!timer) {
    os::log(os::LogLevel::error, "OpenVPN's management interface: " + timer.error().message());
    return;
  }
  retry_timer_ = std::move(*timer);
}

Outcome OpenVpnSensor::send_channel_password(ConnectionId connection) {
  if (outgoing_ != connection || !target_ || target_->password_file.empty()) {
    return fail("management connection: it wants a password, and no password file is set");
  }
  auto content = os::read_file(target_->password_file, 4096);
  if (!content) {
    return fail(content.error().within("management password"));
  }
  auto& text = *content;
  const auto length = std::min(text.find_first_of("\r\n"), text.size());
  auto line = codec::encode_channel_password(std::string_view{text}.substr(0, length));
  wipe(text);
  if (!line) {
    return fail(line.error().within("management password"));
  }
  return send(connection, std::move(*line));
}

}  // namespace killswitch::sense
