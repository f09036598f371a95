// Copies of packets to pinned servers, as the ruleset sends them to the daemon (nflog): from sockets without the mark,
// which are dropped, and from marked ones while it is not known which process has them.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/packet.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <functional>
#include <memory>

namespace killswitch::sense {

class TransportPackets {
public:
  /// @param marked the packet carried the transport's mark, and was let out
  using Take = std::function<void(const model::Packet& packet, bool marked)>;

  /// @return an error when another daemon listens, or this kernel has no nflog
  [[nodiscard]] static Result<std::unique_ptr<TransportPackets>> start(os::EventLoop& loop, Take take);
  TransportPackets(const TransportPackets&) = delete;  // the loop's callback points here
  TransportPackets& operator=(const TransportPackets&) = delete;

private:
  TransportPackets(os::NetlinkSocket socket, Take take) : socket_{std::move(socket)}, take_{std::move(take)} {}
  void read();

  os::NetlinkSocket socket_;
  Take take_;
  os::EventSource source_;
};

}  // namespace killswitch::sense
