// The kernel's nflog: how to listen to a group, and what it then tells of each packet.
// @source Linux net/netfilter/nfnetlink_log.c, include/uapi/linux/netfilter/nfnetlink_log.h
#pragma once

#include "killswitch/model/address.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace killswitch::codec {

/// Binds the socket to `group`: every packet at once, its first `bytes` from the IP header on. The kernel acknowledges
/// each of the messages; EBUSY or EPERM: somebody else listens already.
[[nodiscard]] std::vector<std::uint8_t> encode_nflog_bind(std::uint16_t group, std::uint32_t bytes,
                                                          std::uint32_t sequence);

struct LoggedPacket {
  std::string prefix;                   ///< that of the rule
  std::span<const std::uint8_t> bytes;  ///< points into the datagram
  std::uint8_t hook{0};                 ///< NF_INET_*
  std::uint32_t mark{0};
  std::optional<std::uint32_t> uid;  ///< of the sending socket's file; nothing: the kernel's own packet
  std::optional<model::IfIndex> iif;
  std::optional<model::IfIndex> oif;
};
/// Messages that are no packets, or broken, are left out.
[[nodiscard]] std::vector<LoggedPacket> decode_nflog(std::span<const std::uint8_t> datagram);

}  // namespace killswitch::codec
