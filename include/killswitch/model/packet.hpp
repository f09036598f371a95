// One packet at one hook, as `decide::evaluate` sees it, and how it stands on the wire.
//
// Fields that a packet does not have stay empty: a match on them does not hold, as in the kernel. Whoever has the real
// bytes gives them in `link`, `network` and `transport`; where they are missing, headers are laid out from the fields,
// so that a match on raw bytes sees what a match on a named field sees.
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <optional>
#include <string>

namespace killswitch::model {

struct Packet {
  Hook hook{Hook::output};
  std::optional<IfIndex> iif;
  std::optional<IfIndex> oif;
  std::string iifkind;
  std::string oifkind;
  std::string oifname;          ///< decides which egress chains it meets; empty: all of them
  std::uint32_t ether_type{0};  ///< of frames that are not IP (ARP 0x0806, …); 0: IP
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol{17};        ///< IP protocol number
  std::optional<Port> source_port;  ///< UDP and TCP
  std::optional<Port> destination_port;
  std::optional<std::uint8_t> icmp_type;  ///< of ICMP or ICMPv6, as `protocol` says
  std::uint8_t hop_limit{64};
  std::uint16_t fragment_offset{0};  ///< bytes, a multiple of 8; not 0: behind the first fragment, no transport header
  bool more_fragments{false};
  std::uint32_t mark{0};
  std::optional<std::uint32_t> uid;  ///< nothing: no socket (forwarded, kernel-made)
  std::uint32_t fib_type{0};         ///< RTN_LOCAL 2, RTN_UNICAST 1, …
  std::uint32_t ct_state{0};
  std::optional<std::uint32_t>
      socket_mark;  ///< of the receiving socket, or the one an ICMP error is about; nothing: none
  Bytes link;       ///< the link header; empty: none, at egress one of the fields
  Bytes network;    ///< bytes from the network header on; may be empty
  Bytes transport;  ///< bytes from the transport header on; may be empty
  bool operator==(const Packet&) const = default;
};

/// From the network header on: the bytes given, else an IP header (with a fragment header, where IPv6 needs one) and
/// the transport header, without options, payload and checksums. Empty for a frame that is not IP and has no bytes.
[[nodiscard]] Bytes network_bytes(const Packet& packet);

/// Behind the IP headers: the bytes given, else the transport header. Empty for frames that are not IP, and when
/// nothing is known; behind the first fragment, where no transport header stands, only the bytes given are.
[[nodiscard]] Bytes transport_bytes(const Packet& packet);

/// Numbers on the wire stand with the most significant byte first.
[[nodiscard]] Bytes wire_number(std::uint32_t number, std::size_t width);
[[nodiscard]] std::uint32_t number_of(const Bytes& wire);

}  // namespace killswitch::model
