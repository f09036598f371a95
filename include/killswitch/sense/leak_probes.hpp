// Tries every way out of this machine and watches the links: the eyes and hands of `killswitch test`.
//
// A capture on each link (AF_PACKET) sees a frame after netdev egress has let it pass and before the driver gets it:
// what egress drops is not seen. Frames past the queues (PACKET_QDISC_BYPASS) are seen by no capture; for them count
// what the kernel says to the sender and the driver's own counter.
// @source Linux net/core/dev.c: __dev_queue_xmit, dev_queue_xmit_nit; net/packet/af_packet.c: packet_xmit; measured
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/leak_report.hpp"
#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/link.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::sense {

struct LeakTrial {
  std::vector<model::Link> links;        ///< to be tried; those without carrier are skipped
  std::vector<model::Link> tunnels;      ///< where probes may go
  std::vector<model::Endpoint> servers;  ///< the VPN servers; the first of each family is used
};

/// Told before each probe: how many were begun, of how many, and which one it is.
using LeakProgress = std::function<void(std::size_t number, std::size_t total, const std::string& what)>;

/// Some seconds. Needs root.
/// @return an error when a link cannot be watched: then nothing would be proved.
[[nodiscard]] Result<codec::LeakFindings> try_every_way_out(const LeakTrial& trial, const LeakProgress& progress);

}  // namespace killswitch::sense
