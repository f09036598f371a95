// A socket that was proven to be OpenVPN's, as a duplicate of its descriptor: it is marked, and what was dropped before
// is sent again through it. The duplicate shares the open socket; close it at once, or the port stays taken.
// @source socket(7), SO_MARK
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/endpoint.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace killswitch::enforce {

/// SO_MARK.
[[nodiscard]] Result<std::uint32_t> mark_of_socket(int socket);
[[nodiscard]] Outcome mark_socket(int socket, std::uint32_t mark);

/// Sends a UDP datagram once more, to where it went; never waits.
[[nodiscard]] Outcome send_again(int socket, const model::Endpoint& to, std::span<const std::uint8_t> payload);

struct TcpEnds {
  model::Endpoint own;
  model::Endpoint peer;
};
/// Of a connected TCP socket; nothing: it has no peer, or is no TCP socket.
[[nodiscard]] std::optional<TcpEnds> tcp_ends(int socket);
/// A TCP socket whose connection is not answered yet; its peer does not show.
[[nodiscard]] bool is_opening_tcp(int socket);
/// A UDP socket of IPv4 or IPv6.
[[nodiscard]] bool is_udp(int socket);

}  // namespace killswitch::enforce
