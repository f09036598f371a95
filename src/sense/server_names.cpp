#include "killswitch/sense/server_names.hpp"

#include "killswitch/codec/nflog.hpp"
#include "killswitch/codec/nft_dump.hpp"
#include "killswitch/model/server_name.hpp"
#include "killswitch/os/child.hpp"
#include "killswitch/os/log.hpp"

#include <linux/netlink.h>
#include <sys/epoll.h>
#include <algorithm>
#include <cerrno>
#include <csignal>

namespace killswitch::sense {
namespace {

// The longest answer without EDNS is 512 bytes; resolvers ask for up to 1232, and 4096 is what most allow.
constexpr std::uint32_t copied_bytes = 4096;
constexpr std::size_t most_questions = 64;
constexpr int datagrams_at_once = 64;

}  // namespace

ServerNameSensor::ServerNameSensor(os::EventLoop& loop, os::NetlinkSocket socket, Post post)
    : loop_{loop}, socket_{std::move(socket)}, post_{std::move(post)} {}

ServerNameSensor::~ServerNameSensor() {
  if (child_ > 0) {
    ::kill(child_, SIGTERM);
  }
}

Result<std::unique_ptr<ServerNameSensor>> ServerNameSensor::start(os::EventLoop& loop, Post post) {
  auto socket = os::NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) {
    return fail(socket.error().within("hear answers to questions for names"));
  }
  const std::uint32_t sequence = socket->next_sequence();
  static_cast<void>(socket->next_sequence());
  const auto sent = socket->send(codec::encode_nflog_bind(model::server_names_group, copied_bytes, sequence));
  const auto quiet = sent ? socket->set_nonblocking() : sent;
  if (!quiet) {
    return fail(quiet.error().within("hear answers to questions for names: nflog"));
  }
  // Both messages have been answered by the time send returns.
  while (const auto datagram = socket->receive()) {
    for (const auto& reply : codec::decode_replies(*datagram)) {
      if (reply.errno_value != 0) {
        return fail(reply.errno_value,
                    "hear answers to questions for names: nflog: another killswitchd, or no "
                    "nfnetlink_log in this kernel");
      }
    }
  }
  std::unique_ptr<ServerNameSensor> sensor{new ServerNameSensor{loop, std::move(*socket), std::move(post)}};
  auto source = loop.watch_fd(sensor->socket_.fd(), EPOLLIN, [raw = sensor.get()](std::uint32_t) { raw->read(); });
  if (!source) {
    return fail(source.error());
  }
  sensor->source_ = std::move(*source);
  return sensor;
}

void ServerNameSensor::read() {
  for (int i = 0; i < datagrams_at_once; ++i) {
    const auto datagram = socket_.receive();
    if (!datagram) {
      if (datagram.error().code.value() == ENOBUFS) {
        continue;  // a flood of answers: some were not heard, more will come
      }
      return;
    }
    for (const auto& logged : codec::decode_nflog(*datagram)) {
      hear(logged.prefix, logged.bytes);
    }
  }
}

void ServerNameSensor::hear(const std::string& prefix, std::span<const std::uint8_t> bytes) {
  auto packet = codec::parse_dns_packet(bytes);
  if (!packet) {
    return;
  }
  if (prefix == model::question_prefix && !packet->response) {
    if (questions_.size() >= most_questions) {
      questions_.pop_front();
    }
    questions_.push_back(std::move(*packet));
    return;
  }
  const auto question = std::find_if(questions_.begin(), questions_.end(),
                                     [&](const codec::DnsPacket& one) { return codec::answers(*packet, one); });
  if (question == questions_.end()) {
    return;
  }
  // output and postrouting both told of the question
  std::erase_if(questions_, [&](const codec::DnsPacket& one) { return codec::answers(*packet, one); });
  if (!packet->addresses.empty()) {
    post_(model::ServerNameAnswered{std::move(packet->name), std::move(packet->addresses), packet->lifetime});
  }
}

void ServerNameSensor::ask(const std::vector<std::string>& names) {
  if (child_ > 0) {
    return;
  }
  std::vector<std::string> arguments{"killswitchd", "--resolve"};
  arguments.insert(arguments.end(), names.begin(), names.end());
  auto child = os::start_child({"/proc/self/exe", std::move(arguments), -1});
  if (!child) {
    os::log(os::LogLevel::warning, child.error().within("ask for the server's name").message());
    return;
  }
  auto source = loop_.watch_child(*child, [this](int) { child_ = -1; });
  if (!source) {
    ::kill(*child, SIGTERM);
    os::log(os::LogLevel::warning, source.error().within("ask for the server's name").message());
    return;
  }
  child_ = *child;
  child_source_ = std::move(*source);
}

}  // namespace killswitch::sense
