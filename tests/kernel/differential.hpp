// Sends packets through the kernel and remembers what became of them, so that any ruleset can be asked afterwards
// whether it explains what was seen.
#pragma once

#include "traffic.hpp"

#include <functional>
#include <string>
#include <vector>

namespace killswitch::testing {

struct Experiment {
  decide::Journey journey;
  Seen seen;
  int send_error{0};
};

/// Lays out, sends and collects what `draw` gives, `count` times.
[[nodiscard]] std::vector<Experiment> observe(Testbed& testbed, std::size_t count,
                                              const std::function<decide::Journey()>& draw);

/// @return for each experiment that `ruleset` does not explain: the packet, the evaluation and the observation
[[nodiscard]] std::vector<std::string> mismatches(const model::Ruleset& ruleset,
                                                  const std::vector<Experiment>& experiments);

/// The first few, for messages of a test.
[[nodiscard]] std::string first_of(const std::vector<std::string>& lines);

}  // namespace killswitch::testing
