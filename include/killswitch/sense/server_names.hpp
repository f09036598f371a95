// Hears the questions for VPN servers' names that the pinhole let out, and learns from their answers; and asks aloud.
//
// The kernel tells of both through nflog, so that whatever program asks teaches us, OpenVPN itself before all. An
// answer counts only when its question was heard, and once. Without nflog nothing is learned, and nothing else is lost.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/dns_message.hpp"
#include "killswitch/model/event.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace killswitch::sense {

class ServerNameSensor {
public:
  using Post = std::function<void(model::Event)>;

  [[nodiscard]] static Result<std::unique_ptr<ServerNameSensor>> start(os::EventLoop& loop, Post post);
  ServerNameSensor(const ServerNameSensor&) = delete;  // the loop's callbacks point here
  ServerNameSensor& operator=(const ServerNameSensor&) = delete;
  ~ServerNameSensor();

  /// Has the system's resolver look `names` up, in a process of its own because that waits; what comes of it is heard
  /// like everybody's answers. One at a time: while an earlier one runs, nothing happens.
  void ask(const std::vector<std::string>& names);

private:
  ServerNameSensor(os::EventLoop& loop, os::NetlinkSocket socket, Post post);
  void read();
  void hear(const std::string& prefix, std::span<const std::uint8_t> packet);

  os::EventLoop& loop_;
  os::NetlinkSocket socket_;
  Post post_;
  std::deque<codec::DnsPacket> questions_;  ///< without an answer yet, the newest last
  os::EventSource source_;
  int child_{-1};
  os::EventSource child_source_;
};

}  // namespace killswitch::sense
