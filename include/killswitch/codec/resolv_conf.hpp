// resolv.conf(5): who is asked for names.
// @source resolv.conf(5); what the C library does not understand it passes over, and so do we
#pragma once

#include "killswitch/model/address.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec {

/// The file that names `servers` (the first three, as nobody reads more) and completes names with `search_domains`.
[[nodiscard]] std::string render_resolv_conf(const std::vector<model::IpAddress>& servers,
                                             const std::vector<std::string>& search_domains);

}  // namespace killswitch::codec
