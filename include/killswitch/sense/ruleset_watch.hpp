// Watches nf_tables for changes of our tables that are not ours, through a netlink socket of its own.
//
// Where the tables are owned nothing should ever be seen here; where they are not (Linux before 5.12, an orphan that is
// not taken over yet) this is what notices a flush. Nothing is read back or repaired here: an event says that what was
// observed is void. Lost notifications (ENOBUFS) are said, too (RulesetUnknown).
#pragma once

#include "killswitch/model/event.hpp"
#include "killswitch/os/event_loop.hpp"

#include <cstdint>
#include <functional>
#include <memory>

namespace killswitch::sense {

class RulesetWatch {
public:
  using Report = std::function<void(model::Event)>;

  struct Options {
    /// What the kernel may queue for us, in bytes: some ten thousand changes. It is a limit, no memory is held.
    std::size_t receive_buffer{4U << 20U};
  };

  /// @param own_port netlink port of the firewall's socket: its changes are not reported
  /// @return an error when the kernel does not let us listen
  [[nodiscard]] static Result<RulesetWatch> start(os::EventLoop& loop, std::uint32_t own_port, Report report,
                                                  Options options);
  [[nodiscard]] static Result<RulesetWatch> start(os::EventLoop& loop, std::uint32_t own_port, Report report) {
    return start(loop, own_port, std::move(report), Options{});
  }

  /// Reports at once what the kernel has told so far.
  void catch_up();

  RulesetWatch(RulesetWatch&&) noexcept;
  RulesetWatch& operator=(RulesetWatch&&) noexcept;
  ~RulesetWatch();

private:
  class Watch;
  explicit RulesetWatch(std::unique_ptr<Watch> watch);
  std::unique_ptr<Watch> watch_;  // the loop's callbacks point into it, so it must not move
};

}  // namespace killswitch::sense
