// A socket that hears one nflog group. Private to this folder.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/nflog.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <cstdint>
#include <functional>

namespace killswitch::sense {

/// Non-blocking. @param bytes of each packet that are copied
/// @return an error when another process listens to the group, or this kernel has no nfnetlink_log
[[nodiscard]] Result<os::NetlinkSocket> open_nflog(std::uint16_t group, std::uint32_t bytes);

/// Gives what is there to `take`, at most a round of it: a flood must not keep other events waiting.
void read_nflog(os::NetlinkSocket& socket, const std::function<void(const codec::LoggedPacket&)>& take);

}  // namespace killswitch::sense
