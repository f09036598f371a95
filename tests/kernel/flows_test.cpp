// Flows from before the lock, in a network namespace of its own (see CMakeLists.txt): sockets over a veth pair to
// another namespace, and the entries that connection tracking keeps of them.
#include "killswitch/enforce/flows.hpp"
#include "killswitch/os/fd.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>

namespace {

using namespace killswitch;
using killswitch::testing::Child;
using killswitch::testing::eventually;
using killswitch::testing::shell;

struct Address {
  sockaddr_storage bytes{};
  socklen_t size{0};
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&bytes); }
};

Address address_of(const std::string& text, std::uint16_t port) {
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.bytes);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.bytes);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.size = sizeof *v4;
  } else {
    REQUIRE(::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.size = sizeof *v6;
  }
  return address;
}

os::Fd connected(const std::string& text, std::uint16_t port, int kind) {
  auto address = address_of(text, port);
  os::Fd fd{::socket(address.bytes.ss_family, kind | SOCK_CLOEXEC, 0)};
  REQUIRE(fd);
  REQUIRE(::connect(fd.get(), address.get(), address.size) == 0);
  return fd;
}

/// Sends a word and wants it back.
bool answers(const os::Fd& fd) {
  std::array<char, 16> word{};
  if (::send(fd.get(), "word", 4, MSG_NOSIGNAL) != 4) {
    return false;
  }
  pollfd waiting{fd.get(), POLLIN, 0};
  return ::poll(&waiting, 1, 1000) == 1 && ::recv(fd.get(), word.data(), word.size(), 0) == 4;
}

/// The error that a destroyed socket gives once.
int pending_error(const os::Fd& fd) {
  int error = 0;
  socklen_t size = sizeof error;
  REQUIRE(::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  return error;
}

/// Repeats on `port` of every address, TCP and UDP, what it is told.
constexpr const char* echo_program = R"(import selectors, socket, sys
s = selectors.DefaultSelector()
def listen(kind, port):
    l = socket.socket(socket.AF_INET6, kind)
    l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    l.bind(("::", port))
    return l
def accept(l):
    s.register(l.accept()[0], selectors.EVENT_READ, repeat)
def repeat(c):
    try: word = c.recv(64)
    except OSError: word = b""
    if word: c.send(word)
    else: s.unregister(c)
def answer(d):
    word, sender = d.recvfrom(64)
    d.sendto(word, sender)
for port in (7, 1194):
    t = listen(socket.SOCK_STREAM, port); t.listen(16)
    s.register(t, selectors.EVENT_READ, accept)
    s.register(listen(socket.SOCK_DGRAM, port), selectors.EVENT_READ, answer)
open(sys.argv[1], "w").close()
while True:
    for key, _ in s.select(): key.data(key.fileobj)
)";

/// Our namespace has 192.0.2.1 and 2001:db8::1, the other one .2 and ::2; both repeat what they are told.
class Laboratory {
public:
  Laboratory() {
    const auto network = [](const std::string& process) {
      return std::filesystem::read_symlink("/proc/" + process + "/ns/net");
    };
    REQUIRE(network("self") != network(std::to_string(::getppid())));
    run("ip link set lo up");
    const std::string ready = std::filesystem::temp_directory_path() / ("flows-" + std::to_string(::getpid()));
    outside_ = std::make_unique<Child>([ready] {
      if (::unshare(CLONE_NEWNET) == 0) {
        ::execlp("python3", "python3", "-c", echo_program, (ready + "-outside").c_str(), nullptr);
      }
    });
    inside_ = std::make_unique<Child>(
        [ready] { ::execlp("python3", "python3", "-c", echo_program, (ready + "-inside").c_str(), nullptr); });
    for (const char* side : {"-outside", "-inside"}) {
      // long enough for an emulated machine, where an interpreter starts from files that it has to fetch
      REQUIRE(eventually([&] { return std::filesystem::remove(ready + side); }, std::chrono::minutes{2}));
    }
    const std::string there = "nsenter --net=/proc/" + std::to_string(outside_->pid()) + "/ns/net ip ";
    run("ip link add eth0 type veth peer name eth1 netns " + std::to_string(outside_->pid()));
    for (const std::string& command :
         {std::string{"ip link set eth0 up"}, there + "link set eth1 up",
          std::string{"ip address add 192.0.2.1/24 dev eth0"}, there + "address add 192.0.2.2/24 dev eth1",
          std::string{"ip address add 2001:db8::1/64 dev eth0 nodad"},
          there + "address add 2001:db8::2/64 dev eth1 nodad"}) {
      run(command);
    }
    REQUIRE(eventually([] { return shell("ping -c 1 -W 1 192.0.2.2; ping -c 1 -W 1 2001:db8::2").status == 0; }));
  }

private:
  static void run(const std::string& command) {
    const auto output = shell(command);
    INFO(command << ": " << output.text);
    REQUIRE(output.status == 0);
  }
  std::unique_ptr<Child> outside_;
  std::unique_ptr<Child> inside_;
};

struct Conversation {
  const char* address;
  std::uint16_t port;
  int kind;
  bool survives;
};

TEST_CASE("connections over a link end; those of this host with itself and the transport's stay") {
  const Laboratory laboratory;
  const std::vector<model::Endpoint> spared = {
      {*model::parse_ip_address("192.0.2.2"), {1194}, model::Protocol::udp},
      {*model::parse_ip_address("2001:db8::2"), {1194}, model::Protocol::tcp},
  };
  const Conversation conversations[] = {
      {"192.0.2.2", 7, SOCK_STREAM, false},
      {"2001:db8::2", 7, SOCK_STREAM, false},
      {"192.0.2.2", 7, SOCK_DGRAM, false},
      {"2001:db8::2", 7, SOCK_DGRAM, false},
      {"::ffff:192.0.2.2", 7, SOCK_STREAM, false},
      {"::ffff:192.0.2.2", 7, SOCK_DGRAM, false},
      {"192.0.2.2", 1194, SOCK_STREAM, false},
      {"2001:db8::2", 1194, SOCK_DGRAM, false},
      {"192.0.2.2", 1194, SOCK_DGRAM, true},
      {"2001:db8::2", 1194, SOCK_STREAM, true},
      {"::ffff:192.0.2.2", 1194, SOCK_DGRAM, true},
      {"127.0.0.1", 7, SOCK_STREAM, true},
      {"::1", 7, SOCK_STREAM, true},
      {"127.0.0.1", 7, SOCK_DGRAM, true},
      {"::1", 7, SOCK_DGRAM, true},
      {"192.0.2.1", 7, SOCK_STREAM, true},
      {"::ffff:127.0.0.1", 7, SOCK_DGRAM, true},
  };
  std::vector<os::Fd> sockets;
  for (const auto& conversation : conversations) {
    sockets.push_back(connected(conversation.address, conversation.port, conversation.kind));
    REQUIRE(answers(sockets.back()));
  }
  const auto report = enforce::cut_flows(spared);
  CHECK(report.problems.empty());
  CHECK(report.sockets == 8);
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    INFO(conversations[i].address << " port " << conversations[i].port << " kind " << conversations[i].kind);
    CHECK(pending_error(sockets[i]) == (conversations[i].survives ? 0 : ECONNABORTED));
    CHECK(answers(sockets[i]) == conversations[i].survives);
  }
  CHECK(enforce::cut_flows(spared).sockets == 0);
}

TEST_CASE("listening sockets and those without a peer stay, and new flows work") {
  const Laboratory laboratory;
  os::Fd unconnected{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  auto there = address_of("192.0.2.2", 7);
  const auto send = [&] { return ::sendto(unconnected.get(), "word", 4, 0, there.get(), there.size) == 4; };
  CHECK(send());
  CHECK(enforce::cut_flows({}).problems.empty());
  CHECK(pending_error(unconnected) == 0);
  CHECK(send());
  CHECK(answers(connected("192.0.2.2", 7, SOCK_STREAM)));
  CHECK(answers(connected("192.0.2.1", 7, SOCK_STREAM)));
}

TEST_CASE("connection tracking forgets what went over a link") {
  const Laboratory laboratory;
  if (shell("nft add table ip track && nft 'add chain ip track out { type filter hook output priority 0; }' && "
            "nft add rule ip track out ct state new accept")
          .status != 0) {
    WARN("this kernel has no connection tracking");
    return;
  }
  const auto link = connected("192.0.2.2", 7, SOCK_STREAM);
  const auto transport = connected("192.0.2.2", 1194, SOCK_DGRAM);
  const auto loopback = connected("127.0.0.1", 7, SOCK_STREAM);
  REQUIRE((answers(link) && answers(transport) && answers(loopback)));
  const std::vector<model::Endpoint> spared = {{*model::parse_ip_address("192.0.2.2"), {1194}, model::Protocol::udp}};
  const auto tracks = [](const std::string& what) {
    return shell("conntrack -L 2>/dev/null | grep -c '" + what + "'").text != "0\n";
  };
  REQUIRE((tracks("dst=192.0.2.2.*dport=7 ") && tracks("dport=1194") && tracks("dst=127.0.0.1")));
  const auto report = enforce::cut_flows(spared);
  CHECK(report.problems.empty());
  CHECK(report.tracked >= 1);
  CHECK_FALSE(tracks("dst=192.0.2.2.*dport=7 "));
  CHECK(tracks("dport=1194"));
  CHECK(tracks("dst=127.0.0.1"));
}

}  // namespace
