#include "killswitch/os/netlink_socket.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace killswitch::os {
namespace {

// The kernel packs a dump into datagrams of at most 32 KiB (netlink_recvmsg's max_recvmsg_len, af_netlink.c).
constexpr std::size_t receive_bytes = 64U << 10U;

Outcome set_option(int fd, int level, int name, int value, const char* what) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) {
    return fail(errno, fmt::format("netlink: {}", what));
  }
  return done();
}

}  // namespace

NetlinkSocket::NetlinkSocket(Fd fd, std::uint32_t port_id)
    : fd_{std::move(fd)}, port_id_{port_id}, buffer_(receive_bytes) {}

Result<NetlinkSocket> NetlinkSocket::open(int protocol) {
  Fd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)};
  if (!fd) {
    return fail(errno, "netlink: open a socket");
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(errno, "netlink: bind");
  }
  return adopt(std::move(fd), protocol);
}

Result<NetlinkSocket> NetlinkSocket::adopt(Fd fd, int protocol) {
  int found = -1;
  socklen_t size = sizeof found;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PROTOCOL, &found, &size) != 0) {
    return fail(errno, "netlink: read the protocol of the socket");
  }
  sockaddr_nl address{};
  size = sizeof address;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return fail(errno, "netlink: read the address of the socket");
  }
  if (address.nl_family != AF_NETLINK || found != protocol) {
    return fail("netlink: the socket that was handed over is of another kind");
  }
  // Ask for details of refusals; a kernel that cannot give them still gives the error.
  const int on = 1;
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return NetlinkSocket{std::move(fd), address.nl_pid};
}

Outcome NetlinkSocket::join_group(unsigned group) {
  return set_option(fd_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, static_cast<int>(group), "join a group");
}

Outcome NetlinkSocket::set_receive_buffer(std::size_t bytes) {
  return set_option(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, static_cast<int>(bytes), "set the receive buffer");
}

Outcome NetlinkSocket::set_send_buffer(std::size_t bytes) {
  return set_option(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, static_cast<int>(bytes), "set the send buffer");
}

Outcome NetlinkSocket::set_nonblocking() {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail(errno, "netlink: make the socket non-blocking");
  }
  return done();
}

Outcome NetlinkSocket::send(std::span<const std::uint8_t> bytes) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  for (;;) {
    const auto sent =
        ::sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
    if (sent == static_cast<ssize_t>(bytes.size())) {
      return done();
    }
    if (sent >= 0) {
      return fail(EMSGSIZE, "netlink: send");
    }
    if (errno != EINTR) {
      return fail(errno, "netlink: send");
    }
  }
}

Result<std::span<const std::uint8_t>> NetlinkSocket::receive() {
  for (;;) {
    sockaddr_nl sender{};
    iovec vector{buffer_.data(), buffer_.size()};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof sender;
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    const auto received = ::recvmsg(fd_.get(), &message, 0);
    if (received < 0) {
      if (errno == EINTR) {
        continue;
      }
      return fail(errno, "netlink: receive");
    }
    if (sender.nl_pid != 0) {
      continue;  // only the kernel is listened to; any process may send to a netlink port
    }
    if ((message.msg_flags & MSG_TRUNC) != 0) {
      return fail(EMSGSIZE, "netlink: receive");
    }
    return std::span<const std::uint8_t>{buffer_}.first(static_cast<std::size_t>(received));
  }
}

namespace {

std::uint32_t sequence_of(std::span<const std::uint8_t> datagram) {
  nlmsghdr header{};
  std::memcpy(&header, datagram.data(), std::min(datagram.size(), sizeof header));
  return header.nlmsg_seq;
}

}  // namespace

Outcome NetlinkSocket::ask(std::span<const std::uint8_t> request,
                           const std::function<bool(std::span<const std::uint8_t>)>& take) {
  constexpr int answer_milliseconds = 1000;
  if (auto sent = send(request); !sent) {
    return sent;
  }
  for (;;) {
    if (auto ready = wait_readable(answer_milliseconds); !ready) {
      return ready;
    }
    const auto datagram = receive();
    if (!datagram) {
      return fail(datagram.error());
    }
    if (sequence_of(*datagram) == sequence_of(request) && take(*datagram)) {
      return done();
    }
  }
}

Outcome NetlinkSocket::wait_readable(int milliseconds) {
  pollfd waiting{fd_.get(), POLLIN, 0};
  for (;;) {
    const int ready = ::poll(&waiting, 1, milliseconds);
    if (ready > 0) {
      return done();
    }
    if (ready == 0) {
      return fail(ETIMEDOUT, "netlink: wait for an answer");
    }
    if (errno != EINTR) {
      return fail(errno, "netlink: wait for an answer");
    }
  }
}

}  // namespace killswitch::os
