// Proving and marking against the real kernel, in a network namespace of its own (see CMakeLists.txt): whose socket
// sent a packet, which process has it and which tunnel device, and what the mark on a duplicate does.
#include "killswitch/enforce/transport_socket.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/process.hpp"
#include "killswitch/sense/processes.hpp"
#include "killswitch/sense/socket_holder.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

using namespace killswitch;
using killswitch::testing::eventually;
using killswitch::testing::shell;
using model::Endpoint;
using model::Packet;
using model::Port;

constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t udp = 17;
constexpr std::uint32_t mark = 0x6b73;

const auto self = static_cast<std::uint32_t>(::getpid());

/// A link to nowhere, with addresses of both families.
void make_link() {
  const auto made = shell(
      "set -e; ip link add wlo1 type veth peer name far; ip link set far up; ip link set lo up; ip link set wlo1 up; "
      "ip address add 192.0.2.10/24 dev "
      "wlo1; "
      "ip -6 address add 2001:db8::10/64 dev wlo1 nodad; ip route add default dev wlo1; ip -6 route add default dev "
      "wlo1");
  INFO(made.text);
  REQUIRE(made.status == 0);
}

std::uint32_t inode_of(int fd) {
  struct stat info {};
  REQUIRE(::fstat(fd, &info) == 0);
  return static_cast<std::uint32_t>(info.st_ino);
}

sockaddr_in6 any_address(std::uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  return address;
}

/// Bound to `port`; of both families.
os::Fd socket_at(std::uint16_t port, int kind = SOCK_DGRAM) {
  os::Fd fd{::socket(AF_INET6, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const auto address = any_address(port);
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

Packet sent(const char* from, std::uint16_t port, const char* to, std::uint8_t protocol) {
  Packet packet;
  packet.source = *model::parse_ip_address(from);
  packet.destination = *model::parse_ip_address(to);
  packet.protocol = protocol;
  packet.source_port = Port{port};
  packet.destination_port = Port{1194};
  packet.oif = model::IfIndex{::if_nametoindex("wlo1")};
  return packet;
}

}  // namespace

TEST_CASE("the socket that sent a packet is found, of either family and protocol") {
  make_link();
  auto lookup = sense::SocketLookup::open();
  REQUIRE(lookup);
  const auto datagrams = socket_at(40000);
  for (const auto& [from, to] :
       {std::pair{"192.0.2.10", "198.51.100.49"}, std::pair{"2001:db8::10", "2001:db8:1::1"}}) {
    INFO(from);
    const auto found = lookup->find_inode(sent(from, 40000, to, udp));
    REQUIRE(found);
    CHECK(*found == inode_of(datagrams.get()));
    CHECK_FALSE(lookup->find_inode(sent(from, 40001, to, udp)));
    CHECK_FALSE(lookup->find_inode(sent(from, 40000, to, tcp)));
  }
  // The kernel tells sockets with a peer apart from those without, and those that are bound to a device.
  auto peer = any_address(1194);
  REQUIRE(::inet_pton(AF_INET6, "::ffff:198.51.100.49", &peer.sin6_addr) == 1);
  const auto connected = socket_at(40002);
  REQUIRE(::connect(connected.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0);
  CHECK(lookup->find_inode(sent("192.0.2.10", 40002, "198.51.100.49", udp)).value() == inode_of(connected.get()));
  const auto bound = socket_at(40003);
  REQUIRE(::setsockopt(bound.get(), SOL_SOCKET, SO_BINDTODEVICE, "wlo1", 4) == 0);
  CHECK(lookup->find_inode(sent("192.0.2.10", 40003, "198.51.100.49", udp)).value() == inode_of(bound.get()));
  const auto opening = socket_at(40004, SOCK_STREAM);
  CHECK(::connect(opening.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) != 0);  // SYN is on its way
  CHECK(lookup->find_inode(sent("192.0.2.10", 40004, "198.51.100.49", tcp)).value() == inode_of(opening.get()));
}

TEST_CASE("a look-up costs the same with thousands of sockets") {
  make_link();
  auto lookup = sense::SocketLookup::open();
  REQUIRE(lookup);
  std::vector<os::Fd> many;
  for (std::uint16_t port = 20000; port < 20900; ++port) {
    many.push_back(socket_at(port));
  }
  for (std::uint16_t port = 20000; port < 20900; ++port) {
    const auto found = lookup->find_inode(sent("192.0.2.10", port, "198.51.100.49", udp));
    REQUIRE(found);
    CHECK(*found == inode_of(many[port - 20000U].get()));
  }
}

TEST_CASE("a mark on a duplicate is the socket's own, and a datagram is sent again through it") {
  make_link();
  const auto receiver = socket_at(1194);
  const auto sender = socket_at(40000);
  const auto process = os::open_process(self);
  REQUIRE(process);
  const auto descriptor = sense::find_descriptor(self, inode_of(sender.get()));
  REQUIRE(descriptor);
  CHECK(*descriptor == sender.get());
  {
    const auto duplicate = os::duplicate_of(*process, *descriptor);
    REQUIRE(duplicate);
    CHECK(inode_of(duplicate->get()) == inode_of(sender.get()));
    CHECK(enforce::is_udp(duplicate->get()));
    CHECK_FALSE(enforce::tcp_ends(duplicate->get()));
    REQUIRE(enforce::mark_socket(duplicate->get(), mark));
    const std::array<std::uint8_t, 4> word{1, 2, 3, 4};
    for (const char* to : {"192.0.2.10", "2001:db8::10"}) {  // through one socket, of both families
      INFO(to);
      REQUIRE(enforce::send_again(duplicate->get(), {*model::parse_ip_address(to), Port{1194}, model::Protocol::udp},
                                  word));
      std::array<std::uint8_t, 16> heard{};
      sockaddr_in6 from{};
      socklen_t size = sizeof from;
      REQUIRE(::recvfrom(receiver.get(), heard.data(), heard.size(), 0, reinterpret_cast<sockaddr*>(&from), &size) ==
              4);
      CHECK(ntohs(from.sin6_port) == 40000);
      CHECK(std::equal(word.begin(), word.end(), heard.begin()));
    }
  }
  CHECK(enforce::mark_of_socket(sender.get()).value() == mark);
}

TEST_CASE("the peer of a TCP socket, also of IPv4 through a socket of IPv6") {
  make_link();
  const auto opening = socket_at(40004, SOCK_STREAM);
  CHECK_FALSE(enforce::tcp_ends(opening.get()));
  CHECK_FALSE(enforce::is_opening_tcp(opening.get()));
  auto nowhere = any_address(1194);
  REQUIRE(::inet_pton(AF_INET6, "2001:db8:1::1", &nowhere.sin6_addr) == 1);
  const auto unanswered = socket_at(40005, SOCK_STREAM);
  CHECK(::connect(unanswered.get(), reinterpret_cast<const sockaddr*>(&nowhere), sizeof nowhere) != 0);
  CHECK(enforce::is_opening_tcp(unanswered.get()));
  CHECK_FALSE(enforce::tcp_ends(unanswered.get()));
  const auto listener = socket_at(1194, SOCK_STREAM);
  REQUIRE(::listen(listener.get(), 1) == 0);
  auto peer = any_address(1194);
  REQUIRE(::inet_pton(AF_INET6, "::ffff:192.0.2.10", &peer.sin6_addr) == 1);
  [[maybe_unused]] const int begun = ::connect(opening.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer);
  REQUIRE(eventually([&] { return enforce::tcp_ends(opening.get()).has_value(); }));
  CHECK(enforce::tcp_ends(opening.get())->own.port == Port{40004});
  CHECK(enforce::tcp_ends(opening.get())->peer ==
        Endpoint{*model::parse_ip_address("192.0.2.10"), Port{1194}, model::Protocol::tcp});
}

TEST_CASE("the tunnel devices that a process holds open are known by their index") {
  CHECK(sense::held_tunnels(self).empty());
  const os::Fd device{::open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
  REQUIRE(device);
  CHECK(sense::held_tunnels(self).empty());  // open, but attached to none
  ifreq request{};
  std::strncpy(request.ifr_name, "tun7", IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  REQUIRE(::ioctl(device.get(), TUNSETIFF, &request) == 0);
  CHECK(sense::held_tunnels(self) == std::vector{model::IfIndex{::if_nametoindex("tun7")}});
  REQUIRE(shell("ip link set tun7 name other").status == 0);
  CHECK(sense::held_tunnels(self) == std::vector{model::IfIndex{::if_nametoindex("other")}});
}

TEST_CASE("what /proc shows of a process: of this one everything, of one that has ended nothing") {
  const auto facts = sense::read_process(self);
  REQUIRE(facts);
  CHECK(facts->executable == *sense::executable_of(self));
  CHECK(facts->uids == std::array<std::uint32_t, 4>{0, 0, 0, 0});
  CHECK(facts->same_network_namespace);
  CHECK(facts->same_user_namespace);
  CHECK(sense::why_no_proof().empty());
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  const auto handle = os::open_process(static_cast<std::uint32_t>(child));
  REQUIRE(handle);
  CHECK(os::pid_of(handle->get()) == static_cast<std::uint32_t>(child));
  REQUIRE(eventually([&] { return os::has_ended(*handle); }));
  CHECK_FALSE(sense::read_process(static_cast<std::uint32_t>(child)));
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK_FALSE(os::open_process(static_cast<std::uint32_t>(child)));
  CHECK_FALSE(os::pid_of(handle->get()));
}

namespace {

std::vector<std::uint32_t> found(const std::vector<model::ProgramFile>& files) {
  std::vector<std::uint32_t> pids;
  sense::find_processes(files, [&](std::uint32_t pid) {
    pids.push_back(pid);
    return false;
  });
  return pids;
}

}  // namespace

TEST_CASE("processes of a program are found in this network namespace alone") {
  const std::vector<model::ProgramFile> ours{{{"this test", ""}, *sense::executable_of(self), {}, {}}};
  CHECK(found(ours) == std::vector<std::uint32_t>{self});
  // What is not there has no identity: it is nobody's program.
  CHECK(found(sense::inspect_programs({{"/no/such/program", ""}})).empty());
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(::unshare(CLONE_NEWNET) == 0 ? (::pause(), 0) : 1);
  }
  REQUIRE(eventually([&] {
    const auto facts = sense::read_process(static_cast<std::uint32_t>(child));
    return facts && !facts->same_network_namespace;
  }));
  CHECK(found(ours) == std::vector<std::uint32_t>{self});
  ::kill(child, SIGKILL);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
}

namespace {

/// Folders and files of a test, as root would have them.
class Place {
public:
  Place() {
    REQUIRE(::unshare(CLONE_NEWNS) == 0);
    const auto mounted = shell("mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /mnt");
    INFO(mounted.text);
    REQUIRE(mounted.status == 0);
  }
  static void program(const std::string& path, const char* text =
                                                   "\x7f"
                                                   "ELF") {
    std::ofstream{path} << text;
    REQUIRE(::chmod(path.c_str(), 0755) == 0);
  }
  static std::string untrusted(const std::string& path) {
    return sense::inspect_programs({{path, ""}}).at(0).untrusted;
  }
};

}  // namespace

TEST_CASE("a program is trusted only where no unprivileged user can put another one") {
  const Place place;
  REQUIRE(shell("mkdir /mnt/sbin /mnt/home; chown 1000 /mnt/home; mkdir -m 1777 /mnt/tmp").status == 0);
  Place::program("/mnt/sbin/openvpn");
  CHECK(Place::untrusted("/mnt/sbin/openvpn").empty());
  CHECK(Place::untrusted("/mnt/sbin/../sbin/./openvpn").empty());
  const auto find = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  SECTION("links of root are followed, and every folder on the way counts") {
    REQUIRE(shell("ln -s sbin/openvpn /mnt/first; ln -s /mnt/first /mnt/second; ln -s sbin /mnt/folder").status == 0);
    CHECK(Place::untrusted("/mnt/second").empty());
    CHECK(Place::untrusted("/mnt/folder/openvpn").empty());
    REQUIRE(shell("ln -s /mnt/sbin/openvpn /mnt/home/mine; ln -s /mnt/home/mine /mnt/third; "
                  "ln -s ../home/mine /mnt/sbin/fourth; ln -s /mnt/sbin /mnt/home/folder; ln -s loop /mnt/loop")
                .status == 0);
    for (const char* path : {"/mnt/home/mine", "/mnt/third", "/mnt/sbin/fourth", "/mnt/home/folder/openvpn"}) {
      INFO(path);
      CHECK(find(Place::untrusted(path), "/mnt/home belongs to uid 1000"));
    }
    CHECK(find(Place::untrusted("/mnt/loop"), "symbolic links"));
  }
  SECTION("a folder that others may write, also a sticky one") {
    Place::program("/mnt/tmp/openvpn");
    CHECK(find(Place::untrusted("/mnt/tmp/openvpn"), "/mnt/tmp can be written"));
    REQUIRE(::chmod("/mnt/sbin", 0775) == 0);
    CHECK(find(Place::untrusted("/mnt/sbin/openvpn"), "/mnt/sbin can be written"));
  }
  SECTION("a file of another, or that others may write") {
    REQUIRE(::chown("/mnt/sbin/openvpn", 1000, 0) == 0);
    CHECK(find(Place::untrusted("/mnt/sbin/openvpn"), "belongs to uid 1000"));
    REQUIRE(::chown("/mnt/sbin/openvpn", 0, 0) == 0);
    REQUIRE(::chmod("/mnt/sbin/openvpn", 0777) == 0);
    CHECK(find(Place::untrusted("/mnt/sbin/openvpn"), "can be written"));
  }
  SECTION("what is no program of its own") {
    Place::program("/mnt/sbin/script", "#!/bin/sh\n");
    CHECK(find(Place::untrusted("/mnt/sbin/script"), "is a script"));
    CHECK(find(Place::untrusted("/mnt/sbin"), "is not a program"));
    CHECK(find(Place::untrusted("/mnt/sbin/nothing"), "No such file"));
    REQUIRE(::chmod("/mnt/sbin/script", 0644) == 0);
    CHECK(find(Place::untrusted("/mnt/sbin/script"), "is not a program"));
  }
}
