// The connections to OpenVPN's management interface, in both directions: OpenVPN comes to our socket
// (management-client), or we go to the socket where it listens. Turns what it says into events and sends our lines.
//
// With management-client OpenVPN exits when the connection closes ("Triggering management exit"), so connections are
// handed over a restart of the daemon (`descriptors`, `adopt`), and destroying the sensor ends none that the service
// manager keeps. Only root is believed, on either side. Decides nothing and keeps no fact.
#pragma once

#include "killswitch/codec/management.hpp"
#include "killswitch/model/event.hpp"
#include "killswitch/model/profile.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/fd.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace killswitch::sense {

class OpenVpnSensor {
public:
  using Report = std::function<void(model::Event)>;

  static constexpr std::size_t connection_limit = 8;
  /// Of one connection in one callback, in bytes: a flood must not keep others waiting.
  static constexpr std::size_t read_limit = std::size_t{16} << 10U;
  /// Bytes that wait for an OpenVPN that does not read; beyond, its connection is closed.
  static constexpr std::size_t output_limit = std::size_t{64} << 10U;
  static constexpr std::chrono::milliseconds first_retry{250};
  static constexpr std::chrono::milliseconds last_retry{5000};

  OpenVpnSensor(os::EventLoop& loop, Report report);
  OpenVpnSensor(const OpenVpnSensor&) = delete;  // the loop's callbacks point here
  OpenVpnSensor& operator=(const OpenVpnSensor&) = delete;

  /// Waits for OpenVPN on a unix socket of mode 0600. Does nothing when an adopted socket listens there already.
  /// @return an error when `path` is something else than a socket, or somebody listens on it.
  [[nodiscard]] Outcome listen(const std::string& path);
  /// Takes back what `descriptors` named before a restart; ManagementOpened follows for a connection. What OpenVPN
  /// said meanwhile is read, what an earlier process had read is lost: ask it for its state.
  [[nodiscard]] Outcome adopt(std::string_view name, os::Fd fd);
  /// Where OpenVPN listens; tries until it is there, and again when the connection ends. Nothing: no more.
  void connect_to(std::optional<model::ManagementAddress> address);

  /// @param line ends with a newline; wiped after it is sent
  /// @return an error for a connection that is closed, or that is closed now because OpenVPN does not read.
  [[nodiscard]] Outcome send(model::management::ConnectionId connection, std::string line);
  /// The first line of the password file that `connect_to` was given.
  [[nodiscard]] Outcome send_channel_password(model::management::ConnectionId connection);

  /// What has to outlive the daemon: the listening socket ("mgmt-listen") and what OpenVPN opened ("mgmt-3-in").
  /// Connections that we opened are not in it: they end without harm and are opened anew.
  [[nodiscard]] std::vector<std::pair<std::string, int>> descriptors() const;
  [[nodiscard]] static std::string descriptor_name(model::management::ConnectionId connection);

private:
  using ConnectionId = model::management::ConnectionId;
  using Direction = model::management::Direction;

  struct Connection {
    Direction direction{};
    os::Fd fd;
    codec::ManagementDecoder decoder;
    std::string output;
    std::uint32_t interest{0};  ///< epoll events that `source` watches for
    os::EventSource source;     // ends before `fd`
  };

  [[nodiscard]] Outcome watch_listener();
  void on_incoming();
  [[nodiscard]] bool accept_one();
  void pause_listening(int errno_value);
  void open(Direction direction, os::Fd fd, std::optional<ConnectionId> id);
  void on_ready(ConnectionId id, std::uint32_t epoll_events);
  void read_from(ConnectionId id);
  void flush(ConnectionId id);
  void watch(ConnectionId id);
  void close(ConnectionId id, const std::string& reason);

  void attempt();
  void on_connected();
  void retry_later(const std::string& why);

  os::EventLoop& loop_;
  Report report_;
  std::uint32_t last_id_{0};
  os::Fd listener_;
  os::EventSource listener_source_;
  os::EventSource listener_pause_;
  std::map<ConnectionId, Connection> connections_;

  std::optional<model::ManagementAddress> target_;
  std::optional<ConnectionId> outgoing_;
  os::Fd attempt_fd_;  ///< connect(2) is under way
  os::EventSource attempt_source_;
  os::EventSource retry_timer_;
  std::chrono::milliseconds retry_delay_{first_retry};
  std::string last_failure_;  ///< said in the log already
};

}  // namespace killswitch::sense
