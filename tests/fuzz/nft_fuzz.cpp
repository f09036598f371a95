// Any bytes as a dump of nf_tables: decoded or refused, and what was decoded can be compared, printed and sent again.
#include "killswitch/codec/nft_batch.hpp"
#include "killswitch/codec/nft_dump.hpp"
#include "killswitch/codec/nft_text.hpp"

#include <cstddef>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace killswitch;
  const std::span<const std::uint8_t> bytes{data, size};
  codec::DumpDecoder decoder;
  const auto progress = decoder.feed(bytes, 0);  // the corpus has sequence number 0 everywhere
  const auto replies = codec::decode_replies(bytes);
  const bool sound = progress && !progress->done;
  const model::Observation seen = decoder.finish();
  const bool understood = seen.differences.empty();
  if (understood && sound && seen.present != !seen.ruleset.tables.empty()) {
    __builtin_trap();
  }
  for (const auto& words : codec::differences(seen.ruleset, seen.ruleset)) {
    if (words.size() > (1U << 20U)) {
      __builtin_trap();  // no message of the kernel is that long
    }
  }
  if (codec::render_nft_text(seen.ruleset).empty() != seen.ruleset.tables.empty()) {
    __builtin_trap();
  }
  const auto batch = codec::encode_replacement(seen.ruleset, {}, {}, {});
  return batch && replies.size() > size ? 1 : 0;
}
