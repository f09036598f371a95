// One rule or one verdict as nf_tables expressions: the inner part of the batch.
//
// A match is load, optional mask, then comparison or lookup. Operands of a concatenation go into consecutive 4-byte
// registers, which is where the key of a concatenated set is compared.
// @source Linux net/netfilter/nft_{meta,payload,ct,fib,bitwise,cmp,lookup,immediate,reject,objref}.c
#pragma once

#include "killswitch/codec/nft_fields.hpp"
#include "killswitch/model/ruleset.hpp"

#include <optional>
#include <string>

struct nftnl_rule;

namespace killswitch::codec {

/// Packets that pass a limit at once after a quiet time; nft(8)'s own default.
inline constexpr std::uint32_t limit_burst = 5;

/// What nf_tables cannot express, in words; empty: nothing.
using Problem = std::string;

/// Appends the expressions of `rule`. With a problem some of them may be missing.
[[nodiscard]] Problem add_expressions(nftnl_rule& out, const model::Rule& rule);

/// NF_* or NFT_*, for a verdict that needs no other expression: accept, drop, jump, goto, return.
[[nodiscard]] std::optional<std::uint32_t> verdict_code(model::Verdict::Kind kind);

/// The mask that stands before the comparison: given by the match, or by the length of a prefix.
[[nodiscard]] std::optional<EncodedValue> encode_mask(const ValueForm& form, const model::Match& match);

/// Registers 0 … 15 of 4 bytes as the kernel names them, and back: 1 … 4 are the older names of each fourth.
/// @return the number of the 4-byte register, nothing for the verdict register and what does not exist
[[nodiscard]] std::optional<std::uint32_t> register_index(std::uint32_t number);

}  // namespace killswitch::codec
