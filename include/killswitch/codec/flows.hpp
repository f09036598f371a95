// Flows that the kernel holds: connected sockets (sock_diag) and entries of connection tracking (ctnetlink); which of
// them end when the lock closes, and the messages that list and end them. Bytes and values only: the sockets and the
// order of things are the business of enforce/flows.
// @source Linux include/uapi/linux/{inet_diag,sock_diag}.h, linux/netfilter/nfnetlink_conntrack.h, sock_diag(7)
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/packet.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace killswitch::codec {

/// A conversation as its first packet names it. IPv4 in IPv6 notation (::ffff:192.0.2.1) stands here as IPv4.
struct Flow {
  std::uint8_t protocol{0};  ///< IP protocol number; a socket's message does not say it: it is what was asked for
  model::IpAddress source;   ///< this host's side, if the flow is a socket's
  model::Port source_port;   ///< 0 where the protocol has none
  model::IpAddress destination;
  model::Port destination_port;
  auto operator<=>(const Flow&) const = default;
};

/// A flow, and how the kernel wants it named in a request to end it.
struct HeldFlow {
  Flow flow;
  std::uint8_t family{0};          ///< AF_INET or AF_INET6, as it was listed
  std::vector<std::uint8_t> name;  ///< inet_diag_sockid, or the attributes that single out an entry
  std::uint32_t inode{0};          ///< of a socket, as /proc/PID/fd names it
  bool operator==(const HeldFlow&) const = default;
};

/// What one datagram of the kernel said in answer to one request.
struct FlowAnswer {
  std::vector<HeldFlow> flows;
  bool finished{false};  ///< the listing is complete, or the request was answered
  int errno_value{0};    ///< positive: the request was refused
  bool operator==(const FlowAnswer&) const = default;
};

/// Whether a flow from before the lock must end (G10). What stays: conversations of this host with itself, and those
/// with exactly one of `spared`, the transport's own.
[[nodiscard]] bool must_be_cut(const Flow& flow, std::span<const model::Endpoint> spared);

/// Lists sockets that have a peer. A UDP socket without one holds no flow: what it sends is new each time.
/// @param family   AF_INET or AF_INET6
/// @param protocol IPPROTO_TCP or IPPROTO_UDP
[[nodiscard]] std::vector<std::uint8_t> encode_socket_listing(std::uint8_t family, std::uint8_t protocol,
                                                              std::uint32_t sequence);
/// Asks for the one socket that sent a packet, by the kernel's own look-up: it costs the same with any number of
/// sockets.
/// @param sent this host's packet; its protocol is TCP or UDP, its `oif` the interface that it leaves by
[[nodiscard]] std::vector<std::uint8_t> encode_socket_query(const model::Packet& sent, std::uint32_t sequence);
/// SOCK_DESTROY: the program that holds the socket gets ECONNABORTED.
[[nodiscard]] std::vector<std::uint8_t> encode_socket_destroy(const HeldFlow& held, std::uint32_t sequence);
/// Lists the connection tracking of all families.
[[nodiscard]] std::vector<std::uint8_t> encode_tracking_listing(std::uint32_t sequence);
/// IPCTNL_MSG_CT_DELETE of one entry.
[[nodiscard]] std::vector<std::uint8_t> encode_tracking_delete(const HeldFlow& held, std::uint32_t sequence);

/// Messages in answer to other requests are left out.
/// @return an error for a datagram that is cut short, or a message that breaks its format.
[[nodiscard]] Result<FlowAnswer> decode_flows(std::span<const std::uint8_t> datagram, std::uint32_t sequence);

}  // namespace killswitch::codec
