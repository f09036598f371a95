// Any bytes as what nfnetlink_log tells: decoded or refused, and a packet that was decoded can be judged.
#include "killswitch/codec/refusals.hpp"

#include <cstddef>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace killswitch;
  const auto notes = codec::decode_refusals({data, size});
  if (notes) {
    for (const auto& packet : notes->packets) {
      if (packet.network.empty() || model::network_bytes(packet).size() < packet.network.size()) {
        __builtin_trap();
      }
    }
  }
  return 0;
}
