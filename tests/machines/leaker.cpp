// A program that wants out, from the first moment of a boot to the last of a shutdown: every millisecond a frame
// straight onto each interface, a datagram to a host of the internet, and one to everybody on the link. Static, so that
// it runs in any Debian; deaf to SIGTERM, so that only the end of the machine ends it.
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sys/socket.h>
#include <unistd.h>
#include <csignal>
#include <cstring>
#include <string_view>

namespace {

constexpr useconds_t pause_microseconds = 1000;

/// A broadcast Ethernet frame with an IPv4 datagram in it that no IP stack has seen.
constexpr std::string_view raw_frame{
    "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x43\x99\x08\x00"
    "\x45\x00\x00\x27\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\xcb\x00\x71\x07"
    "\x27\x0f\x27\x0f\x00\x13\x00\x00ksprobe-raw",
    53};

template <typename Address>
void send_to(int socket, std::string_view payload, const Address& to) {
  sockaddr_storage storage{};
  std::memcpy(&storage, &to, sizeof to);
  if (::sendto(socket, payload.data(), payload.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&storage),
               sizeof to) < 0) {
    return;  // refused, or no way there: tried again
  }
}

void leak_once(int packet, int udp4, int udp6) {
  sockaddr_in host{};
  host.sin_family = AF_INET;
  host.sin_port = htons(9999);
  host.sin_addr.s_addr = htonl(0xcb007107);  // 203.0.113.7
  send_to(udp4, "ksprobe-udp", host);
  struct if_nameindex* const names = ::if_nameindex();
  for (const auto* entry = names; entry != nullptr && entry->if_index != 0; ++entry) {
    if (std::string_view{entry->if_name} == "lo") {
      continue;
    }
    sockaddr_ll link{};
    link.sll_family = AF_PACKET;
    link.sll_protocol = htons(0x0800);
    link.sll_ifindex = static_cast<int>(entry->if_index);
    send_to(packet, raw_frame, link);
    sockaddr_in6 everybody{};
    everybody.sin6_family = AF_INET6;
    everybody.sin6_port = htons(9999);
    everybody.sin6_addr = {{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};
    everybody.sin6_scope_id = entry->if_index;
    send_to(udp6, "ksprobe-multicast", everybody);
  }
  if (names != nullptr) {
    ::if_freenameindex(names);
  }
}

}  // namespace

int main() {
  std::signal(SIGTERM, SIG_IGN);
  const int packet = ::socket(AF_PACKET, SOCK_RAW, 0);
  const int udp4 = ::socket(AF_INET, SOCK_DGRAM, 0);
  const int udp6 = ::socket(AF_INET6, SOCK_DGRAM, 0);
  for (;;) {
    leak_once(packet, udp4, udp6);
    ::usleep(pause_microseconds);
  }
}
