#include "killswitch/sense/links.hpp"

#include "killswitch/codec/rtnetlink.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <fmt/format.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <algorithm>
#include <cerrno>
#include <optional>

namespace killswitch::sense {
namespace {

using codec::DumpDone;
using codec::KernelAnswer;
using codec::RtnetlinkMessage;

// An answer to a dump takes microseconds; a kernel that is silent for this long is not going to answer.
constexpr int answer_milliseconds = 2000;
// A dump is interrupted by every change during its few microseconds; in a storm a later one gets through.
constexpr int dump_attempts = 50;
// Datagrams of one wake-up. A storm must not keep the loop from its watchdog; what is left wakes it again.
constexpr int datagrams_at_once = 4096;
// After a resync that did not succeed; long enough for a storm to pass, short enough to be no outage.
constexpr std::chrono::milliseconds retry_delay{200};

enum class DumpEnd { complete, interrupted };

/// Sends one dump request and gives every message of the answer to `take`.
template <typename Take>
Result<DumpEnd> dump(os::NetlinkSocket& socket, const std::vector<std::uint8_t>& request, std::uint32_t sequence,
                     Take take) {
  if (auto sent = socket.send(request); !sent) {
    return fail(sent.error());
  }
  bool interrupted = false;
  for (;;) {
    if (auto ready = socket.wait_readable(answer_milliseconds); !ready) {
      return fail(ready.error());
    }
    const auto datagram = socket.receive();
    if (!datagram) {
      return fail(datagram.error());
    }
    auto messages = codec::decode_rtnetlink(*datagram);
    if (!messages) {
      return fail(messages.error());
    }
    for (RtnetlinkMessage& message : *messages) {
      if (message.sequence != sequence) {
        continue;
      }
      interrupted = interrupted || message.interrupted;
      const auto* end = std::get_if<DumpDone>(&message.content);
      const auto* refusal = std::get_if<KernelAnswer>(&message.content);
      if (const int errno_value = end != nullptr ? end->errno_value : refusal != nullptr ? refusal->errno_value : 0) {
        return fail(errno_value, "rtnetlink: dump");
      }
      if (end != nullptr) {
        return interrupted ? DumpEnd::interrupted : DumpEnd::complete;
      }
      take(message.content);
    }
  }
}

/// Interfaces and addresses as of now; nothing when they changed while they were read.
Result<std::optional<model::Links>> try_list_links(os::NetlinkSocket& socket) {
  model::Links links;
  std::uint32_t sequence = socket.next_sequence();
  const auto links_end = dump(socket, codec::encode_link_dump(sequence), sequence, [&](auto& content) {
    if (auto* changed = std::get_if<model::LinkChanged>(&content)) {
      links.insert_or_assign(changed->link.index, std::move(changed->link));
    }
  });
  if (!links_end) {
    return fail(links_end.error());
  }
  sequence = socket.next_sequence();
  const auto addresses_end = dump(socket, codec::encode_address_dump(sequence), sequence, [&](auto& content) {
    const auto* added = std::get_if<model::AddressAdded>(&content);
    // An address of an interface that is not listed is newer than the list: its notifications are under way.
    if (const auto link = added != nullptr ? links.find(added->index) : links.end(); link != links.end()) {
      link->second.addresses.push_back(added->address);
    }
  });
  if (!addresses_end) {
    return fail(addresses_end.error());
  }
  sequence = socket.next_sequence();
  const auto routes_end = dump(socket, codec::encode_route_dump(sequence), sequence, [&](auto& content) {
    const auto* added = std::get_if<model::RouteAdded>(&content);
    if (const auto link = added != nullptr ? links.find(added->index) : links.end(); link != links.end()) {
      link->second.wide_routes.push_back(added->destination);
    }
  });
  if (!routes_end) {
    return fail(routes_end.error());
  }
  const auto interrupted = {*links_end, *addresses_end, *routes_end};
  if (std::find(interrupted.begin(), interrupted.end(), DumpEnd::interrupted) != interrupted.end()) {
    return std::optional<model::Links>{};
  }
  for (auto& [index, link] : links) {
    std::sort(link.wide_routes.begin(), link.wide_routes.end());
    std::sort(link.addresses.begin(), link.addresses.end());
    link.addresses.erase(std::unique(link.addresses.begin(), link.addresses.end()), link.addresses.end());
  }
  return std::optional{std::move(links)};
}

/// On a socket of its own, which lives as long as the dump: its buffer is not worth keeping, and answers cannot be
/// mistaken for notifications.
Result<model::Links> list_links() {
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) {
    return fail(socket.error());
  }
  if (auto set = socket->set_nonblocking(); !set) {
    return fail(set.error());
  }
  for (int attempt = 0; attempt < dump_attempts; ++attempt) {
    auto links = try_list_links(*socket);
    if (!links) {
      return fail(links.error().within("list interfaces"));
    }
    if (links->has_value()) {
      return std::move(**links);
    }
  }
  return fail(EAGAIN, "list interfaces: they changed during every attempt");
}

Result<os::NetlinkSocket> subscribe(std::size_t receive_buffer) {
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) {
    return fail(socket.error());
  }
  if (auto set = socket->set_nonblocking(); !set) {
    return fail(set.error());
  }
  if (auto set = socket->set_receive_buffer(receive_buffer); !set) {
    return fail(set.error());
  }
  for (const unsigned group :
       {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE}) {
    if (auto joined = socket->join_group(group); !joined) {
      return fail(joined.error());
    }
  }
  return socket;
}

bool is(const Error& error, int errno_value) {
  return error.code == std::error_code{errno_value, std::system_category()};
}

}  // namespace

class LinkSensor::Watch {
public:
  Watch(os::EventLoop& loop, Report report, os::NetlinkSocket notifications)
      : loop_{loop}, report_{std::move(report)}, notifications_{std::move(notifications)} {}

  Outcome start();
  void on_readable();
  void resync();
  void watch_host(std::optional<model::IpAddress> host) { host_ = host; }

private:
  enum class Drained { everything, more_is_waiting };

  Outcome try_resync();
  Result<Drained> forward_notifications();
  Result<Drained> discard_notifications();
  void report_facts(std::vector<RtnetlinkMessage> messages);

  os::EventLoop& loop_;
  Report report_;
  os::NetlinkSocket notifications_;
  std::optional<model::IpAddress> host_;
  bool synchronised_{false};  ///< what was reported is whole; until then notifications are no facts
  os::EventSource readable_;
  os::EventSource retry_;
};

Outcome LinkSensor::Watch::start() {
  auto readable = loop_.watch_fd(notifications_.fd(), EPOLLIN, [this](std::uint32_t) { on_readable(); });
  if (!readable) {
    return fail(readable.error());
  }
  readable_ = std::move(*readable);
  resync();
  return done();
}

void LinkSensor::Watch::on_readable() {
  if (!synchronised_) {
    // Thrown away by the resync that is due. Without its timer (out of memory, say) this wake-up takes its place.
    if (const auto drained = discard_notifications(); !drained || !retry_) {
      resync();
    }
    return;
  }
  if (const auto drained = forward_notifications(); !drained) {
    report_(model::LinksUnknown{drained.error().message()});
    resync();
  }
}

void LinkSensor::Watch::resync() {
  retry_ = {};
  const auto outcome = try_resync();
  synchronised_ = outcome.has_value();
  if (synchronised_) {
    return;
  }
  report_(model::LinksUnknown{outcome.error().message()});
  if (auto retry = loop_.after(retry_delay, [this] { resync(); })) {
    retry_ = std::move(*retry);
  }
}

/// Everything queued is older than the dump that follows, and after a loss it is not the whole story: an address may
/// be announced there whose removal was dropped. So it is discarded; what comes later is complete again.
Outcome LinkSensor::Watch::try_resync() {
  if (const auto discarded = discard_notifications(); !discarded) {
    return fail(discarded.error());
  } else if (*discarded == Drained::more_is_waiting) {
    return fail(EAGAIN, "rtnetlink: changes come faster than they can be read");
  }
  auto links = list_links();
  if (!links) {
    return fail(links.error());
  }
  report_(model::LinksListed{std::move(*links)});
  if (const auto forwarded = forward_notifications(); !forwarded) {
    return fail(forwarded.error());
  }
  return done();
}

/// @return an error when notifications were lost or cannot be understood: the facts are then no longer known.
Result<LinkSensor::Watch::Drained> LinkSensor::Watch::forward_notifications() {
  for (int i = 0; i < datagrams_at_once; ++i) {
    const auto datagram = notifications_.receive();
    if (!datagram) {
      if (is(datagram.error(), EAGAIN)) {
        return Drained::everything;
      }
      return fail(datagram.error());
    }
    auto messages = codec::decode_rtnetlink(*datagram);
    if (!messages) {
      return fail(messages.error());
    }
    report_facts(std::move(*messages));
  }
  return Drained::more_is_waiting;
}

/// The kernel reports a loss only once until the queue was empty, hence the way down to EAGAIN.
Result<LinkSensor::Watch::Drained> LinkSensor::Watch::discard_notifications() {
  for (int i = 0; i < datagrams_at_once; ++i) {
    const auto datagram = notifications_.receive();
    if (datagram || is(datagram.error(), ENOBUFS) || is(datagram.error(), EMSGSIZE)) {
      continue;
    }
    if (is(datagram.error(), EAGAIN)) {
      return Drained::everything;
    }
    return fail(datagram.error());
  }
  return Drained::more_is_waiting;
}

void LinkSensor::Watch::report_facts(std::vector<RtnetlinkMessage> messages) {
  struct Reporter {
    const Report& report;
    const std::optional<model::IpAddress>& host;
    void operator()(model::HostRouteTouched& event) const {
      if (event.destination == host) {
        report(event);
      }
    }
    void operator()(model::LinkChanged& event) const { report(std::move(event)); }
    void operator()(model::LinkRemoved& event) const { report(event); }
    void operator()(model::AddressAdded& event) const { report(event); }
    void operator()(model::AddressRemoved& event) const { report(event); }
    void operator()(model::RouteAdded& event) const { report(event); }
    void operator()(model::RouteRemoved& event) const { report(event); }
    void operator()(DumpDone&) const {}  // answers belong to requests, and this socket makes none
    void operator()(KernelAnswer&) const {}
  };
  for (RtnetlinkMessage& message : messages) {
    std::visit(Reporter{report_, host_}, message.content);
  }
}

LinkSensor::LinkSensor(std::unique_ptr<Watch> watch) : watch_{std::move(watch)} {}
LinkSensor::LinkSensor(LinkSensor&&) noexcept = default;
LinkSensor& LinkSensor::operator=(LinkSensor&&) noexcept = default;
LinkSensor::~LinkSensor() = default;

Result<LinkSensor> LinkSensor::start(os::EventLoop& loop, Report report, Options options) {
  auto notifications = subscribe(options.receive_buffer);
  if (!notifications) {
    return fail(notifications.error().within("watch interfaces"));
  }
  auto watch = std::make_unique<Watch>(loop, std::move(report), std::move(*notifications));
  if (auto started = watch->start(); !started) {
    return fail(started.error().within("watch interfaces"));
  }
  return LinkSensor{std::move(watch)};
}

void LinkSensor::catch_up() {
  watch_->on_readable();
}

void LinkSensor::watch_host(std::optional<model::IpAddress> host) {
  watch_->watch_host(host);
}

void LinkSensor::resync() {
  watch_->resync();
}

}  // namespace killswitch::sense
