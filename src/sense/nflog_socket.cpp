#include "nflog_socket.hpp"

#include "killswitch/codec/nft_dump.hpp"

#include <linux/netlink.h>
#include <cerrno>

namespace killswitch::sense {
namespace {

constexpr int datagrams_at_once = 64;

}  // namespace

Result<os::NetlinkSocket> open_nflog(std::uint16_t group, std::uint32_t bytes) {
  auto socket = os::NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) {
    return socket;
  }
  const std::uint32_t sequence = socket->next_sequence();
  static_cast<void>(socket->next_sequence());
  const auto sent = socket->send(codec::encode_nflog_bind(group, bytes, sequence));
  const auto quiet = sent ? socket->set_nonblocking() : sent;
  if (!quiet) {
    return fail(quiet.error().within("nflog"));
  }
  // Both messages have been answered by the time send returns.
  while (const auto datagram = socket->receive()) {
    for (const auto& reply : codec::decode_replies(*datagram)) {
      if (reply.errno_value != 0) {
        return fail(reply.errno_value, "nflog: another killswitchd, or no nfnetlink_log in this kernel");
      }
    }
  }
  return socket;
}

void read_nflog(os::NetlinkSocket& socket, const std::function<void(const codec::LoggedPacket&)>& take) {
  for (int i = 0; i < datagrams_at_once; ++i) {
    const auto datagram = socket.receive();
    if (!datagram) {
      if (datagram.error().code.value() == ENOBUFS) {
        continue;  // a flood: some were not heard, more will come
      }
      return;
    }
    for (const auto& logged : codec::decode_nflog(*datagram)) {
      take(logged);
    }
  }
}

}  // namespace killswitch::sense
