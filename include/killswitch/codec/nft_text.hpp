// A ruleset as nft(8) text: what `killswitch rules` prints, what golden files hold, what `nft -f` loads.
//
// Loaded by nft(8) it lists exactly as the tables that the batch makes. Numbers stay numbers (uids, interface indexes,
// protocols): nothing is looked up. The owner flag is left out, because nft(8) would take the table with it on exit.
// @source nft(8)
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <string>

namespace killswitch::codec {

[[nodiscard]] std::string render_nft_text(const model::Ruleset& ruleset);
/// One rule on one line, without the chain it is in.
[[nodiscard]] std::string render_nft_rule(const model::Rule& rule);
/// "198.51.100.49 . 17 . 1194", with " : accept" in verdict maps.
[[nodiscard]] std::string render_nft_element(const model::SetElement& element);

}  // namespace killswitch::codec
