// The servers of a VPN connection of NetworkManager's OpenVPN plugin, from its `vpn.data`.
// @source NetworkManager-openvpn 1.10: nmovpn_remote_parse() in shared/utils.c, nm_openvpn_start_openvpn_binary() in
//         src/nm-openvpn-service.c
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/endpoint.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec {

inline constexpr const char* networkmanager_openvpn_service = "org.freedesktop.NetworkManager.openvpn";

/// @param data the settings of the plugin: `remote` is a list of HOST[:PORT[:PROTOCOL]], separated by commas or spaces,
///        with [IPV6] in brackets where a port follows; `port` and `proto-tcp` hold for entries that do not say theirs
/// @return the servers in their order, without doubles; an error that names the entry, also for a connection through a
///         proxy or with `remote-random-hostname`, whose destinations cannot be known beforehand
[[nodiscard]] Result<std::vector<model::Remote>> parse_vpn_data(const std::map<std::string, std::string>& data);

/// RFC 4122, as NetworkManager writes it: 8-4-4-4-12 hex digits.
[[nodiscard]] bool is_uuid(std::string_view text);

}  // namespace killswitch::codec
