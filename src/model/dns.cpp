#include "killswitch/model/dns.hpp"

#include "killswitch/base/text.hpp"

namespace killswitch::model {

std::string_view to_string(DnsBackend backend) {
  switch (backend) {
    case DnsBackend::file: return "file";
    case DnsBackend::networkmanager: return "networkmanager";
    case DnsBackend::resolved: return "resolved";
  }
  return "";
}

std::vector<std::string> nameservers_of(std::string_view resolv_conf) {
  constexpr std::string_view keyword = "nameserver";
  std::vector<std::string> found;
  for (const auto line : split(resolv_conf, '\n')) {
    if (!line.starts_with(keyword) || line.size() == keyword.size() ||
        (line[keyword.size()] != ' ' && line[keyword.size()] != '\t')) {
      continue;
    }
    const auto rest = trim(line.substr(keyword.size()));
    const auto word = rest.substr(0, rest.find_first_of(" \t;#"));
    const auto address = parse_ip_address(word);
    found.push_back(address ? to_string(*address) : std::string{word});
  }
  return found;
}

}  // namespace killswitch::model
