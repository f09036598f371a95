// A netlink socket (libmnl). Whether it owns nf_tables or listens to rtnetlink is the caller's business.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/os/fd.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace killswitch::os {

class NetlinkSocket {
public:
  /// @param protocol NETLINK_ROUTE or NETLINK_NETFILTER
  [[nodiscard]] static Result<NetlinkSocket> open(int protocol);
  /// Takes over a socket that another process (the service manager) kept for us.
  /// @return an error when `fd` is not a netlink socket of `protocol`.
  [[nodiscard]] static Result<NetlinkSocket> adopt(Fd fd, int protocol);

  [[nodiscard]] Outcome join_group(unsigned group);  ///< NETLINK_ADD_MEMBERSHIP
  [[nodiscard]] Outcome set_receive_buffer(std::size_t bytes);
  [[nodiscard]] Outcome set_send_buffer(std::size_t bytes);
  [[nodiscard]] Outcome set_nonblocking();

  /// One sendmsg.
  [[nodiscard]] Outcome send(std::span<const std::uint8_t> bytes);
  /// One datagram.
  /// @return EAGAIN when nothing is there (non-blocking), ENOBUFS when the kernel dropped notifications,
  ///         EMSGSIZE when the datagram was longer than the buffer.
  [[nodiscard]] Result<std::span<const std::uint8_t>> receive();
  /// Waits until a datagram is there.
  /// @return ETIMEDOUT after `milliseconds`.
  [[nodiscard]] Outcome wait_readable(int milliseconds);

  /// Sends `request` and gives every datagram of its answer (same sequence number) to `take`, until that says that it
  /// was the last. @return ETIMEDOUT when none comes for a second.
  [[nodiscard]] Outcome ask(std::span<const std::uint8_t> request,
                            const std::function<bool(std::span<const std::uint8_t>)>& take);

  [[nodiscard]] std::uint32_t next_sequence() { return ++sequence_; }
  [[nodiscard]] std::uint32_t port_id() const { return port_id_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

private:
  NetlinkSocket(Fd fd, std::uint32_t port_id);
  Fd fd_;
  std::uint32_t port_id_{0};
  std::uint32_t sequence_{0};
  std::vector<std::uint8_t> buffer_;
};

}  // namespace killswitch::os
