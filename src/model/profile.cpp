#include "killswitch/model/profile.hpp"

#include <fmt/format.h>

namespace killswitch::model {

std::string to_string(const ManagementAddress& address) {
  if (const auto* unix_path = std::get_if<UnixSocketPath>(&address.where)) {
    return unix_path->path;
  }
  const auto& tcp = std::get<TcpAddress>(address.where);
  return fmt::format("{} port {}", to_string(tcp.address), tcp.port.number);
}

}  // namespace killswitch::model
