// What nf_tables would refuse for its name or its size, told before anything is sent. Private to this folder.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/nft_rule.hpp"

namespace killswitch::codec {

/// @return in words, what keeps `set` from being made; empty: nothing
[[nodiscard]] Problem check_set(const model::Set& set);
/// Names of the table, its chains and counters, and the devices of its chains.
[[nodiscard]] Outcome check_table(const model::Table& table);

}  // namespace killswitch::codec
