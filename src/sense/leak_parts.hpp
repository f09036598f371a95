// The pieces of the leak probes: a link with all that is needed to send on it, one shot, and a capture.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/leak_probe.hpp"
#include "killswitch/model/address.hpp"
#include "killswitch/model/link.hpp"
#include "killswitch/os/fd.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace killswitch::sense {

/// A link, and what was found out about it.
struct ProbeLink {
  model::Link link;
  bool carrier{false};
  bool ethernet{false};
  codec::MacAddress hardware{};
  codec::MacAddress gateway_hardware{};     ///< all ones: unknown, frames go to everybody
  std::size_t mtu{0};                       ///< bytes
  std::optional<model::IpAddress> source4;  ///< its own addresses
  std::optional<model::IpAddress> source6;  ///< global
  std::optional<model::IpAddress> broadcast;
  std::optional<model::IpAddress> gateway4;
  std::optional<model::IpAddress> gateway6;
  bool reaches4{false};  ///< the next hop answers on the link, so that a packet could become a frame
  bool reaches6{false};

  [[nodiscard]] const std::optional<model::IpAddress>& source(model::Family family) const {
    return family == model::Family::ipv4 ? source4 : source6;
  }
  [[nodiscard]] const std::optional<model::IpAddress>& gateway(model::Family family) const {
    return family == model::Family::ipv4 ? gateway4 : gateway6;
  }
  [[nodiscard]] bool reaches(model::Family family) const { return family == model::Family::ipv4 ? reaches4 : reaches6; }
};

/// Where the probes to nobody go.
[[nodiscard]] model::IpAddress documentation_address(model::Family family);

/// Flags, sizes, addresses, routers and neighbours of `links`, as of now. Waits shortly for neighbours to answer.
[[nodiscard]] Result<std::vector<ProbeLink>> survey(const std::vector<model::Link>& links);

/// tx_packets of an interface; 0 when it is not there.
[[nodiscard]] std::uint64_t sent_by_driver(const std::string& interface);

/// One probe on its way out.
struct Shot {
  const codec::ProbeClass* probe{nullptr};
  const ProbeLink* link{nullptr};
  model::Family family{model::Family::ipv4};
  model::IpAddress target;
  std::uint16_t number{0};  ///< port, or IP protocol
  codec::ProbeWay way{codec::ProbeWay::datagram};
  std::string token;
  std::uint32_t user{0};  ///< uid that sends
};

/// What the kernel said.
struct Sent {
  int errno_value{0};  ///< of the first call that failed; 0: taken
  os::Fd socket;       ///< open as long as the connection is to be tried
  std::uint16_t source_port{0};
  unsigned taken{0};  ///< frames, where several are sent
};
[[nodiscard]] Sent send_packet(const Shot& shot);
[[nodiscard]] Sent send_frame(const Shot& shot);
/// Frames of one PACKET_QDISC_BYPASS probe: enough to be told from other traffic in a counter.
inline constexpr unsigned direct_frames = 8;

/// Sees the frames that leave on one interface.
class Capture {
public:
  [[nodiscard]] static Result<Capture> open(const model::Link& link);
  /// Everything that was captured since, from the network header on.
  void drain(const std::function<void(std::span<const std::uint8_t>)>& take);
  /// Frames and looks that failed; 0: everything was seen.
  [[nodiscard]] std::uint64_t lost();
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }

private:
  Capture(os::Fd fd, std::string name) : fd_{std::move(fd)}, name_{std::move(name)} {}
  os::Fd fd_;
  std::string name_;
  std::uint64_t failures_{0};
};

/// Waits until a capture has something, or `limit` has passed.
void wait_for_frames(const std::vector<Capture>& captures, std::chrono::milliseconds limit);

}  // namespace killswitch::sense
