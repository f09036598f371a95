// Any bytes as an rtnetlink datagram: decoded or refused, never more than that.
#include "killswitch/codec/rtnetlink.hpp"

#include <cstddef>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto messages = killswitch::codec::decode_rtnetlink({data, size});
  if (!messages) {
    return 0;
  }
  for (const auto& message : *messages) {
    const auto* changed = std::get_if<killswitch::model::LinkChanged>(&message.content);
    if (changed != nullptr && (changed->link.name.empty() || changed->link.name.size() > 15)) {
      __builtin_trap();  // a name that no interface can have
    }
  }
  return 0;
}
