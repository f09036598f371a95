// Fuzzes the grammar of `killswitch explain`. Invariants: an error names a column; what is accepted has an interface,
// addresses of one family, and headers that can be laid out.
#include "killswitch/codec/names.hpp"
#include "killswitch/codec/packet_text.hpp"

#include <cstdint>
#include <cstdlib>

namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace killswitch;
  const std::string text{data, data + size};
  const auto parsed = codec::parse_packet_text(text);
  if (!parsed) {
    require(parsed.error().context.starts_with("column "));
    return 0;
  }
  require(codec::is_interface_name(parsed->in.empty() ? parsed->out : parsed->in));
  require(parsed->packet.source.family == parsed->packet.destination.family);
  require(parsed->packet.ether_type != 0 || model::network_bytes(parsed->packet).size() >= 20);
  return 0;
}
