// A machine with every kind of way out, in namespaces of the test: wlo1 is a veth to "outside", docker0 a bridge with a
// guest at its port, tun0 a tunnel whose reader is the test. Packets are sent in at any end and collected at all ends.
#pragma once

#include "killswitch/decide/evaluate.hpp"
#include "killswitch/model/world.hpp"
#include "killswitch/os/fd.hpp"
#include "wire.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace killswitch::testing {

/// Where a packet can come out.
enum class Place : std::uint8_t { outside, guest, tunnel, here };

/// Rules of a test must accept packets of this host with this mark: they say that all others have been dealt with.
inline constexpr std::uint32_t barrier_mark = 0xba;

struct Seen {
  std::set<Place> places;
  bool unreachable{false};  ///< ICMP admin-prohibited came back
  bool reset{false};
};

class Testbed {
public:
  Testbed();

  /// The facts of `world` with the interfaces and addresses that are really there.
  [[nodiscard]] model::World placed(model::World world) const;
  /// What the packet shows because of the interfaces it passes; `packet.iif` and `packet.oif` are set.
  void describe(decide::Journey& journey) const;

  /// Sends what `journey.packet.network` holds. @return errno of the send, or 0; being refused is no failure
  int send(const decide::Journey& journey);
  /// Everything that came out since the last call, by sequence number.
  [[nodiscard]] std::map<std::uint32_t, Seen> collect();

  /// Plain frames, and sockets as programs open them.
  int send_frame(const std::string& device, std::uint16_t claimed_protocol, const Bytes& frame, std::uint32_t mark);
  /// A UDP datagram of an ordinary socket. @return whether its last byte came out at the other end of wlo1
  [[nodiscard]] bool send_datagram(const model::IpAddress& to, model::Port port, std::uint32_t mark, std::size_t size);
  [[nodiscard]] Bytes ethernet(std::uint16_t ether_type) const;

private:
  struct End {
    os::Fd fd;
    Place place;
    std::uint8_t protocol;  ///< of raw sockets
    bool frames;            ///< a link header comes first
    bool ipv6_raw;          ///< no network header
  };

  void make_links();
  void make_sockets();
  int raw_socket(model::Family family, std::uint32_t uid);
  int send_raw(const Packet& packet);
  int send_from_peer(const Packet& packet);
  void drain(std::map<std::uint32_t, Seen>& seen);
  void send_barrier(std::uint32_t sequence);
  [[nodiscard]] const End& end(Place place) const;
  [[nodiscard]] std::optional<std::uint32_t> socket_mark_for(const Packet& packet) const;

  os::Fd outside_;
  os::Fd guest_;
  os::Fd tunnel_;
  os::Fd frames_;                              ///< AF_PACKET of this host
  std::map<std::uint16_t, os::Fd> receivers_;  ///< UDP sockets of this host for both families, by port
  std::vector<End> ends_;
  std::map<std::pair<model::Family, std::uint32_t>, os::Fd> raw_;
  model::Links links_;
  std::uint32_t next_barrier_{0xff000000};
};

}  // namespace killswitch::testing
