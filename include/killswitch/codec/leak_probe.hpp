// The ways out of this machine that `killswitch test` tries, and what is needed to try one: packets, frames, and the
// recognition of what was sent in a capture. Bytes and tables only; sense/leak_probes has the sockets.
//
// Every probe carries a token (random for each run, numbered for each probe) that whoever sees a frame can look for.
// A connection request has no payload; it is known by its addresses and ports.
#pragma once

#include "killswitch/model/address.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec {

/// How a probe is put on its way.
enum class ProbeWay : std::uint8_t {
  datagram,       ///< UDP
  question,       ///< UDP with a DNS question
  connection,     ///< TCP connection request
  echo,           ///< ICMP echo request
  protocol,       ///< raw socket of another IP protocol
  header,         ///< raw socket that writes the IP header itself
  fragments,      ///< UDP, larger than the link carries at once
  frame,          ///< packet socket, whole frames
  cooked_frame,   ///< packet socket, the kernel writes the link header
  direct_frame,   ///< packet socket past the queues (PACKET_QDISC_BYPASS)
  unknown_frame,  ///< packet socket, an EtherType that nobody knows
  tagged_frame,   ///< packet socket, VLAN tag
};

/// How the socket is tied to the link.
enum class ProbeTie : std::uint8_t {
  source,             ///< bound to the link's address
  device,             ///< SO_BINDTODEVICE
  unicast_interface,  ///< IP_UNICAST_IF
  packet_info,        ///< IP_PKTINFO with each packet
  dont_route,         ///< SO_BINDTODEVICE and MSG_DONTROUTE
  mark,               ///< SO_BINDTODEVICE and an arbitrary SO_MARK
};

enum class ProbeTarget : std::uint8_t {
  documentation,  ///< an address that belongs to nobody (RFC 5737, RFC 3849)
  gateway,        ///< the link's router
  group,          ///< multicast
  subnet_broadcast,
  server,  ///< the VPN server's exact address, port and protocol
  server_other_port,
  server_other_protocol,
};

struct ProbeClass {
  std::string_view id;
  std::string_view title;
  ProbeWay way{ProbeWay::datagram};
  ProbeTie tie{ProbeTie::source};
  ProbeTarget target{ProbeTarget::documentation};
  bool other_user{false};                  ///< sent by an unprivileged user
  std::uint16_t number{0};                 ///< destination port, or IP protocol
  std::array<std::string_view, 2> groups;  ///< of ProbeTarget::group: IPv4, IPv6; empty: not in this family
  std::string_view meaning;                ///< what it means when this leaves
};

/// All classes, in the order of the report.
[[nodiscard]] std::span<const ProbeClass> probe_classes();

/// Whether the class is about frames: below IP addresses, routes and neighbours.
[[nodiscard]] bool is_frame(ProbeWay way);
/// Whether the class exists in this family. Frames without IP count as IPv4.
[[nodiscard]] bool exists_in(const ProbeClass& probe, model::Family family);

using Bytes = std::vector<std::uint8_t>;
using MacAddress = std::array<std::uint8_t, 6>;

/// A UDP packet whose IP header is there too.
struct UdpPacket {
  model::IpAddress source;
  model::IpAddress destination;
  model::Port port;
  std::string_view payload;
};
[[nodiscard]] Bytes build_udp_packet(const UdpPacket& packet);
/// ICMP or ICMPv6 (whose checksum is the kernel's work).
[[nodiscard]] Bytes build_echo_request(model::Family family, std::string_view payload);
/// A question for the address of "<token>.invalid" (RFC 6761: no such name exists).
[[nodiscard]] Bytes build_dns_question(std::string_view token);
[[nodiscard]] Bytes build_frame(const MacAddress& to, const MacAddress& from, std::span<const std::uint16_t> types,
                                std::span<const std::uint8_t> payload);
/// `token` over and over, `size` bytes: every fragment holds a whole one.
[[nodiscard]] std::string repeat_token(std::string_view token, std::size_t size);

struct TcpFlow {
  model::IpAddress destination;
  model::Port port;
  model::Port source_port;
  auto operator<=>(const TcpFlow&) const = default;
};

/// Finds the probes of one run in captured packets.
class ProbeMatcher {
public:
  /// @param secret random, so that the probes of another run are not mistaken for ours
  explicit ProbeMatcher(std::uint64_t secret);

  [[nodiscard]] std::string token(std::size_t probe) const;  ///< at most 63 letters and digits: a DNS label too
  void expect(const TcpFlow& flow, std::size_t probe) { flows_.insert_or_assign(flow, probe); }

  /// @param packet from the network header on; anything, also cut short
  [[nodiscard]] std::optional<std::size_t> recognise(std::span<const std::uint8_t> packet) const;

private:
  std::string prefix_;
  std::map<TcpFlow, std::size_t> flows_;
};

}  // namespace killswitch::codec
