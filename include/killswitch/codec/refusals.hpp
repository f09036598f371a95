// Packets that this host is about to be refused, as `killswitch blocked --follow` learns of them.
//
// A table of the command's own, beside the kill switch's and with no verdict in it, copies packets to it (nflog) in
// front of the filter; whether they are refused, and as what, the interpreter says then. So nothing of the lock changes
// for it, no verdict depends on it, and when the command ends, however, its table goes with its socket.
// @source Linux include/uapi/linux/netfilter/nfnetlink_log.h, nf_tables.h; net/netfilter/nft_log.c
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/packet.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace killswitch::codec {

struct RefusalWatch {
  std::optional<model::IfIndex> tunnel;  ///< what goes into it is refused only when it asks for names
  std::uint32_t mark{0};                 ///< OpenVPN's own packets are not looked at
};

/// Packets a second that are looked at; more than these are refused without being told.
inline constexpr std::uint32_t most_refusals_a_second = 50;

/// One transaction: the table that copies. The last message of it is acknowledged.
[[nodiscard]] std::vector<std::uint8_t> encode_refusal_table(const RefusalWatch& watch, std::uint32_t sequence);
/// Subscribes the socket to what the table copies; each of the messages is acknowledged.
[[nodiscard]] std::vector<std::uint8_t> encode_refusal_subscription(std::uint32_t sequence);
inline constexpr int refusal_subscription_messages = 2;

struct RefusalNotes {
  std::vector<model::Packet> packets;
  std::vector<int> answers;  ///< errno of each acknowledgement; 0: done
};
/// @return an error when lengths do not add up. What is no IP packet is left out.
[[nodiscard]] Result<RefusalNotes> decode_refusals(std::span<const std::uint8_t> datagram);

}  // namespace killswitch::codec
