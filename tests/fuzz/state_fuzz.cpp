// Fuzzes the readers of the state file, the settings, the status and the journal of names, which all stand on the same
// reader. Invariant: what is accepted can be rendered and read back as the same value; a state that could not would
// lock the machine without its settings at the next start.
#include "killswitch/codec/dns_journal.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/codec/status_text.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

using namespace killswitch;

template <typename T, typename Parse, typename Render>
void round_trip(const std::string& text, Parse parse, Render render) {
  const Result<T> first = parse(text, "first");
  if (!first) {
    return;
  }
  const Result<T> second = parse(render(*first), "second");
  if (!second || !(*second == *first)) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{data, data + size};
  round_trip<model::SavedState>(text, codec::parse_state, codec::render_state);
  round_trip<model::Settings>(text, codec::parse_settings, codec::render_settings);
  round_trip<model::Status>(text, codec::parse_status_json, codec::render_status_json);
  round_trip<model::DnsJournal>(text, codec::parse_dns_journal, codec::render_dns_journal);
  if (const auto status = codec::parse_status_json(text, "status")) {
    if (codec::render_status_text(*status).empty()) {
      std::abort();
    }
  }
  return 0;
}
