// Any bytes as an answer of sock_diag or ctnetlink: decoded or refused, and a flow that was decoded can be named again.
#include "killswitch/codec/flows.hpp"

#include <cstddef>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace killswitch;
  const auto answer = codec::decode_flows({data, size}, 0);
  if (!answer) {
    return 0;
  }
  for (const auto& held : answer->flows) {
    [[maybe_unused]] const bool cut = codec::must_be_cut(held.flow, {});
    if (codec::encode_socket_destroy(held, 1).empty() || codec::encode_tracking_delete(held, 1).empty()) {
      __builtin_trap();
    }
  }
  return 0;
}
