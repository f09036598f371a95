// A rule of the kernel as libnftnl may see it: which expressions this program writes, and with which attributes.
// Private to this folder.
#pragma once

#include "nft_sieve.hpp"

#include <string>
#include <vector>

namespace killswitch::codec {

inline constexpr const char* broken_expression = "an expression behind the verdict, or a broken one";

struct SievedRule {
  Sieved sieved{Sieved::whole};
  std::vector<std::string> expressions;  ///< for each in its order: what is foreign in it; empty: libnftnl reads it
};

/// Copies what is known of `message` (NFT_MSG_NEWRULE) into `sieve`.
[[nodiscard]] SievedRule sieve_rule(Sieve& sieve, const nlmsghdr& message);

}  // namespace killswitch::codec
