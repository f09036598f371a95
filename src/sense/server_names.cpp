#include "killswitch/sense/server_names.hpp"

#include "killswitch/model/server_name.hpp"
#include "killswitch/os/child.hpp"
#include "killswitch/os/log.hpp"
#include "nflog_socket.hpp"

#include <sys/epoll.h>
#include <algorithm>
#include <csignal>

namespace killswitch::sense {
namespace {

// The longest answer without EDNS is 512 bytes; resolvers ask for up to 1232, and 4096 is what most allow.
constexpr std::uint32_t copied_bytes = 4096;
constexpr std::size_t most_questions = 64;

}  // namespace

ServerNameSensor::ServerNameSensor(os::EventLoop& loop, os::NetlinkSocket socket, Post post)
    : loop_{loop}, socket_{std::move(socket)}, post_{std::move(post)} {}

ServerNameSensor::~ServerNameSensor() {
  if (child_ > 0) {
    ::kill(child_, SIGTERM);
  }
}

Result<std::unique_ptr<ServerNameSensor>> ServerNameSensor::start(os::EventLoop& loop, Post post) {
  auto socket = open_nflog(model::server_names_group, copied_bytes);
  if (!socket) {
    return fail(socket.error().within("hear answers to questions for names"));
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
  read_nflog(socket_, [this](const codec::LoggedPacket& logged) { hear(logged.prefix, logged.bytes); });
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
