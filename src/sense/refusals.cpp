#include "killswitch/sense/refusals.hpp"

#include <linux/netlink.h>
#include <sys/epoll.h>
#include <cerrno>

namespace killswitch::sense {
namespace {
constexpr int answer_milliseconds = 5000;  // for a kernel that does not answer; others have by the time it is looked
}

Result<std::unique_ptr<RefusalSensor>> RefusalSensor::start(os::EventLoop& loop, const codec::RefusalWatch& watch,
                                                            Tell tell) {
  auto socket = os::NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) {
    return fail(socket.error());
  }
  std::unique_ptr<RefusalSensor> sensor{new RefusalSensor{std::move(*socket), std::move(tell)}};
  if (const auto made = sensor->ask(codec::encode_refusal_table(watch, sensor->socket_.next_sequence()), 1); !made) {
    return fail(made.error());
  }
  const auto subscription = codec::encode_refusal_subscription(sensor->socket_.next_sequence());
  if (const auto asked = sensor->ask(subscription, codec::refusal_subscription_messages); !asked) {
    return fail(asked.error());
  }
  if (const auto set = sensor->socket_.set_nonblocking(); !set) {
    return fail(set.error());
  }
  auto source = loop.watch_fd(sensor->socket_.fd(), EPOLLIN, [raw = sensor.get()](std::uint32_t) { raw->read(); });
  if (!source) {
    return fail(source.error());
  }
  sensor->source_ = std::move(*source);
  return sensor;
}

/// Packets may come between the answers.
Outcome RefusalSensor::ask(std::span<const std::uint8_t> request, int answers) {
  if (auto sent = socket_.send(request); !sent) {
    return sent;
  }
  while (answers > 0) {
    if (auto ready = socket_.wait_readable(answer_milliseconds); !ready) {
      return ready;
    }
    const auto datagram = socket_.receive();
    const auto notes = datagram ? codec::decode_refusals(*datagram) : fail(datagram.error());
    if (!notes) {
      return fail(notes.error());
    }
    for (const int error : notes->answers) {
      if (error == EEXIST || error == EBUSY) {
        return fail(error, "watch what is refused: another 'killswitch blocked --follow' runs");
      }
      if (error != 0) {
        return fail(error, "watch what is refused: the kernel must know nft_log and nfnetlink_log");
      }
      --answers;
    }
  }
  return done();
}

void RefusalSensor::read() {
  for (;;) {
    const auto datagram = socket_.receive();
    if (!datagram && datagram.error().code.value() == ENOBUFS) {
      continue;  // the kernel left some out: it waits for nobody
    }
    if (!datagram) {
      return;
    }
    if (const auto notes = codec::decode_refusals(*datagram)) {
      for (const auto& packet : notes->packets) {
        tell_(packet);
      }
    }
  }
}

}  // namespace killswitch::sense
