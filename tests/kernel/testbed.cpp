#include "testbed.hpp"

#include "killswitch/decide/facts.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/worlds.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

namespace killswitch::testing {
namespace {

using namespace model;

constexpr std::array<std::uint8_t, 6> link_mac{2, 0, 0, 0, 0, 2};
constexpr std::array<std::uint8_t, 6> outside_mac{2, 0, 0, 0, 0x0f, 2};
constexpr std::array<std::uint8_t, 6> bridge_mac{2, 0, 0, 0, 0, 9};
constexpr std::array<std::uint8_t, 6> guest_mac{2, 0, 0, 0, 0x0f, 9};

// Nothing but the test speaks: no address detection, no router solicitations, no rate limits on refusals. And nothing
// but the rules judges: any source is believed, everything is forwarded.
constexpr const char* host_setup = R"(
for f in all default; do
  echo 0 > /proc/sys/net/ipv4/conf/$f/rp_filter; echo 1 > /proc/sys/net/ipv4/conf/$f/accept_local
  echo 0 > /proc/sys/net/ipv4/conf/$f/send_redirects; echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad
  echo 0 > /proc/sys/net/ipv6/conf/$f/accept_ra; echo 0 > /proc/sys/net/ipv6/conf/$f/router_solicitations
  echo 1 > /proc/sys/net/ipv6/conf/$f/addr_gen_mode; echo 1 > /proc/sys/net/ipv6/conf/$f/forwarding
done 2>/dev/null
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/icmp_ratemask
echo 0 > /proc/sys/net/ipv6/icmp/ratelimit; echo > /proc/sys/net/ipv6/icmp/ratemask
ip link set lo up
ip link add wlo1 index 2 address 02:00:00:00:00:02 type veth peer name far address 02:00:00:00:0f:02 netns OUTSIDE
ip link add docker0 index 9 address 02:00:00:00:00:09 type bridge mcast_snooping 0
ip link add veth0 index 10 type veth peer name inner address 02:00:00:00:0f:09 netns GUEST
ip link set veth0 master docker0
for d in wlo1 docker0 veth0 tun0; do ip link set $d up; done
ip link set tun0 txqueuelen 8192
ip addr add 192.168.43.10/24 brd + dev wlo1; ip addr add 172.17.0.1/16 brd + dev docker0
ip addr add 192.168.255.2/24 dev tun0
ip addr add 2001:db8:43::10/64 dev wlo1 nodad; ip addr add fd00:17::1/64 dev docker0 nodad
ip addr add fe80::2/64 dev wlo1 nodad; ip addr add fe80::9/64 dev docker0 nodad
ip addr add fd00:0:0:feed::1000/64 dev tun0 nodad; ip addr add fe80::7/64 dev tun0 nodad
for a in 192.168.43.1 2001:db8:43::1 fe80::1; do ip neigh add $a lladdr 02:00:00:00:0f:02 dev wlo1; done
for a in 172.17.0.2 fd00:17::2 fe80::1; do ip neigh add $a lladdr 02:00:00:00:0f:09 dev docker0; done
ip route add default via 192.168.43.1 dev wlo1 metric 100; ip route add default dev tun0 metric 200
ip route add default via 172.17.0.2 dev docker0 metric 300
ip route add 198.18.0.0/16 dev tun0; ip route add 172.31.0.0/16 via 172.17.0.2
ip -6 route add default via 2001:db8:43::1 dev wlo1 metric 100; ip -6 route add default dev tun0 metric 200
ip -6 route add default via fd00:17::2 dev docker0 metric 300
ip -6 route add 2001:db8:7::/48 dev tun0; ip -6 route add 2001:db8:17::/48 via fd00:17::2
)";

os::Fd namespace_of_this_thread() {
  return os::Fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
}

/// Runs `body` in a namespace.
template <typename Body>
void within(const os::Fd& other, Body body) {
  const os::Fd home = namespace_of_this_thread();
  REQUIRE(::setns(other.get(), CLONE_NEWNET) == 0);
  body();
  REQUIRE(::setns(home.get(), CLONE_NEWNET) == 0);
}

os::Fd new_namespace() {
  const os::Fd home = namespace_of_this_thread();
  REQUIRE(::unshare(CLONE_NEWNET) == 0);
  os::Fd made = namespace_of_this_thread();
  // Nobody answers there: no addresses, no IPv6.
  REQUIRE(shell("for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done").status == 0);
  REQUIRE(::setns(home.get(), CLONE_NEWNET) == 0);
  return made;
}

std::string path_of(const os::Fd& fd) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd.get());
}

std::string replaced(std::string text, const std::string& word, const std::string& by) {
  text.replace(text.find(word), word.size(), by);
  return text;
}

os::Fd make_tunnel() {
  os::Fd fd{::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
  int index = static_cast<int>(test::tunnel.number);
  REQUIRE(::ioctl(fd.get(), TUNSETIFINDEX, &index) == 0);
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  std::memcpy(request.ifr_name, "tun0", 5);
  REQUIRE(::ioctl(fd.get(), TUNSETIFF, &request) == 0);
  return fd;
}

void roomy(int fd) {
  constexpr int bytes = 32 << 20;
  REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0);
}

os::Fd packet_socket(const char* device) {
  os::Fd fd{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL))};
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(device));
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  roomy(fd.get());
  return fd;
}

int result_of(ssize_t sent) {
  return sent < 0 ? errno : 0;
}

}  // namespace

Testbed::Testbed() {
  REQUIRE(::unshare(CLONE_NEWNET) == 0);  // each has a namespace of its own
  cpu_set_t one{};                        // one queue for everything: what is sent first arrives first
  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  make_links();
  make_sockets();
}

void Testbed::make_links() {
  outside_ = new_namespace();
  guest_ = new_namespace();
  tunnel_ = make_tunnel();
  const auto setup = replaced(replaced(host_setup, "OUTSIDE", path_of(outside_)), "GUEST", path_of(guest_));
  const auto output = shell("set -e\n" + setup);
  INFO(output.text);
  REQUIRE(output.status == 0);
  within(outside_, [] { REQUIRE(shell("ip link set far up").status == 0); });
  within(guest_, [] { REQUIRE(shell("ip link set inner up").status == 0); });
  links_ = test::laptop_protected().links;
  const auto add = [this](IfIndex index, std::initializer_list<const char*> addresses) {
    links_[index].addresses.clear();
    for (const auto* address : addresses) {
      links_[index].addresses.push_back(*parse_interface_address(address));
    }
  };
  add(test::wifi, {"192.168.43.10/24", "2001:db8:43::10/64", "fe80::2/64"});
  add(test::bridge, {"172.17.0.1/16", "fd00:17::1/64", "fe80::9/64"});
  add(test::tunnel, {"192.168.255.2/24", "fd00:0:0:feed::1000/64", "fe80::7/64"});
  links_[test::wifi].kind = "veth";
}

namespace {

/// OpenVPN's socket, and one of any other program.
constexpr std::uint16_t marked_port = 40000;
constexpr std::uint16_t unmarked_port = 40001;

os::Fd receiver(std::uint16_t port, std::uint32_t mark) {
  os::Fd fd{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  REQUIRE(::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0);
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

/// The port of this host's socket that a UDP datagram is for, or that an ICMP error quotes a datagram of.
std::optional<std::uint16_t> own_udp_port(const Packet& packet) {
  constexpr std::uint8_t icmp = 1, udp = 17, icmpv6 = 58;
  if (packet.protocol == udp && packet.destination_port) {
    return packet.destination_port->number;
  }
  const bool ipv4 = packet.destination.family == Family::ipv4;
  const bool error =
      packet.icmp_type && (ipv4 ? packet.protocol == icmp && (*packet.icmp_type == 3 || *packet.icmp_type == 11)
                                : packet.protocol == icmpv6 && *packet.icmp_type < 128);
  const std::size_t protocol_at = 8 + (ipv4 ? 9 : 6);
  const std::size_t ports_at = 8 + (ipv4 ? 20 : 40);
  const auto& bytes = packet.transport;
  if (!error || bytes.size() < ports_at + 8 || bytes[protocol_at] != udp) {
    return std::nullopt;
  }
  return static_cast<std::uint16_t>(bytes[ports_at] << 8U | bytes[ports_at + 1]);
}

}  // namespace

std::optional<std::uint32_t> Testbed::socket_mark_for(const Packet& packet) const {
  const auto port = packet.fragment_offset == 0 ? own_udp_port(packet) : std::nullopt;
  if (!port || !receivers_.contains(*port)) {
    return std::nullopt;
  }
  return *port == marked_port ? default_transport_mark : 0;
}

void Testbed::make_sockets() {
  receivers_[marked_port] = receiver(marked_port, default_transport_mark);
  receivers_[unmarked_port] = receiver(unmarked_port, 0);
  frames_ = os::Fd{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)};
  within(outside_, [this] { ends_.push_back({packet_socket("far"), Place::outside, 0, true, false}); });
  within(guest_, [this] { ends_.push_back({packet_socket("inner"), Place::guest, 0, true, false}); });
  ends_.push_back({os::Fd{::dup(tunnel_.get())}, Place::tunnel, 0, false, false});
  for (const int family : {AF_INET, AF_INET6}) {
    for (const std::uint8_t protocol : std::initializer_list<std::uint8_t>{1, 2, 6, 17, 41, 47, 58, 132}) {
      os::Fd fd{::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)};
      REQUIRE(fd);
      roomy(fd.get());
      ends_.push_back({std::move(fd), Place::here, protocol, false, family == AF_INET6});
    }
  }
}

model::World Testbed::placed(model::World world) const {
  for (auto& [index, link] : world.links) {
    link.addresses = links_.at(index).addresses;
    link.kind = links_.at(index).kind;
  }
  return world;
}

void Testbed::describe(decide::Journey& journey) const {
  Packet& packet = journey.packet;
  if (packet.iif) {
    packet.iifkind = links_.at(*packet.iif).kind;
    packet.fib_type = decide::fib_type_of(packet.destination, *packet.iif, links_);
  }
  if (packet.iif || packet.oif == loopback_ifindex) {
    packet.socket_mark = socket_mark_for(packet);
  }
  if (packet.oif) {
    packet.oifkind = links_.at(*packet.oif).kind;
    packet.oifname = links_.at(*packet.oif).name;
  }
}

Bytes Testbed::ethernet(std::uint16_t ether_type) const {
  Bytes header{outside_mac.begin(), outside_mac.end()};
  append(header, link_mac);
  append(header, wire_number(ether_type, 2));
  return header;
}

int Testbed::raw_socket(Family family, std::uint32_t uid) {
  auto& held = raw_[{family, uid}];
  if (!held) {
    const bool ipv4 = family == Family::ipv4;
    ::setfsuid(uid);  // what the socket's file remembers
    held = os::Fd{::socket(ipv4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
    ::setfsuid(0);
    REQUIRE(held);
    const int yes = 1;
    const int no = 0;
    ::setsockopt(held.get(), SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
    ::setsockopt(held.get(), IPPROTO_IP, IP_MULTICAST_LOOP, &no, sizeof no);
    ::setsockopt(held.get(), IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &no, sizeof no);
  }
  return held.get();
}

int Testbed::send_raw(const Packet& packet) {
  const int fd = raw_socket(packet.destination.family, packet.uid.value_or(0));
  const auto& name = packet.oifname;
  REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_MARK, &packet.mark, sizeof packet.mark) == 0);
  REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name.c_str(), static_cast<socklen_t>(name.size())) == 0);
  sockaddr_in to4{};
  to4.sin_family = AF_INET;
  std::memcpy(&to4.sin_addr, packet.destination.bytes.data(), 4);
  sockaddr_in6 to6{};
  to6.sin6_family = AF_INET6;
  to6.sin6_scope_id = packet.oif->number;
  std::memcpy(&to6.sin6_addr, packet.destination.bytes.data(), 16);
  const bool ipv4 = packet.destination.family == Family::ipv4;
  const auto* to = ipv4 ? reinterpret_cast<const sockaddr*>(&to4) : reinterpret_cast<const sockaddr*>(&to6);
  return result_of(::sendto(fd, packet.network.data(), packet.network.size(), 0, to, ipv4 ? sizeof to4 : sizeof to6));
}

int Testbed::send_frame(const std::string& device, std::uint16_t claimed_protocol, const Bytes& frame,
                        std::uint32_t mark) {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(claimed_protocol);
  to.sll_ifindex = static_cast<int>(::if_nametoindex(device.c_str()));
  REQUIRE(::setsockopt(frames_.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0);
  return result_of(
      ::sendto(frames_.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

bool Testbed::send_datagram(const IpAddress& to, Port port, std::uint32_t mark, std::size_t size) {
  const os::Fd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  REQUIRE(::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port.number);
  std::memcpy(&address.sin_addr, to.bytes.data(), 4);
  constexpr std::uint32_t sequence = 0x123456;
  Bytes bytes(size - trailer_size, 0);
  append(bytes, trailer(sequence));
  [[maybe_unused]] const auto sent =
      ::sendto(fd.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return collect()[sequence].places.contains(Place::outside);
}

const Testbed::End& Testbed::end(Place place) const {
  return *std::find_if(ends_.begin(), ends_.end(), [place](const End& one) { return one.place == place; });
}

int Testbed::send_from_peer(const Packet& packet) {
  if (packet.iif == test::tunnel) {
    return result_of(::write(tunnel_.get(), packet.network.data(), packet.network.size()));
  }
  const bool outside = packet.iif == test::wifi;
  const auto& to = outside ? link_mac : bridge_mac;
  const auto& from = outside ? outside_mac : guest_mac;
  Bytes frame{to.begin(), to.end()};
  append(frame, from);
  append(frame, wire_number(packet.destination.family == Family::ipv4 ? ETH_P_IP : ETH_P_IPV6, 2));
  append(frame, packet.network);
  return result_of(::send(end(outside ? Place::outside : Place::guest).fd.get(), frame.data(), frame.size(), 0));
}

int Testbed::send(const decide::Journey& journey) {
  const Packet& packet = journey.packet;
  switch (journey.way) {
    case decide::Way::sent: return send_raw(packet);
    case decide::Way::forwarded:
    case decide::Way::received: return send_from_peer(packet);
    case decide::Way::packet_socket: break;
  }
  const bool ipv4 = packet.destination.family == Family::ipv4;
  const auto claimed = packet.ether_type != 0 ? packet.ether_type : ipv4 ? ETH_P_IP : ETH_P_IPV6;
  Bytes frame = packet.link;
  append(frame, packet.network);
  return send_frame(packet.oifname, static_cast<std::uint16_t>(claimed), frame, packet.mark);
}

// --- collecting ----------------------------------------------------------------------------------------------------

void Testbed::send_barrier(std::uint32_t sequence) {
  Bytes frame = ethernet(ETH_P_ARP);
  append(frame, Bytes(28, 0));
  append(frame, trailer(sequence));
  REQUIRE(send_frame("wlo1", ETH_P_ARP, frame, barrier_mark) == 0);
  Bytes to_guest{guest_mac.begin(), guest_mac.end()};
  append(to_guest, View{frame}.subspan(6));
  REQUIRE(send_frame("docker0", ETH_P_ARP, to_guest, 0) == 0);
  Packet packet;
  packet.source = packet.destination = test::ip("127.0.0.1");
  packet.source_port = packet.destination_port = Port{9};
  packet.oifname = "lo";
  packet.oif = loopback_ifindex;
  packet.mark = barrier_mark;
  lay_out(packet, sequence);
  REQUIRE(send_frame("tun0", ETH_P_ARP, Bytes{frame.begin() + ETH_HLEN, frame.end()}, 0) == 0);
  REQUIRE(send_raw(packet) == 0);
}

void Testbed::drain(std::map<std::uint32_t, Seen>& seen) {
  std::array<std::uint8_t, 65536> buffer{};
  for (const auto& end : ends_) {
    ssize_t got = 0;
    while ((got = ::read(end.fd.get(), buffer.data(), buffer.size())) > 0) {
      View bytes = View{buffer}.first(static_cast<std::size_t>(got));
      if (end.frames && bytes.size() >= ETH_HLEN) {
        bytes = bytes.subspan(ETH_HLEN);
      }
      const auto sighting = end.ipv6_raw ? recognise(end.protocol, bytes) : recognise_network(bytes);
      if (!sighting) {
        continue;
      }
      Seen& entry = seen[sighting->sequence];
      switch (sighting->kind) {
        case Sighting::Kind::packet: entry.places.insert(end.place); break;
        case Sighting::Kind::unreachable: entry.unreachable = true; break;
        case Sighting::Kind::reset: entry.reset = true; break;
      }
    }
  }
}

std::map<std::uint32_t, Seen> Testbed::collect() {
  // A refusal is made while its packet is dealt with, and so stands behind the first barrier. The second one passes it.
  std::map<std::uint32_t, Seen> seen;
  for (int round = 0; round < 3; ++round) {
    const std::uint32_t barrier = next_barrier_++;
    send_barrier(barrier);
    const bool complete = eventually([&] {
      drain(seen);
      return seen[barrier].places.size() == 4;
    });
    INFO("the barrier came out at " << seen[barrier].places.size() << " of 4 places");
    REQUIRE(complete);
    seen.erase(barrier);
  }
  return seen;
}

}  // namespace killswitch::testing
