// Which directives OpenVPN 2.6 knows. A list of names and nothing else: it tells a typing error in a profile
// from an option that does not matter to a kill switch.
#pragma once

#include <string_view>

namespace killswitch::codec {

/// Letter case matters, as in OpenVPN.
[[nodiscard]] bool is_openvpn_option(std::string_view name);

}  // namespace killswitch::codec
