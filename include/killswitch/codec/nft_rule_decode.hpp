// The expressions of one rule, as the kernel dumps them, back into matches, counter and verdict.
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <cstdint>
#include <optional>
#include <string>

struct nlmsghdr;

namespace killswitch::codec {

struct DecodedRule {
  std::string chain;
  model::Rule rule;     ///< what could be decoded
  std::string foreign;  ///< in words, what this program never writes; empty: nothing
};

/// @param message NFT_MSG_NEWRULE; only that its length holds a nfgenmsg has been seen
[[nodiscard]] DecodedRule decode_rule(const nlmsghdr& message);

/// @param code  NF_* or NFT_*
/// @param chain null: none
/// @return nothing for verdicts outside our vocabulary
[[nodiscard]] std::optional<model::Verdict> decode_verdict(std::uint32_t code, const char* chain);

}  // namespace killswitch::codec
