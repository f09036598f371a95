// The sensor of OpenVPN's management interface against real sockets, a real openvpn and a stand-in for
// systemd-ask-password. Every case has its own directory; nothing sleeps, everything waits for a condition.
#include "killswitch/os/files.hpp"
#include "killswitch/sense/ask_password.hpp"
#include "killswitch/sense/openvpn.hpp"
#include "support/catch.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>
#include <csignal>
#include <filesystem>
#include <fstream>

namespace {

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::model::management;
using sense::OpenVpnSensor;
using Clock = std::chrono::steady_clock;

struct Directory {
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "killswitch-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
    REQUIRE(::chmod(name.c_str(), 0755) == 0);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

/// A loop with a sensor on it, and all that the sensor reported.
struct Bench {
  explicit Bench() : loop{os::EventLoop::create().value()} {}

  bool wait_for(const std::function<bool()>& condition, std::chrono::seconds limit = std::chrono::seconds{10}) {
    const auto end = Clock::now() + limit;
    while (!condition()) {
      if (Clock::now() > end) {
        return false;
      }
      sd_event_run(loop.native(), 10'000);
    }
    return true;
  }
  template <typename T>
  [[nodiscard]] std::size_t count() const {
    return static_cast<std::size_t>(
        std::count_if(events.begin(), events.end(), [](const Event& e) { return std::holds_alternative<T>(e); }));
  }
  template <typename T>
  [[nodiscard]] std::size_t received() const {
    return static_cast<std::size_t>(std::count_if(events.begin(), events.end(), [](const Event& e) {
      const auto* got = std::get_if<ManagementReceived>(&e);
      return got != nullptr && std::holds_alternative<T>(got->message);
    }));
  }
  template <typename T>
  [[nodiscard]] T last() const {
    for (auto at = events.rbegin(); at != events.rend(); ++at) {
      if (const auto* found = std::get_if<T>(&*at)) {
        return *found;
      }
    }
    FAIL("no such event");
    return {};
  }

  os::EventLoop loop;
  std::vector<Event> events;
  OpenVpnSensor sensor{loop, [this](Event event) { events.push_back(std::move(event)); }};
};

/// The other end of a socket; blocking, with a deadline.
struct Peer {
  explicit Peer(os::Fd socket) : fd{std::move(socket)} {}
  static Peer to(const std::string& path) {
    Peer peer{os::Fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)}};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::connect(peer.fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return peer;
  }
  void say(std::string_view text) const {
    REQUIRE(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  /// What came, until `enough` bytes or the end.
  [[nodiscard]] std::string hear(std::size_t enough) const {
    std::string text;
    while (text.size() < enough) {
      pollfd ready{fd.get(), POLLIN, 0};
      std::array<char, 4096> bytes{};
      const auto got = ::poll(&ready, 1, 5000) == 1 ? ::recv(fd.get(), bytes.data(), bytes.size(), 0) : 0;
      if (got <= 0) {
        break;
      }
      text.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return text;
  }
  [[nodiscard]] bool ended() const {
    char byte = 0;
    return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }
  os::Fd fd;
};

/// A program that listens, as OpenVPN with `management` alone.
struct Listener {
  static Listener at(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return bound(AF_UNIX, address);
  }
  static Listener on_loopback() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bound(AF_INET, address);
  }
  template <typename Address>
  static Listener bound(int family, const Address& address) {
    Listener listener{os::Fd{::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}};
    REQUIRE(::bind(listener.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener.fd.get(), 4) == 0);
    return listener;
  }
  [[nodiscard]] Port port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return Port{ntohs(address.sin_port)};
  }
  [[nodiscard]] os::Fd accept() const { return os::Fd{::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC)}; }
  os::Fd fd;
};

ManagementAddress at(const std::string& path) {
  return {UnixSocketPath{path}, {}};
}

/// Runs `what` as the user nobody in a process of its own and keeps it until the end of the test.
struct AsNobody {
  explicit AsNobody(const std::function<bool()>& what) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      const bool fine = ::setgid(65534) == 0 && ::setuid(65534) == 0 && what();
      const char answer = fine ? '1' : '0';
      static_cast<void>(!::write(ends[1], &answer, 1));
      ::pause();
      ::_exit(0);
    }
    char answer = 0;
    ready = ::read(ends[0], &answer, 1) == 1 && answer == '1';
    ::close(ends[0]);
    ::close(ends[1]);
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  pid_t pid{-1};
  bool ready{false};
};

bool is_root() {
  return ::geteuid() == 0;
}

}  // namespace

TEST_CASE("OpenVPN connects, talks, is answered and leaves") {
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  Bench bench;
  REQUIRE(bench.sensor.listen(path));
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  CHECK(bench.sensor.listen(path));  // again: nothing to do

  auto peer = Peer::to(path);
  peer.say(">INFO:OpenVPN Management Interface Version 5\r\n>HOLD:Waiting for hold release:0\r\n>REM");
  REQUIRE(bench.wait_for([&] { return bench.received<Hold>() == 1; }));
  const auto opened = bench.last<ManagementOpened>();
  CHECK(opened.direction == Direction::openvpn_connected);
  CHECK(opened.connection == ConnectionId{1});

  REQUIRE(bench.sensor.send(opened.connection, codec::encode_hold_release()));
  CHECK(peer.hear(13) == "hold release\n");
  peer.say("OTE:vpn.example.org,1194,udp\r\n");
  REQUIRE(bench.wait_for([&] { return bench.received<RemoteQuery>() == 1; }));

  peer.fd = os::Fd{};
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementClosed>() == 1; }));
  CHECK(bench.last<ManagementClosed>().reason == "OpenVPN closed it");
  CHECK(!bench.sensor.send(opened.connection, codec::encode_state()));

  const auto second = Peer::to(path);
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == 2; }));
  CHECK(bench.last<ManagementOpened>().connection == ConnectionId{2});
}

TEST_CASE("what stands where the socket should be") {
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  Bench bench;
  SECTION("a socket that a dead process left is replaced") {
    { const auto gone = Listener::at(path); }
    REQUIRE(std::filesystem::is_socket(path));
    CHECK(bench.sensor.listen(path));
    CHECK(Peer::to(path).fd);
  }
  SECTION("a socket that somebody listens on is not") {
    const auto other = Listener::at(path);
    const auto refused = bench.sensor.listen(path);
    REQUIRE(!refused);
    CHECK(refused.error().message() == "management socket: somebody else listens on " + path);
  }
  SECTION("a file is not") {
    std::ofstream{path} << "precious";
    const auto refused = bench.sensor.listen(path);
    REQUIRE(!refused);
    CHECK(refused.error().message() == fmt::format("management socket: {} is in the way: it is not a socket", path));
    CHECK(std::filesystem::file_size(path) == 8);
  }
  SECTION("a path that is too long, or relative") {
    CHECK(!bench.sensor.listen("/" + std::string(200, 'x')));
    CHECK(!bench.sensor.listen("openvpn.sock"));
  }
}

TEST_CASE("only so many connections") {
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  Bench bench;
  REQUIRE(bench.sensor.listen(path));
  std::vector<Peer> peers;
  for (std::size_t i = 0; i < OpenVpnSensor::connection_limit; ++i) {
    peers.push_back(Peer::to(path));
    REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == i + 1; }));
  }
  const auto refused = Peer::to(path);
  REQUIRE(bench.wait_for([&] { return refused.ended(); }));
  CHECK(bench.count<ManagementOpened>() == OpenVpnSensor::connection_limit);
  peers.pop_back();
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementClosed>() == 1; }));
  const auto taken = Peer::to(path);
  CHECK(bench.wait_for([&] { return bench.count<ManagementOpened>() == OpenVpnSensor::connection_limit + 1; }));
}

TEST_CASE("an OpenVPN that does not read is let go") {
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  Bench bench;
  REQUIRE(bench.sensor.listen(path));
  const auto peer = Peer::to(path);
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == 1; }));
  const std::string line = std::string(1000, 'x') + "\n";
  std::size_t sent = 0;
  while (bench.sensor.send(ConnectionId{1}, line) && sent < 100'000) {
    ++sent;
  }
  CHECK(sent < 2000);  // the kernel's buffers and ours
  CHECK(bench.last<ManagementClosed>().reason == "OpenVPN does not read what it is sent");
}

TEST_CASE("what did not fit at once is sent later, in order") {
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  Bench bench;
  REQUIRE(bench.sensor.listen(path));
  const auto peer = Peer::to(path);
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == 1; }));
  std::string expected;
  const int small = 4096;
  const auto ours = bench.sensor.descriptors().at(1).second;
  REQUIRE(::setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
  for (int i = 0; i < 3000; ++i) {
    const auto line = fmt::format("line {}\n", i);
    REQUIRE(bench.sensor.send(ConnectionId{1}, line));
    expected += line;
  }
  std::string heard;
  REQUIRE(bench.wait_for(
      [&] {
        std::array<char, 1000> bytes{};
        const auto got = ::recv(peer.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        heard.append(bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
        return heard.size() == expected.size();
      },
      std::chrono::seconds{30}));
  CHECK(heard == expected);
}

TEST_CASE("a flood keeps nobody waiting") {
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  Bench bench;
  REQUIRE(bench.sensor.listen(path));
  const auto loud = Peer::to(path);
  const auto quiet = Peer::to(path);
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == 2; }));
  const std::string noise(std::size_t{1} << 20U, '\n');
  REQUIRE(::fcntl(loud.fd.get(), F_SETFL, O_NONBLOCK) == 0);
  const auto shout = [&] { static_cast<void>(!::send(loud.fd.get(), noise.data(), noise.size(), MSG_NOSIGNAL)); };
  shout();
  quiet.say(">HOLD:x\n");
  int rounds = 0;
  for (; rounds < 20 && bench.received<Hold>() == 0; ++rounds) {
    shout();
    sd_event_run(bench.loop.native(), 10'000);
  }
  CHECK(rounds < 20);
}

TEST_CASE("connections outlive the sensor") {
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  auto first = std::make_unique<Bench>();
  REQUIRE(first->sensor.listen(path));
  const auto peer = Peer::to(path);
  const auto other = Peer::to(path);
  REQUIRE(first->wait_for([&] { return first->count<ManagementOpened>() == 2; }));

  std::vector<std::pair<std::string, os::Fd>> kept;  // what the service manager does
  for (const auto& [name, fd] : first->sensor.descriptors()) {
    kept.emplace_back(name, os::Fd{::fcntl(fd, F_DUPFD_CLOEXEC, 3)});
  }
  REQUIRE(kept.size() == 3);
  CHECK(kept[0].first == "mgmt-listen");
  CHECK(kept[1].first == "mgmt-1-in");
  CHECK(kept[2].first == "mgmt-2-in");
  first.reset();
  CHECK(!peer.ended());
  peer.say(">STATE:1,WAIT,,,,,,\r\n");

  Bench second;
  for (auto& [name, fd] : kept) {
    REQUIRE(second.sensor.adopt(name, std::move(fd)));
  }
  REQUIRE(second.sensor.listen(path));  // it does already
  CHECK(second.count<ManagementOpened>() == 2);
  REQUIRE(second.wait_for([&] { return second.received<State>() == 1; }));
  REQUIRE(second.sensor.send(ConnectionId{1}, codec::encode_state()));
  CHECK(peer.hear(6) == "state\n");
  const auto third = Peer::to(path);
  REQUIRE(second.wait_for([&] { return second.count<ManagementOpened>() == 3; }));
  CHECK(second.last<ManagementOpened>().connection == ConnectionId{3});
}

TEST_CASE("what is not ours is not adopted") {
  const Directory directory;
  Bench bench;
  const auto listener = Listener::at(directory / "x.sock");
  const auto copy = [&] { return os::Fd{::fcntl(listener.fd.get(), F_DUPFD_CLOEXEC, 3)}; };
  CHECK(!bench.sensor.adopt("mgmt-1-in", copy()));
  CHECK(!bench.sensor.adopt("mgmt-x-in", copy()));
  CHECK(!bench.sensor.adopt("mgmt--in", copy()));
  CHECK(!bench.sensor.adopt("nftables", copy()));
  CHECK(!bench.sensor.adopt("mgmt-listen", os::Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}));
  CHECK(!bench.sensor.adopt("mgmt-1-in", os::Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}));
  CHECK(!bench.sensor.adopt("mgmt-1-in", os::Fd{}));
  CHECK(bench.events.empty());
}

TEST_CASE("we connect to OpenVPN, and again when it comes back") {
  const Directory directory;
  const auto path = directory / "management.sock";
  Bench bench;
  bench.sensor.connect_to(at(path));
  REQUIRE(bench.events.empty());

  for (std::size_t round = 1; round <= 2; ++round) {
    std::filesystem::remove(path);
    const auto openvpn = Listener::at(path);
    REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == round; }));
    CHECK(bench.last<ManagementOpened>().direction == Direction::we_connected);
    const Peer peer{openvpn.accept()};
    REQUIRE(peer.fd);
    peer.say(">HOLD:x\n");
    REQUIRE(bench.wait_for([&] { return bench.received<Hold>() == round; }));
    REQUIRE(bench.sensor.send(bench.last<ManagementOpened>().connection, codec::encode_state_on()));
    CHECK(peer.hear(9) == "state on\n");
    CHECK(bench.sensor.descriptors().empty());
  }
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementClosed>() == 2; }));

  const auto other = Listener::at(directory / "other.sock");
  bench.sensor.connect_to(at(directory / "other.sock"));
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == 3; }));
  bench.sensor.connect_to(std::nullopt);
  CHECK(bench.count<ManagementClosed>() == 3);
}

TEST_CASE("a TCP management interface with a password") {
  const Directory directory;
  const auto secret = directory / "password";
  std::ofstream{secret} << "s3cr\"t\nsecond line\n";
  const auto openvpn = Listener::on_loopback();
  Bench bench;
  bench.sensor.connect_to(ManagementAddress{TcpAddress{parse_ip_address("127.0.0.1").value(), openvpn.port()}, secret});
  REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == 1; }));
  const Peer peer{openvpn.accept()};
  REQUIRE(peer.fd);
  peer.say("ENTER PASSWORD:");
  REQUIRE(bench.wait_for([&] { return bench.received<ChannelPasswordNeeded>() == 1; }));
  REQUIRE(bench.sensor.send_channel_password(bench.last<ManagementOpened>().connection));
  CHECK(peer.hear(7) == "s3cr\"t\n");
  std::filesystem::remove(secret);
  CHECK(!bench.sensor.send_channel_password(bench.last<ManagementOpened>().connection));
  CHECK(!bench.sensor.send_channel_password(ConnectionId{99}));
}

TEST_CASE("a management interface on another machine is not tried") {
  Bench bench;
  bench.sensor.connect_to(ManagementAddress{TcpAddress{parse_ip_address("192.0.2.1").value(), Port{7505}}, {}});
  CHECK(bench.events.empty());
}

TEST_CASE("another user is not believed") {
  if (!is_root()) {
    WARN("needs root to become somebody else");
    return;
  }
  const Directory directory;
  Bench bench;
  SECTION("who comes to our socket") {
    const auto path = directory / "openvpn.sock";
    REQUIRE(bench.sensor.listen(path));
    REQUIRE(::chmod(path.c_str(), 0666) == 0);
    const AsNobody stranger{[&] {
      auto peer = Peer::to(path);
      peer.say(">HOLD:x\n");
      return peer.fd.release() >= 0;
    }};
    REQUIRE(stranger.ready);
    const auto peer = Peer::to(path);
    REQUIRE(bench.wait_for([&] { return bench.count<ManagementOpened>() == 1; }));
    CHECK(bench.received<Hold>() == 0);
  }
  SECTION("who listens where OpenVPN should, unix") {
    const auto path = directory / "management.sock";
    REQUIRE(::chmod(directory.path.c_str(), 0777) == 0);
    const AsNobody stranger{[&] { return Listener::at(path).fd.release() >= 0; }};
    REQUIRE(stranger.ready);
    bench.sensor.connect_to(at(path));
    CHECK(!bench.wait_for([&] { return !bench.events.empty(); }, std::chrono::seconds{1}));
  }
  SECTION("who listens where OpenVPN should, TCP") {
    const auto port = Listener::on_loopback().port();
    const AsNobody stranger{[&] {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(port.number);
      return Listener::bound(AF_INET, address).fd.release() >= 0;
    }};
    REQUIRE(stranger.ready);
    bench.sensor.connect_to(ManagementAddress{TcpAddress{parse_ip_address("127.0.0.1").value(), port}, {}});
    CHECK(!bench.wait_for([&] { return !bench.events.empty(); }, std::chrono::seconds{1}));
  }
}

TEST_CASE("a real OpenVPN with our snippet holds, asks and takes the address") {
  if (!is_root() || !std::filesystem::exists("/usr/sbin/openvpn")) {
    WARN("needs root and openvpn");
    return;
  }
  const Directory directory;
  const auto path = directory / "openvpn.sock";
  auto snippet = os::read_file(std::string{PROJECT_ROOT} + "/packaging/openvpn/killswitch.conf").value();
  const std::string_view installed = "/run/killswitch/openvpn.sock";
  const auto where = snippet.find(installed);
  REQUIRE(where != std::string::npos);
  snippet.replace(where, installed.size(), path);
  std::ofstream{directory / "killswitch.conf"} << snippet;
  std::ofstream{directory / "client.ovpn"} << "dev null\nremote vpn.example.test 1194 udp\nnobind\nconfig "
                                           << directory / "killswitch.conf"
                                           << "\n";
  Bench bench;
  REQUIRE(bench.sensor.listen(path));
  const auto profile = directory / "client.ovpn";
  const pid_t openvpn = ::fork();
  REQUIRE(openvpn >= 0);
  if (openvpn == 0) {
    if (::unshare(CLONE_NEWNET) == 0) {  // nothing it sends gets anywhere
      const int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, STDOUT_FILENO);
      ::execl("/usr/sbin/openvpn", "openvpn", "--config", profile.c_str(), nullptr);
    }
    ::_exit(127);
  }
  const auto answer = [&](std::string line) {
    return bench.sensor.send(bench.last<ManagementOpened>().connection, std::move(line));
  };
  CHECK(bench.wait_for([&] { return bench.received<Hold>() == 1; }));
  if (bench.received<Hold>() == 1) {
    CHECK(answer(codec::encode_state_on()));
    CHECK(answer(codec::encode_state()));
    CHECK(bench.wait_for([&] { return bench.received<State>() == 1; }));
    CHECK(answer(codec::encode_hold_release()));
    CHECK(bench.wait_for([&] { return bench.received<RemoteQuery>() == 1; }));
    CHECK(answer(codec::encode_remote_mod(parse_ip_address("2001:db8::1").value(), Port{1194})));
    CHECK(bench.wait_for([&] { return bench.received<State>() >= 2; }));
    CHECK(bench.received<CommandRefused>() == 0);
  }
  ::kill(openvpn, SIGTERM);
  CHECK(bench.wait_for([&] { return bench.count<ManagementClosed>() == 1; }));
  ::kill(openvpn, SIGKILL);
  ::waitpid(openvpn, nullptr, 0);
  for (const auto& event : bench.events) {
    if (const auto* got = std::get_if<ManagementReceived>(&event)) {
      if (const auto* malformed = std::get_if<Malformed>(&got->message)) {
        // `dev null` has no device to report; anything else would be a line that we do not know.
        CHECK(malformed->reason.starts_with(">UPDOWN:UP: "));
      }
    }
  }
}

TEST_CASE("a password is asked for") {
  const Directory directory;
  const auto program = directory / "ask";
  const auto script = [&](const std::string& body) {
    std::ofstream{program} << "#!/bin/sh\n" << body << "\n";
    REQUIRE(::chmod(program.c_str(), 0755) == 0);
  };
  auto loop = os::EventLoop::create().value();
  sense::AskPassword asker{loop, program};
  std::vector<std::string> answers;
  const auto note = [&](const Result<std::string>& secret) {
    answers.push_back(secret ? "secret " + *secret : secret.error().message());
  };
  const auto wait_for = [&](std::size_t count) {
    const auto end = Clock::now() + std::chrono::seconds{10};
    while (answers.size() < count && Clock::now() < end) {
      sd_event_run(loop.native(), 10'000);
    }
    return answers.size() >= count;
  };

  SECTION("answered, one after the other") {
    script("for last; do :; done; echo \"$last $*\" >> " + directory / "log" + "; echo \"for $last\"");
    REQUIRE(asker.ask({"User\nname", sense::Question::Echo::yes}, note));
    REQUIRE(asker.ask({"Password"}, note));
    REQUIRE(wait_for(2));
    CHECK(answers == std::vector<std::string>{"secret for User\\x0aname", "secret for Password"});
    const auto log = os::read_file(directory / "log").value();
    CHECK(log.find("--echo -- User") != std::string::npos);
    CHECK(log.find("--timeout=120 -- Password") != std::string::npos);
  }
  SECTION("cancelled by the user") {
    script("exit 1");
    REQUIRE(asker.ask({"x"}, note));
    REQUIRE(wait_for(1));
    CHECK(answers[0] == fmt::format("ask for a password: cancelled, or nobody answered ({} ended with 1)", program));
  }
  SECTION("no such program") {
    REQUIRE(asker.ask({"x"}, note));
    REQUIRE(wait_for(1));
    CHECK(answers[0] == fmt::format("ask for a password: start {}: No such file or directory", program));
  }
  SECTION("an answer without an end") {
    script("head -c 20000 /dev/zero | tr '\\0' x");
    REQUIRE(asker.ask({"x"}, note));
    REQUIRE(wait_for(1));
    CHECK(answers[0] == "the answer is longer than 4096 bytes");
  }
  SECTION("taken back") {
    script("exec sleep 100");
    REQUIRE(asker.ask({"x"}, note));
    REQUIRE(asker.ask({"y"}, note));
    asker.cancel();
    script("echo z");
    REQUIRE(asker.ask({"z"}, note));
    REQUIRE(wait_for(1));
    CHECK(answers == std::vector<std::string>{"secret z"});
  }
  SECTION("too many") {
    script("exec sleep 100");
    for (std::size_t i = 0; i <= sense::AskPassword::question_limit; ++i) {
      REQUIRE(asker.ask({"x"}, note));
    }
    CHECK(!asker.ask({"x"}, note));
    asker.cancel();
  }
}
