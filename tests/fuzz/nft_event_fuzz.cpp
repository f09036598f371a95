// Any bytes as a notification about the ruleset: told or refused, and what is told is printable.
#include "killswitch/codec/nft_event.hpp"

#include <cstddef>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  killswitch::codec::NftEventDecoder decoder{1};
  const auto touches = decoder.feed({data, size});
  if (!touches) {
    return 0;
  }
  for (const auto& touch : *touches) {
    for (const char letter : touch.what + touch.program) {
      if (letter < ' ' || letter > '~') {
        __builtin_trap();
      }
    }
    if (touch.what.empty() || touch.what.size() > 300) {
      __builtin_trap();
    }
  }
  return 0;
}
