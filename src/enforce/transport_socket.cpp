#include "killswitch/enforce/transport_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace killswitch::enforce {
namespace {

using model::Endpoint;
using model::Family;

constexpr std::size_t mapped_prefix = 12;  // ::ffff:0:0/96, RFC 4291

int option_of(int socket, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size{0};
};

/// As the socket's own family wants it: IPv4 through a socket of IPv6 is a mapped address.
Address address_for(int socket, const Endpoint& to) {
  Address address;
  if (option_of(socket, SO_DOMAIN) == AF_INET) {
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(to.port.number);
    std::memcpy(&four.sin_addr, to.address.bytes.data(), sizeof four.sin_addr);
    std::memcpy(&address.storage, &four, sizeof four);
    address.size = sizeof four;
    return address;
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(to.port.number);
  if (to.address.family == Family::ipv4) {
    six.sin6_addr.s6_addr[10] = 0xff;
    six.sin6_addr.s6_addr[11] = 0xff;
    std::memcpy(six.sin6_addr.s6_addr + mapped_prefix, to.address.bytes.data(), 4);
  } else {
    std::memcpy(&six.sin6_addr, to.address.bytes.data(), sizeof six.sin6_addr);
  }
  std::memcpy(&address.storage, &six, sizeof six);
  address.size = sizeof six;
  return address;
}

/// One end of a TCP socket; IPv4 through a socket of IPv6 is IPv4.
std::optional<Endpoint> end_of(int socket, int (*name)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (name(socket, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return std::nullopt;
  }
  if (storage.ss_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, &storage, sizeof four);
    const auto* octets = reinterpret_cast<const std::uint8_t*>(&four.sin_addr);
    return Endpoint{model::make_ip_address(Family::ipv4, {octets, 4}), {ntohs(four.sin_port)}, model::Protocol::tcp};
  }
  sockaddr_in6 six{};
  std::memcpy(&six, &storage, sizeof six);
  const std::span<const std::uint8_t> octets{six.sin6_addr.s6_addr, sizeof six.sin6_addr.s6_addr};
  const bool mapped = IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) != 0;
  const auto address = mapped ? model::make_ip_address(Family::ipv4, octets.subspan(mapped_prefix))
                              : model::make_ip_address(Family::ipv6, octets);
  return Endpoint{address, {ntohs(six.sin6_port)}, model::Protocol::tcp};
}

}  // namespace

Result<std::uint32_t> mark_of_socket(int socket) {
  std::uint32_t mark = 0;
  socklen_t size = sizeof mark;
  if (::getsockopt(socket, SOL_SOCKET, SO_MARK, &mark, &size) != 0) {
    return fail(errno, "read the mark of a socket");
  }
  return mark;
}

Outcome mark_socket(int socket, std::uint32_t mark) {
  if (::setsockopt(socket, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) {
    return fail(errno, "mark a socket");
  }
  return done();
}

Outcome send_again(int socket, const Endpoint& to, std::span<const std::uint8_t> payload) {
  const auto address = address_for(socket, to);
  const auto sent = ::sendto(socket, payload.data(), payload.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                             reinterpret_cast<const sockaddr*>(&address.storage), address.size);
  if (sent < 0) {
    return fail(errno, "send a datagram once more");
  }
  return done();
}

std::optional<TcpEnds> tcp_ends(int socket) {
  if (option_of(socket, SO_PROTOCOL) != IPPROTO_TCP) {
    return std::nullopt;
  }
  const auto own = end_of(socket, ::getsockname);
  const auto peer = end_of(socket, ::getpeername);
  return own && peer ? std::optional{TcpEnds{*own, *peer}} : std::nullopt;
}

bool is_opening_tcp(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return option_of(socket, SO_PROTOCOL) == IPPROTO_TCP &&
         ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_SYN_SENT;
}

bool is_udp(int socket) {
  const int domain = option_of(socket, SO_DOMAIN);
  return (domain == AF_INET || domain == AF_INET6) && option_of(socket, SO_PROTOCOL) == IPPROTO_UDP;
}

}  // namespace killswitch::enforce
