#include "killswitch/sense/ruleset_watch.hpp"

#include "killswitch/codec/nft_event.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/epoll.h>
#include <cerrno>

namespace killswitch::sense {
namespace {

// Datagrams of one wake-up. A storm must not keep the loop from its watchdog; what is left wakes it again.
constexpr int datagrams_at_once = 1024;

bool is(const Error& error, int errno_value) {
  return error.code == std::error_code{errno_value, std::system_category()};
}

Result<os::NetlinkSocket> subscribe(std::size_t receive_buffer) {
  auto socket = os::NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) {
    return fail(socket.error());
  }
  for (const auto& prepared :
       {socket->set_nonblocking(), socket->set_receive_buffer(receive_buffer), socket->join_group(NFNLGRP_NFTABLES)}) {
    if (!prepared) {
      return fail(prepared.error());
    }
  }
  return socket;
}

}  // namespace

class RulesetWatch::Watch {
public:
  Watch(Report report, os::NetlinkSocket socket, std::uint32_t own_port)
      : report_{std::move(report)}, socket_{std::move(socket)}, decoder_{own_port} {}

  Outcome start(os::EventLoop& loop) {
    auto readable = loop.watch_fd(socket_.fd(), EPOLLIN, [this](std::uint32_t) { on_readable(); });
    if (!readable) {
      return fail(readable.error());
    }
    readable_ = std::move(*readable);
    return done();
  }

  void on_readable() {
    for (int i = 0; i < datagrams_at_once; ++i) {
      const auto datagram = socket_.receive();
      if (!datagram && is(datagram.error(), EAGAIN)) {
        return;
      }
      if (!datagram) {
        lost(datagram.error());
        if (is(datagram.error(), ENOBUFS) || is(datagram.error(), EMSGSIZE)) {
          continue;
        }
        return;
      }
      const auto touches = decoder_.feed(*datagram);
      if (!touches) {
        lost(touches.error());
        continue;
      }
      for (const model::Touch& touch : *touches) {
        report_(model::RulesetTouched{touch});
      }
    }
  }

private:
  void lost(const Error& error) {
    decoder_.forget();
    report_(model::RulesetUnknown{error.message()});
  }

  Report report_;
  os::NetlinkSocket socket_;
  codec::NftEventDecoder decoder_;
  os::EventSource readable_;
};

RulesetWatch::RulesetWatch(std::unique_ptr<Watch> watch) : watch_{std::move(watch)} {}
RulesetWatch::RulesetWatch(RulesetWatch&&) noexcept = default;
RulesetWatch& RulesetWatch::operator=(RulesetWatch&&) noexcept = default;
RulesetWatch::~RulesetWatch() = default;

Result<RulesetWatch> RulesetWatch::start(os::EventLoop& loop, std::uint32_t own_port, Report report, Options options) {
  auto socket = subscribe(options.receive_buffer);
  if (!socket) {
    return fail(socket.error().within("watch the ruleset"));
  }
  auto watch = std::make_unique<Watch>(std::move(report), std::move(*socket), own_port);
  if (auto started = watch->start(loop); !started) {
    return fail(started.error().within("watch the ruleset"));
  }
  return RulesetWatch{std::move(watch)};
}

void RulesetWatch::catch_up() {
  watch_->on_readable();
}

}  // namespace killswitch::sense
