// What came of the ways out that were tried: the table for people, and JSON.
//
// `killswitch test --json` prints what policies/test.schema.json describes. Fields may be added, never renamed.
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
