// What every message of nf_tables has: its family, and a size that is known to be enough.
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <arpa/inet.h>
#include <linux/netfilter.h>

#include <cstddef>
#include <cstdint>

namespace killswitch::codec {

// libnftnl writes into a buffer without knowing where it ends. What makes a message long is limited before it is
// written: names (255 characters), expressions of a rule (128, of which a lookup and its load need 340 bytes), devices
// (256 of 20 bytes), lists of elements (32 KiB). More than 64 KiB would make the allocator tidy up each time.
inline constexpr std::size_t message_room = std::size_t{56} << 10U;

[[nodiscard]] constexpr std::uint8_t family_number(model::TableFamily family) {
  return family == model::TableFamily::inet ? NFPROTO_INET : NFPROTO_NETDEV;
}

}  // namespace killswitch::codec
