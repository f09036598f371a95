// Any bytes as an rtnetlink datagram: decoded or refused, never more than that.
#include "killswitch/codec/rtnetlink.hpp"
#include "killswitch/codec/server_route.hpp"

#include <cstddef>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto table = killswitch::codec::decode_route_table({data, size});
  if (table.ours.size() + table.defaults4.size() + table.defaults6.size() > size) {
    __builtin_trap();  // more routes than bytes
  }
  [[maybe_unused]] const auto way = killswitch::codec::decode_way({data, size});
  [[maybe_unused]] const auto answer = killswitch::codec::decode_acknowledgement({data, size});
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
