// Ends the flows that were open before the lock closed, so that none of them resumes in the clear when it opens again
// (G10). The lock alone stops them while it is closed; whoever calls this has the lock in the kernel already.
#pragma once

#include "killswitch/model/endpoint.hpp"

#include <span>
#include <string>
#include <vector>

namespace killswitch::enforce {

struct CutReport {
  std::size_t sockets{0};             ///< connections of this host's programs
  std::size_t tracked{0};             ///< entries of connection tracking: forwarded and translated flows as well
  std::vector<std::string> problems;  ///< what could not be done, and what follows from it
  bool operator==(const CutReport&) const = default;
};

/// Ends every connection but those of this host with itself and those with one of `spared`. All that can be ended is,
/// whatever else fails. A kernel without connection tracking has nothing to forget.
/// @param spared the transport's endpoints
[[nodiscard]] CutReport cut_flows(std::span<const model::Endpoint> spared);

/// "ended 3 connections and 12 tracked flows from before the lock"
[[nodiscard]] std::string to_string(const CutReport& report);

}  // namespace killswitch::enforce
