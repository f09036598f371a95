#include "killswitch/sense/resolver.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>

namespace killswitch::sense {
namespace {

using namespace model;

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

int wanted_family(const Remote& remote) {
  if (!remote.family) {
    return AF_UNSPEC;
  }
  return *remote.family == Family::ipv4 ? AF_INET : AF_INET6;
}

void append(std::vector<IpAddress>& addresses, const addrinfo& entry) {
  IpAddress address;
  if (entry.ai_family == AF_INET) {
    sockaddr_in socket_address{};
    std::memcpy(&socket_address, entry.ai_addr, sizeof socket_address);
    std::memcpy(address.bytes.data(), &socket_address.sin_addr, 4);
  } else if (entry.ai_family == AF_INET6) {
    sockaddr_in6 socket_address{};
    std::memcpy(&socket_address, entry.ai_addr, sizeof socket_address);
    address.family = Family::ipv6;
    std::memcpy(address.bytes.data(), &socket_address.sin6_addr, 16);
  } else {
    return;
  }
  if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
    addresses.push_back(address);
  }
}

}  // namespace

PinnedRemote resolve(const Remote& remote, std::chrono::sys_seconds now) {
  PinnedRemote pinned{remote, {}, now, {}};
  if (const auto numeric = parse_ip_address(remote.host)) {
    if (remote.family && *remote.family != numeric->family) {
      pinned.failure = fmt::format("{} is of the other IP version than the profile insists on", remote.host);
    } else {
      pinned.addresses = {*numeric};
    }
    return pinned;
  }
  addrinfo hints{};
  hints.ai_family = wanted_family(remote);
  hints.ai_socktype = SOCK_STREAM;  // one entry an address
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(remote.host.c_str(), nullptr, &hints, &list);
  const std::unique_ptr<addrinfo, FreeAddresses> owner{list};
  if (error != 0) {
    pinned.failure = fmt::format("the name {} did not resolve: {}", remote.host, ::gai_strerror(error));
    return pinned;
  }
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    append(pinned.addresses, *entry);
  }
  if (pinned.addresses.empty()) {
    pinned.failure = fmt::format("the name {} has no address", remote.host);
  }
  return pinned;
}

}  // namespace killswitch::sense
