// Fuzzes the policy parser, and with it the JSON reader. Invariant: an accepted policy can be rendered and read
// back as the same policy.
#include "killswitch/codec/policy_json.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace killswitch;
  const std::string text{data, data + size};
  const auto policy = codec::parse_policy(text, "policy.json");
  if (!policy) {
    if (policy.error().context.empty()) {
      std::abort();
    }
    return 0;
  }
  const auto again = codec::parse_policy(codec::render_policy(*policy), "again.json");
  if (!again || !(*again == *policy)) {
    std::abort();
  }
  return 0;
}
