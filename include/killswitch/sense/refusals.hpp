// Learns of packets that this host and its guests are about to be refused: the eyes of `killswitch blocked --follow`.
// Exists as long as the command; the table that it adds to the kernel copies and decides nothing (codec/refusals.hpp).
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/refusals.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <functional>
#include <memory>
#include <string>

namespace killswitch::sense {

class RefusalSensor {
public:
  using Tell = std::function<void(const model::Packet& packet)>;

  /// Needs root.
  /// @param tell each packet, in the kernel's order; those that come too fast are left out
  /// @return an error when another one runs, or the kernel cannot copy packets (nft_log, nfnetlink_log)
  [[nodiscard]] static Result<std::unique_ptr<RefusalSensor>> start(os::EventLoop& loop,
                                                                    const codec::RefusalWatch& watch, Tell tell);

private:
  RefusalSensor(os::NetlinkSocket socket, Tell tell) : socket_{std::move(socket)}, tell_{std::move(tell)} {}
  [[nodiscard]] Outcome ask(std::span<const std::uint8_t> request, int answers);
  void read();

  os::NetlinkSocket socket_;
  Tell tell_;
  os::EventSource source_;
};

struct Process {
  int pid{0};
  std::string name;
  bool operator==(const Process&) const = default;
};

/// Who has the socket that sent `packet`, as far as it still has it.
[[nodiscard]] std::optional<Process> find_sender(const model::Packet& packet);

}  // namespace killswitch::sense
