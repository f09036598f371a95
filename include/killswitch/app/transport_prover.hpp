// Prove, then mark: finds the process behind a packet to a pinned server or behind a tunnel device, has it judged
// (decide/transport), and marks its socket. From then on the mark is all that any rule trusts.
//
// Events start it, never a clock: a copy of a packet (sense/transport_packets), a tunnel device that appears, a handle
// that an earlier daemon left. A look-up costs what one proven process has open. Only for a socket that none of them
// has, /proc is scanned for the trusted programs, and that takes at most one twentieth of the time, whoever sends.
#pragma once

#include "killswitch/model/event.hpp"
#include "killswitch/model/packet.hpp"
#include "killswitch/model/transport.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/fd.hpp"
#include "killswitch/os/service_manager.hpp"
#include "killswitch/sense/socket_holder.hpp"
#include "killswitch/sense/transport_packets.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::app {

class TransportProver {
public:
  using Post = std::function<void(model::Event)>;

  TransportProver(os::EventLoop& loop, Post post);
  TransportProver(const TransportProver&) = delete;  // the loop's callbacks point here
  TransportProver& operator=(const TransportProver&) = delete;

  /// Listens, and posts TransportProofUnavailable where nothing can be proven.
  void start();

  /// A process that an earlier daemon proved, by the handle that the service manager kept.
  /// @return whether `kept` was one of ours; it is then taken over, or let go when the process has ended
  bool adopt(os::NamedFd& kept);

  /// What to look for from now on; nothing: nobody is looked at. Does nothing when it is what it was.
  void search(std::optional<model::TransportSearch> what);

private:
  using Clock = std::chrono::steady_clock;

  struct Proven {
    os::Fd process;  ///< pidfd
    model::FileId executable;
    model::TransportProcess known;
    std::optional<model::TransportProcess> posted;  ///< `known` as it was told last
    std::string stored;                             ///< its name in the service manager's store
    os::EventSource end;
  };

  void on_packet(const model::Packet& packet, bool marked);
  /// Marks the socket with this inode if a proven process has it. @return whether one has
  bool claim(std::uint32_t inode, const model::Endpoint& to, const model::Packet& packet, bool marked);
  [[nodiscard]] bool is_its_own(const Proven& proven, const model::Packet& packet) const;
  /// @param socket a duplicate of one of its sockets. @return whether it is marked now
  [[nodiscard]] bool mark(const Proven& proven, int socket);
  void mark_sockets(const Proven& proven);
  /// A program that is not trusted any more: its processes lose their marks.
  void drop_withdrawn();

  /// Looks for processes of trusted programs that are not known yet: those that hold a tunnel device or the socket
  /// `inode`, or all of them.
  enum class Scope : std::uint8_t { holders, all };
  void scan(Scope scope, std::optional<std::uint32_t> inode = {});
  /// Once for each reason.
  void report_refusal(std::uint32_t pid, std::string reason);
  /// No packet starts a scan for a time that follows from how long the last one took.
  void pause_since(Clock::time_point began);
  void scan_later();
  /// Counts a copy that taught nothing. @return whether there are so many that others may be crowded out
  bool is_crowded(Clock::time_point now);
  void look_at_tunnels();
  [[nodiscard]] bool is_held(model::IfIndex tunnel) const;

  void take(std::uint32_t pid, os::Fd process, model::FileId executable, std::string program);
  [[nodiscard]] static std::vector<model::LocalConnection> local_connections(const Proven& proven);
  [[nodiscard]] bool is_same_program(const Proven& proven) const;
  /// Tells what it holds now; one that runs another program is forgotten.
  void refresh(std::uint32_t pid);
  void refresh_all();
  void forget(std::uint32_t pid);

  os::EventLoop& loop_;
  Post post_;
  std::unique_ptr<sense::TransportPackets> packets_;
  std::optional<sense::SocketLookup> lookup_;
  std::optional<model::TransportSearch> search_;
  std::vector<model::TunnelCandidate> examined_;  ///< tunnels that were looked at as they are now
  std::map<std::uint32_t, Proven> proven_;
  struct Refused {
    std::uint32_t inode;
    Clock::time_point at;
  };
  std::map<std::uint32_t, std::string> reported_;  ///< why processes were refused, by pid
  std::deque<Refused> refused_;                    ///< sockets that no trusted process had, the latest last
  struct Waiting {
    std::uint32_t inode;
    model::Endpoint to;
    model::Packet packet;
    bool marked;
  };
  std::deque<Waiting> waiting_;  ///< copies that wait for the next scan, the latest last
  Clock::time_point next_scan_{};
  Clock::time_point count_since_{};
  std::uint32_t count_{0};  ///< copies since then that taught nothing
  bool crowded_{false};     ///< since the last scan
  os::EventSource pending_scan_;
};

}  // namespace killswitch::app
