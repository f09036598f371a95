// The expressions of one rule, as the kernel dumps them, back into matches, counter and verdict.
#pragma once

#include "killswitch/codec/nft_wire.hpp"
#include "killswitch/model/ruleset.hpp"

#include <optional>
#include <string>

namespace killswitch::codec {

struct DecodedRule {
  model::Rule rule;     ///< what could be decoded
  std::string foreign;  ///< in words, what this program never writes; empty: nothing
};

/// @param attributes those of NFT_MSG_NEWRULE
[[nodiscard]] DecodedRule decode_rule(const Attributes& attributes);

/// @param data NFTA_DATA_VERDICT's surroundings: NFTA_SET_ELEM_DATA or NFTA_IMMEDIATE_DATA
/// @return nothing for verdicts outside our vocabulary
[[nodiscard]] std::optional<model::Verdict> decode_verdict(const Attributes& data);

}  // namespace killswitch::codec
