// The capture of one interface: what leaves, and nothing else (a filter in the kernel sees to it).
#include "leak_parts.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sys/socket.h>
#include <array>
#include <cerrno>

namespace killswitch::sense {
namespace {

constexpr int buffer_bytes = 16 << 20;
constexpr std::uint32_t kept_bytes = 512;  // of a frame: a token of ours is in the first 512

/// Keeps the beginning of outgoing frames.
Outcome filter_outgoing(int fd) {
  std::array<sock_filter, 4> program{{
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, PACKET_OUTGOING},
      {BPF_RET | BPF_K, 0, 0, kept_bytes},
      {BPF_RET | BPF_K, 0, 0, 0},
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return fail(errno, "capture: attach the filter");
  }
  return done();
}

}  // namespace

Result<Capture> Capture::open(const model::Link& link) {
  os::Fd fd{::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd) {
    return fail(errno, "capture: open a packet socket");
  }
  if (auto filtered = filter_outgoing(fd.get()); !filtered) {
    return fail(filtered.error());
  }
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(link.index.number);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(errno, fmt::format("capture: watch {}", link.name));
  }
  return Capture{std::move(fd), link.name};
}

void Capture::drain(const std::function<void(std::span<const std::uint8_t>)>& take) {
  std::array<std::uint8_t, kept_bytes> buffer{};
  for (;;) {
    const auto size = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0) {
      failures_ += errno == EAGAIN ? 0 : 1;  // the interface went down: what was there is not known
      return;
    }
    take(std::span{buffer}.first(static_cast<std::size_t>(size)));
  }
}

std::uint64_t Capture::lost() {
  tpacket_stats statistics{};
  socklen_t size = sizeof statistics;
  return ::getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0
             ? failures_ + statistics.tp_drops
             : failures_ + 1;
}

void wait_for_frames(const std::vector<Capture>& captures, std::chrono::milliseconds limit) {
  std::vector<pollfd> waiting;
  waiting.reserve(captures.size());
  for (const auto& capture : captures) {
    waiting.push_back({capture.fd(), POLLIN, 0});
  }
  (void)::poll(waiting.data(), waiting.size(), static_cast<int>(limit.count()));
}

}  // namespace killswitch::sense
