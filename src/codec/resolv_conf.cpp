#include "killswitch/codec/resolv_conf.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/model/dns.hpp"

namespace killswitch::codec {

std::string render_resolv_conf(const std::vector<model::IpAddress>& servers,
                               const std::vector<std::string>& search_domains) {
  std::string text =
      "# Written by killswitchd: names are asked for in the VPN tunnel only.\n"
      "# What was here before comes back with `killswitch disable`; changes to this file are undone.\n";
  for (std::size_t i = 0; i < servers.size() && i < model::resolver_limit; ++i) {
    text += "nameserver " + model::to_string(servers[i]) + "\n";
  }
  if (!search_domains.empty()) {
    text += "search " + join(search_domains, " ") + "\n";
  }
  return text;
}

}  // namespace killswitch::codec
