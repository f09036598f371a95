// Sends what an OpenVPN sends first, from new sockets, for connect_bench.py and storm_bench.py.
//
// datagram_sender ADDRESS PORT obeys standard input, line by line: "udp" sends a datagram from a new socket, "tcp"
// begins a connection from a new socket, "again" sends once more from the latest UDP socket. It prints the source port
// and the time before the system call (CLOCK_REALTIME, ns). datagram_sender --storm ADDRESS PORT sends each datagram
// from a new socket, as fast as it can, until standard input closes, and prints how many.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

namespace {

constexpr std::size_t sockets_kept = 256;  // so that the owner of a socket can still be looked up
constexpr std::uint64_t sent_between_looks = 64;
constexpr std::string_view payload = "datagram of a benchmark, as long as OpenVPN's first one is...";

struct Target {
  sockaddr_storage storage{};
  socklen_t size{0};
};

Target parse_target(const char* address, const char* port) {
  Target target;
  sockaddr_in four{};
  sockaddr_in6 six{};
  const auto number = htons(static_cast<std::uint16_t>(std::strtoul(port, nullptr, 10)));
  if (inet_pton(AF_INET, address, &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = number;
    std::memcpy(&target.storage, &four, sizeof four);
    target.size = sizeof four;
  } else if (inet_pton(AF_INET6, address, &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = number;
    std::memcpy(&target.storage, &six, sizeof six);
    target.size = sizeof six;
  }
  return target;
}

int open_socket(const Target& target, int type) {
  return ::socket(target.storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/// What the firewall refuses is an error here, which is no concern of the sender's.
void send_datagram(int socket, const Target& target) {
  static_cast<void>(::sendto(socket, payload.data(), payload.size(), MSG_NOSIGNAL,
                             reinterpret_cast<const sockaddr*>(&target.storage), target.size));
}

std::int64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// The port has the same place in both kinds of address.
unsigned source_port(int socket) {
  sockaddr_in6 own{};
  socklen_t size = sizeof own;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size);
  return ntohs(own.sin6_port);
}

int obey(const Target& target) {
  std::array<char, 16> line{};
  int socket = -1;
  while (std::fgets(line.data(), line.size(), stdin) != nullptr) {
    const std::string_view word{line.data()};
    const bool stream = word == "tcp\n";
    if (word != "again\n") {
      socket = open_socket(target, stream ? SOCK_STREAM : SOCK_DGRAM);
    }
    const auto began = now();
    if (stream) {
      static_cast<void>(::connect(socket, reinterpret_cast<const sockaddr*>(&target.storage), target.size));
    } else {
      send_datagram(socket, target);
    }
    std::printf("%u %lld\n", source_port(socket), static_cast<long long>(began));
    std::fflush(stdout);
  }
  return 0;
}

int storm(const Target& target) {
  std::array<int, sockets_kept> kept{};
  kept.fill(-1);
  std::uint64_t sent = 0;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (sent % sent_between_looks != 0 || ::poll(&input, 1, 0) == 0) {
    int& socket = kept[sent % kept.size()];
    if (socket >= 0) {
      ::close(socket);
    }
    socket = open_socket(target, SOCK_DGRAM);
    send_datagram(socket, target);
    ++sent;
  }
  std::printf("%llu\n", static_cast<unsigned long long>(sent));
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const bool storms = count == 4 && std::string_view{words[1]} == "--storm";
  const int first = storms ? 2 : 1;
  const auto target = count == first + 2 ? parse_target(words[first], words[first + 1]) : Target{};
  if (target.size == 0) {
    std::fputs("usage: datagram_sender [--storm] ADDRESS PORT\n", stderr);
    return 2;
  }
  return storms ? storm(target) : obey(target);
}
