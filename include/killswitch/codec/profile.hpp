// An OpenVPN profile (.ovpn) as far as a kill switch needs it: where the server is, how OpenVPN's own packets are
// recognised, where its management interface is. Keys, certificates and passwords are read past, never kept.
// Semantics are those of OpenVPN 2.6, so that exactly those servers can be reached that OpenVPN will try.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/profile.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace killswitch::codec {

/// Gives the text of a file named by `config`. The name is as written: OpenVPN takes it relative to its own
/// working directory.
using IncludeReader = std::function<Result<std::string>(const std::string& path)>;

/// @param path only for messages: "client.ovpn"
/// @return an error as "client.ovpn:12: remote: '70000' is not a port (1 to 65535)"
/// @source openvpn(8); OpenVPN 2.6, src/openvpn/options.c
[[nodiscard]] Result<model::Profile> parse_profile(std::string_view text, const std::string& path,
                                                   const IncludeReader& read_include);

}  // namespace killswitch::codec
