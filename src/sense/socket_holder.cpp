#include "killswitch/sense/socket_holder.hpp"

#include "killswitch/codec/flows.hpp"

#include <linux/netlink.h>
#include <cerrno>

namespace killswitch::sense {

Result<SocketLookup> SocketLookup::open() {
  auto socket = os::NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) {
    return fail(socket.error().within("find out whose packets are sent"));
  }
  return SocketLookup{std::move(*socket)};
}

Result<std::uint32_t> SocketLookup::find_inode(const model::Packet& sent) {
  const auto sequence = socket_.next_sequence();
  Result<std::uint32_t> inode = fail(ENOENT, "find the socket that sent a packet");
  const auto asked =
      socket_.ask(codec::encode_socket_query(sent, sequence), [&](std::span<const std::uint8_t> datagram) {
        const auto answer = codec::decode_flows(datagram, sequence);
        if (!answer) {
          inode = fail(answer.error());
        } else if (answer->errno_value != 0) {
          inode = fail(answer->errno_value, "find the socket that sent a packet");
        } else if (!answer->flows.empty() && answer->flows.front().inode != 0) {
          inode = answer->flows.front().inode;
        }
        return true;
      });
  return asked ? inode : fail(asked.error());
}

}  // namespace killswitch::sense
