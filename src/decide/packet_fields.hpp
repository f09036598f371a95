// What a rule loads from a packet, and how it compares: the registers of the interpreter. Private to this folder.
#pragma once

#include "killswitch/model/packet.hpp"
#include "killswitch/model/ruleset.hpp"

#include <optional>

namespace killswitch::decide {

/// @return nothing when the packet has no such field or is too short: the rule then does not match.
[[nodiscard]] std::optional<model::Value> load(const model::Packet& packet, const model::Operand& operand);

void apply_mask(model::Value& value, const model::Value& mask);

/// Raw bytes, numbers and addresses compare as they stand on the wire; an address is the same as a prefix it is in.
[[nodiscard]] bool same(const model::Value& loaded, const model::Value& element);

}  // namespace killswitch::decide
