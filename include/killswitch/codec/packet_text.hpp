// A packet in words, as `killswitch explain` takes it: "udp 10.0.0.5 -> 8.8.8.8:53 out wlo1".
//
//   packet     = protocol [ [endpoint] "->" endpoint ] way { option }
//   protocol   = "udp" | "tcp" | "sctp" | NUMBER | ( "icmp" | "icmpv6" ) [ "type" NUMBER ]
//              | "arp" | "ethertype" 0xNNNN                    these two without addresses, and out only
//   endpoint   = IPV4 [ ":" PORT ] | IPV6 | "[" IPV6 "]" [ ":" PORT ]
//   way        = "out" IFACE | "in" IFACE | "forward" IFACE IFACE
//   option     = "mark" NUMBER | "uid" NUMBER|NAME | "ttl" NUMBER | "hoplimit" NUMBER | "fragment" | "packet-socket"
//                | "socket-mark" NUMBER
//
// Numbers are decimal, or hexadecimal behind 0x. What is not said: the source is unspecified, its port 40000 where
// there is a destination port, mark 0, hop limit 64, no user of note (65534). "fragment" is one behind the first, which
// shows no ports; "packet-socket" a frame that never meets the hooks of IP packets.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/packet.hpp"

#include <string>
#include <string_view>

namespace killswitch::codec {

enum class Direction : std::uint8_t { out, in, forward };

/// What was asked: interfaces and users are names here, which only the machine itself can resolve.
struct PacketText {
  Direction direction{Direction::out};
  std::string in;    ///< interface; empty for packets of this host
  std::string out;   ///< interface; empty for packets to this host
  std::string user;  ///< given by name; empty: `packet.uid` says it
  bool packet_socket{false};
  model::Packet packet;
  bool operator==(const PacketText&) const = default;
};

/// @return an error as "column 12: expected a port (1 to 65535), found '70000'"
[[nodiscard]] Result<PacketText> parse_packet_text(std::string_view text);

}  // namespace killswitch::codec
