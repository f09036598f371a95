// Which socket of this network namespace sent a packet.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/packet.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <cstdint>

namespace killswitch::sense {

class SocketLookup {
public:
  [[nodiscard]] static Result<SocketLookup> open();

  /// @param sent TCP or UDP, with its ports and the interface that it leaves by
  /// @return the inode of the socket, as /proc/PID/fd names it; an error: no socket sent it, or it is closed
  [[nodiscard]] Result<std::uint32_t> find_inode(const model::Packet& sent);

private:
  explicit SocketLookup(os::NetlinkSocket socket) : socket_{std::move(socket)} {}
  os::NetlinkSocket socket_;
};

}  // namespace killswitch::sense
