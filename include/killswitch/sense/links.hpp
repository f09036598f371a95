// Watches interfaces, addresses and wide routes through rtnetlink and reports them as events.
//
// Subscribe first, dump then, notifications that came meanwhile last: no change is missed. What the kernel had to
// drop (ENOBUFS) is said (LinksUnknown) and healed by a new dump. No fact is kept here: every event goes on.
#pragma once

#include "killswitch/model/event.hpp"
#include "killswitch/os/event_loop.hpp"

#include <functional>
#include <memory>
#include <optional>

namespace killswitch::sense {

class LinkSensor {
public:
  using Report = std::function<void(model::Event)>;

  struct Options {
    /// What the kernel may queue for us, in bytes. A notification takes some 2 KiB of it: thousands of containers may
    /// start at once before anything is lost. It is a limit, no memory is held.
    std::size_t receive_buffer{8U << 20U};
  };

  /// Before it returns, `report` was called with LinksListed and whatever changed during the dump; or with
  /// LinksUnknown, when the kernel's answer was no good, and another attempt follows by itself.
  /// @return an error when the kernel cannot be asked at all.
  [[nodiscard]] static Result<LinkSensor> start(os::EventLoop& loop, Report report, Options options);
  [[nodiscard]] static Result<LinkSensor> start(os::EventLoop& loop, Report report) {
    return start(loop, std::move(report), Options{});
  }

  /// Reports at once what the kernel has told so far: before a message of a program that may be about it.
  void catch_up();

  /// HostRouteTouched is reported for this address alone; there may be a million routes to hosts.
  void watch_host(std::optional<model::IpAddress> host);

  /// Lists everything anew: after a time in which anything may have happened.
  void resync();

  LinkSensor(LinkSensor&&) noexcept;
  LinkSensor& operator=(LinkSensor&&) noexcept;
  ~LinkSensor();

private:
  class Watch;
  explicit LinkSensor(std::unique_ptr<Watch> watch);
  std::unique_ptr<Watch> watch_;  // the loop's callbacks point into it, so it must not move
};

}  // namespace killswitch::sense
