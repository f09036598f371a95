// How a dumped message is read: through the sieve, by libnftnl. Private to this folder.
#pragma once

#include "killswitch/model/ruleset.hpp"
#include "nft_sieve.hpp"

#include <string_view>

namespace killswitch::codec {

/// Reads a message with libnftnl's `parse`, after the sieve. @return false when it breaks the format
template <typename Object, typename Parse>
bool read(const nlmsghdr& message, std::span<const Known> known, const Object& object, Parse parse) {
  Sieve sieve{message};
  return sieve.copy(attributes_of(message), known) == Sieved::whole && parse(sieve.message(), object.get()) >= 0;
}

inline bool is(const model::Table& table, model::TableFamily family, std::string_view name) {
  return table.family == family && table.name == name;
}

}  // namespace killswitch::codec
