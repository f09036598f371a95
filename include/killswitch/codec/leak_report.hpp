// What came of the ways out that were tried: the table for people, and JSON.
//
// `killswitch test --json` prints
//   {"version": 1, "state": "protected", "enforced": true,
//    "links": ["wlo1"],                                   the links that were tried
//    "skipped": [{"link": "eth0", "reason": "no carrier"}],
//    "results": [{"class": "mdns", "link": "wlo1", "family": "ipv4", "verdict": "stopped", "detail": "…",
//                 "target": "224.0.0.251"}],
//    "leaked": 0,                                         how many results say "leaked"
//    "lost_frames": 0}                                    frames that the capture could not take: not 0, nothing is
//    proved
// verdict: "stopped" (tried, and no frame left), "leaked" (a frame left a link), "not_applicable" (could not be tried).
// family: "ipv4", "ipv6", or "none" for frames without IP. target: may be empty. Fields may be added, never renamed.
#pragma once

#include "killswitch/codec/leak_probe.hpp"
#include "killswitch/model/status.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace killswitch::codec {

enum class LeakVerdict : std::uint8_t { stopped, leaked, not_applicable };
[[nodiscard]] std::string_view to_string(LeakVerdict verdict);

struct LeakResult {
  const ProbeClass* probe{nullptr};  ///< in probe_classes()
  std::string link;
  model::Family family{model::Family::ipv4};
  LeakVerdict verdict{LeakVerdict::not_applicable};
  std::string detail;  ///< why, in words
  std::string target;  ///< the address that it was sent to; empty: none was found, or a frame without addresses
  bool operator==(const LeakResult&) const = default;
};

struct SkippedLink {
  std::string link;
  std::string reason;
  bool operator==(const SkippedLink&) const = default;
};

struct LeakFindings {
  std::vector<std::string> links;
  std::vector<SkippedLink> skipped;
  std::vector<LeakResult> results;
  std::uint64_t lost_frames{0};
};

[[nodiscard]] std::size_t count_leaks(const LeakFindings& findings);

/// @param status what the kill switch said before the test
[[nodiscard]] std::string render_leak_text(const model::Status& status, const LeakFindings& findings);
[[nodiscard]] std::string render_leak_json(const model::Status& status, const LeakFindings& findings);

}  // namespace killswitch::codec
