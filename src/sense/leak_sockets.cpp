// Puts one probe on its way through a socket of the IP layer or a packet socket. Nothing here waits.
#include "leak_parts.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace killswitch::sense {
namespace {

using codec::ProbeTie;
using codec::ProbeWay;
using model::Family;
using model::IpAddress;

// Any mark that is nobody's: neither ours nor a usual one of policy routing.
constexpr int arbitrary_mark = 0x7e57;
constexpr std::uint16_t unknown_ether_type = 0x88b5;  // IEEE 802, local experimental
constexpr std::uint16_t vlan_tag = 5;
constexpr std::size_t most_fragmented = 60'000;  // bytes of one datagram

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size{0};
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const IpAddress& address, std::uint16_t port, std::uint32_t scope) {
  SocketAddress result;
  if (address.family == Family::ipv4) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    std::memcpy(&in.sin_addr, address.bytes.data(), sizeof in.sin_addr);
    std::memcpy(&result.storage, &in, sizeof in);
    result.size = sizeof in;
    return result;
  }
  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  std::memcpy(&in6.sin6_addr, address.bytes.data(), sizeof in6.sin6_addr);
  const bool scoped = address.bytes[0] == 0xff || (address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0U) == 0x80);
  in6.sin6_scope_id = scoped ? scope : 0;
  std::memcpy(&result.storage, &in6, sizeof in6);
  result.size = sizeof in6;
  return result;
}

bool is_raw(ProbeWay way) {
  return way == ProbeWay::echo || way == ProbeWay::protocol || way == ProbeWay::header;
}

std::uint32_t index_of(const Shot& shot) {
  return shot.link->link.index.number;
}

os::Fd open_socket(const Shot& shot) {
  const bool ipv4 = shot.family == Family::ipv4;
  int kind = SOCK_DGRAM;
  int protocol = 0;
  if (shot.way == ProbeWay::connection) {
    kind = SOCK_STREAM;
  } else if (is_raw(shot.way)) {
    kind = SOCK_RAW;
    protocol = shot.way == ProbeWay::protocol ? int{shot.number} : int{IPPROTO_RAW};
    if (shot.way == ProbeWay::echo) {
      protocol = ipv4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
    }
  }
  return os::Fd{::socket(ipv4 ? AF_INET : AF_INET6, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)};
}

bool set(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

/// @return false with errno when the kernel does not let us
bool tie(int fd, const Shot& shot) {
  const bool ipv4 = shot.family == Family::ipv4;
  const auto& name = shot.link->link.name;
  const auto bind_device = [&] {
    return ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name.data(), static_cast<socklen_t>(name.size())) == 0;
  };
  switch (shot.probe->tie) {
    case ProbeTie::source: {
      const auto& source = shot.link->source(shot.family);
      if (!source) {
        errno = EADDRNOTAVAIL;
        return false;
      }
      const auto address = socket_address(*source, 0, index_of(shot));
      return ::bind(fd, address.get(), address.size) == 0;
    }
    case ProbeTie::device:
    case ProbeTie::dont_route: return bind_device();
    case ProbeTie::mark: return bind_device() && set(fd, SOL_SOCKET, SO_MARK, arbitrary_mark);
    case ProbeTie::unicast_interface: {
      const auto index = static_cast<int>(htonl(index_of(shot)));
      return ipv4 ? set(fd, IPPROTO_IP, IP_UNICAST_IF, index) : set(fd, IPPROTO_IPV6, IPV6_UNICAST_IF, index);
    }
    case ProbeTie::packet_info: return true;
  }
  return true;
}

std::string payload_of(const Shot& shot) {
  const auto text = [](const codec::Bytes& bytes) { return std::string{bytes.begin(), bytes.end()}; };
  if (shot.way == ProbeWay::question) {
    return text(codec::build_dns_question(shot.token));
  }
  if (shot.way == ProbeWay::echo) {
    return text(codec::build_echo_request(shot.family, shot.token));
  }
  if (shot.way == ProbeWay::fragments) {
    return codec::repeat_token(shot.token, std::min(shot.link->mtu * 2 + 100, most_fragmented));
  }
  if (shot.way == ProbeWay::header) {
    // Where the link has no address the packet says 0.0.0.0, and the kernel fills in what it finds.
    const auto source = shot.link->source(shot.family).value_or(IpAddress{shot.family, {}});
    return text(codec::build_udp_packet({source, shot.target, model::Port{shot.number}, shot.token}));
  }
  return shot.token;
}

template <typename Info>
void add_control(msghdr& message, std::span<char> space, int level, const Info& info) {
  message.msg_control = space.data();
  message.msg_controllen = CMSG_SPACE(sizeof info);
  cmsghdr* control = CMSG_FIRSTHDR(&message);
  control->cmsg_level = level;
  control->cmsg_type = level == IPPROTO_IP ? IP_PKTINFO : IPV6_PKTINFO;
  control->cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(CMSG_DATA(control), &info, sizeof info);
}

int send_datagram(int fd, const Shot& shot) {
  auto payload = payload_of(shot);
  auto address = socket_address(shot.target, is_raw(shot.way) ? std::uint16_t{0} : shot.number, index_of(shot));
  iovec part{payload.data(), payload.size()};
  msghdr message{};
  message.msg_name = &address.storage;
  message.msg_namelen = address.size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in6_pktinfo))> space{};
  if (shot.probe->tie == ProbeTie::packet_info && shot.family == Family::ipv4) {
    in_pktinfo info{};
    info.ipi_ifindex = static_cast<int>(index_of(shot));
    add_control(message, space, IPPROTO_IP, info);
  } else if (shot.probe->tie == ProbeTie::packet_info) {
    in6_pktinfo info{};
    info.ipi6_ifindex = index_of(shot);
    add_control(message, space, IPPROTO_IPV6, info);
  }
  const int flags = shot.probe->tie == ProbeTie::dont_route ? MSG_DONTROUTE : 0;
  return ::sendmsg(fd, &message, flags) < 0 ? errno : 0;
}

std::uint16_t local_port(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return 0;
  }
  sockaddr_in in{};  // sin6_port stands at the same place
  std::memcpy(&in, &storage, sizeof in);
  return ntohs(in.sin_port);
}

void allow_groups(int fd, const Shot& shot) {
  // For unicast neither has an effect; a refusal shows when the packet is sent.
  (void)set(fd, SOL_SOCKET, SO_BROADCAST, 1);
  const int index = static_cast<int>(index_of(shot));
  if (shot.family == Family::ipv6) {
    (void)set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index);
  }
}

/// EtherTypes of a frame; VLAN tags stand between them.
std::vector<std::uint16_t> types_of(const Shot& shot) {
  const auto ip = static_cast<std::uint16_t>(shot.family == Family::ipv4 ? ETH_P_IP : ETH_P_IPV6);
  if (shot.way == ProbeWay::unknown_frame) {
    return {unknown_ether_type};
  }
  if (shot.way == ProbeWay::tagged_frame) {
    return {ETH_P_8021Q, vlan_tag, ip};
  }
  return {ip};
}

codec::Bytes frame_of(const Shot& shot) {
  codec::Bytes inside{shot.token.begin(), shot.token.end()};
  if (shot.way != ProbeWay::unknown_frame) {
    const auto source = shot.link->source(shot.family).value_or(IpAddress{shot.family, {}});
    inside = codec::build_udp_packet({source, shot.target, model::Port{shot.number}, shot.token});
  }
  if (!shot.link->ethernet || shot.way == ProbeWay::cooked_frame) {
    return inside;
  }
  return codec::build_frame(shot.link->gateway_hardware, shot.link->hardware, types_of(shot), inside);
}

}  // namespace

Sent send_packet(const Shot& shot) {
  Sent sent;
  sent.socket = open_socket(shot);
  const int fd = sent.socket.get();
  if (!sent.socket || !tie(fd, shot)) {
    sent.errno_value = errno;
    return sent;
  }
  if (shot.way == ProbeWay::connection) {
    const auto address = socket_address(shot.target, shot.number, index_of(shot));
    const bool refused = ::connect(fd, address.get(), address.size) != 0 && errno != EINPROGRESS;
    sent.errno_value = refused ? errno : 0;
    sent.source_port = local_port(fd);
    return sent;
  }
  allow_groups(fd, shot);
  sent.errno_value = send_datagram(fd, shot);
  return sent;
}

Sent send_frame(const Shot& shot) {
  Sent sent;
  const int kind = shot.way == ProbeWay::cooked_frame ? SOCK_DGRAM : SOCK_RAW;
  sent.socket = os::Fd{::socket(AF_PACKET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!sent.socket) {
    sent.errno_value = errno;
    return sent;
  }
  const bool direct = shot.way == ProbeWay::direct_frame;
  if (direct && !set(sent.socket.get(), SOL_PACKET, PACKET_QDISC_BYPASS, 1)) {
    sent.errno_value = errno;
    return sent;
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(types_of(shot).front());
  address.sll_ifindex = static_cast<int>(index_of(shot));
  address.sll_halen = static_cast<unsigned char>(shot.link->gateway_hardware.size());
  std::memcpy(address.sll_addr, shot.link->gateway_hardware.data(), shot.link->gateway_hardware.size());
  const auto frame = frame_of(shot);
  for (unsigned number = 0; number < (direct ? direct_frames : 1U); ++number) {
    if (::sendto(sent.socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&address),
                 sizeof address) < 0) {
      sent.errno_value = errno;
    } else {
      ++sent.taken;
    }
  }
  return sent;
}

}  // namespace killswitch::sense
