// What there is to know about a link before something is sent on it.
#include "leak_parts.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/next_hop.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <linux/netlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

namespace killswitch::sense {
namespace {

using model::Family;
using model::IpAddress;

// How long neighbours may take to answer, and how often it is looked.
constexpr int neighbour_rounds = 12;
constexpr useconds_t neighbour_pause = 50'000;
constexpr codec::MacAddress everybody{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

ifreq request_for(const model::Link& link) {
  ifreq request{};
  const auto size = std::min(link.name.size(), sizeof request.ifr_name - 1);
  std::memcpy(request.ifr_name, link.name.data(), size);
  return request;
}

void read_device(int socket, ProbeLink& link) {
  auto request = request_for(link.link);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) == 0) {
    link.carrier = (request.ifr_flags & IFF_RUNNING) != 0;
    // Without neighbours to resolve, every packet becomes a frame at once.
    link.reaches4 = link.reaches6 = (request.ifr_flags & (IFF_NOARP | IFF_POINTOPOINT)) != 0;
  }
  if (::ioctl(socket, SIOCGIFHWADDR, &request) == 0) {
    link.ethernet = request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
    std::memcpy(link.hardware.data(), request.ifr_hwaddr.sa_data, link.hardware.size());
  }
  link.gateway_hardware = everybody;
  if (::ioctl(socket, SIOCGIFMTU, &request) == 0) {
    link.mtu = static_cast<std::size_t>(request.ifr_mtu);
  }
}

void read_addresses(ProbeLink& link) {
  for (const auto& held : link.link.addresses) {
    if (held.address.family == Family::ipv6) {
      if (!is_link_local(held.address) && !link.source6) {
        link.source6 = held.address;
      }
      continue;
    }
    if (link.source4) {
      continue;
    }
    link.source4 = held.address;
    link.broadcast = held.address;
    for (unsigned bit = held.prefix_length; bit < 32; ++bit) {
      link.broadcast->bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
    }
  }
}

Outcome find_gateways(os::NetlinkSocket& socket, ProbeLink& link) {
  for (const auto family : {Family::ipv4, Family::ipv6}) {
    auto& gateway = family == Family::ipv4 ? link.gateway4 : link.gateway6;
    const auto query =
        codec::encode_route_query(socket.next_sequence(), documentation_address(family), link.link.index);
    auto asked = socket.ask(query, [&](std::span<const std::uint8_t> datagram) {
      gateway = codec::decode_gateway(datagram, link.link.index);
      return true;
    });
    if (!asked) {
      return fail(asked.error().within("ask for routes"));
    }
    if (gateway) {
      // No acknowledgement is asked for; whether the neighbour answers is seen later.
      if (auto used = socket.send(codec::encode_neighbour_use(socket.next_sequence(), *gateway, link.link.index));
          !used) {
        return used;
      }
    }
  }
  return done();
}

void note_neighbour(const codec::Neighbour& neighbour, std::vector<ProbeLink>& links) {
  for (auto& link : links) {
    const auto family = neighbour.address.family;
    if (link.link.index != neighbour.link || link.gateway(family) != neighbour.address) {
      continue;
    }
    (family == Family::ipv4 ? link.reaches4 : link.reaches6) = true;
    if (neighbour.hardware.size() == link.gateway_hardware.size()) {
      std::copy(neighbour.hardware.begin(), neighbour.hardware.end(), link.gateway_hardware.begin());
    }
  }
}

/// @return a router whose link-layer address is still unknown
Result<bool> look_for_neighbours(os::NetlinkSocket& socket, std::vector<ProbeLink>& links) {
  for (const auto family : {Family::ipv4, Family::ipv6}) {
    const auto dump = codec::encode_neighbour_dump(socket.next_sequence(), family);
    auto asked = socket.ask(dump, [&](std::span<const std::uint8_t> datagram) {
      const auto neighbours = codec::decode_neighbours(datagram);
      for (const auto& neighbour : neighbours.usable) {
        note_neighbour(neighbour, links);
      }
      return neighbours.complete;
    });
    if (!asked) {
      return fail(asked.error().within("ask for neighbours"));
    }
  }
  return std::any_of(links.begin(), links.end(), [](const ProbeLink& link) {
    return link.carrier && ((link.gateway4 && !link.reaches4) || (link.gateway6 && !link.reaches6));
  });
}

}  // namespace

IpAddress documentation_address(Family family) {
  constexpr std::array<std::uint8_t, 4> nobody4{203, 0, 113, 200};
  constexpr std::array<std::uint8_t, 16> nobody6{0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200};
  return family == Family::ipv4 ? model::make_ip_address(family, nobody4) : model::make_ip_address(family, nobody6);
}

Result<std::vector<ProbeLink>> survey(const std::vector<model::Link>& links) {
  const os::Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket) {
    return fail(errno, "look at the links");
  }
  auto netlink = os::NetlinkSocket::open(NETLINK_ROUTE);
  if (!netlink) {
    return fail(netlink.error());
  }
  std::vector<ProbeLink> found;
  for (const auto& link : links) {
    ProbeLink probed;
    probed.link = link;
    read_device(socket.get(), probed);
    read_addresses(probed);
    if (auto asked = find_gateways(*netlink, probed); !asked) {
      return fail(asked.error().within(link.name));
    }
    found.push_back(std::move(probed));
  }
  for (int round = 0; round < neighbour_rounds; ++round) {
    const auto missing = look_for_neighbours(*netlink, found);
    if (!missing) {
      return fail(missing.error());
    }
    if (!*missing) {
      break;
    }
    ::usleep(neighbour_pause);
  }
  return found;
}

std::uint64_t sent_by_driver(const std::string& interface) {
  constexpr std::size_t tx_packets_column = 9;
  std::ifstream file{"/proc/self/net/dev"};
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos || trim(std::string_view{line}.substr(0, colon)) != interface) {
      continue;
    }
    std::size_t column = 0;
    for (const auto word : split(std::string_view{line}.substr(colon + 1), ' ')) {
      if (!word.empty() && column++ == tx_packets_column) {
        std::uint64_t packets = 0;
        std::from_chars(word.data(), word.data() + word.size(), packets);
        return packets;
      }
    }
  }
  return 0;
}

}  // namespace killswitch::sense
