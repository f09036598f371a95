#include "killswitch/sense/transport_packets.hpp"

#include "killswitch/codec/ip_packet.hpp"
#include "killswitch/model/transport.hpp"
#include "nflog_socket.hpp"

#include <sys/epoll.h>

namespace killswitch::sense {

Result<std::unique_ptr<TransportPackets>> TransportPackets::start(os::EventLoop& loop, Take take) {
  constexpr std::uint32_t whole_packet = 65535;
  auto socket = open_nflog(model::transport_group, whole_packet);
  if (!socket) {
    return fail(socket.error().within("hear of packets to the VPN server"));
  }
  std::unique_ptr<TransportPackets> packets{new TransportPackets{std::move(*socket), std::move(take)}};
  auto source = loop.watch_fd(packets->socket_.fd(), EPOLLIN, [raw = packets.get()](std::uint32_t) { raw->read(); });
  if (!source) {
    return fail(source.error());
  }
  packets->source_ = std::move(*source);
  return packets;
}

void TransportPackets::read() {
  read_nflog(socket_, [this](const codec::LoggedPacket& logged) {
    auto packet = codec::parse_ip_packet(logged.bytes);
    if (packet) {
      packet->mark = logged.mark;
      packet->uid = logged.uid;
      packet->oif = logged.oif;
      take_(*packet, logged.prefix == model::marked_prefix);
    }
  });
}

}  // namespace killswitch::sense
