// The journal of what was changed about names ↔ JSON. Contents of files are kept byte for byte: each byte is the
// character of the same number.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/dns.hpp"

#include <string>
#include <string_view>

namespace killswitch::codec {

[[nodiscard]] std::string render_dns_journal(const model::DnsJournal& journal);
/// @param source what an error names
[[nodiscard]] Result<model::DnsJournal> parse_dns_journal(std::string_view text, const std::string& source);

}  // namespace killswitch::codec
