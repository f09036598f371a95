// One packet at one hook, as `decide::evaluate` sees it. Fields a packet does not have stay empty: a match on
// them does not hold, as in the kernel.
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
  std::uint32_t ether_type{0};  ///< of frames that are not IP (ARP 0x0806, …); 0: IP
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol{17};        ///< IP protocol number
  std::optional<Port> source_port;  ///< UDP and TCP
  std::optional<Port> destination_port;
  std::optional<std::uint8_t> icmp_type;
  std::uint8_t hop_limit{64};
  std::uint32_t mark{0};
  std::optional<std::uint32_t> uid;  ///< nothing: no socket (forwarded, kernel-made)
  std::uint32_t fib_type{0};         ///< RTN_LOCAL 2, RTN_UNICAST 1, …
  std::uint32_t ct_state{0};
  Bytes network;    ///< bytes from the network header on; may be empty
  Bytes transport;  ///< bytes from the transport header on; may be empty
  bool operator==(const Packet&) const = default;
};

}  // namespace killswitch::model
