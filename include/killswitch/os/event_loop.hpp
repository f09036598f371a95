// The one event loop of the process: sd-event with its file descriptors, timers, signals and watchdog.
// Callbacks run one after another on one thread and must not throw; `drained` runs when no callback is due.
#pragma once

#include "killswitch/base/result.hpp"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>

struct sd_event;

namespace killswitch::os {

/// Keeps one source of events alive; destroying it ends the callbacks. Safe to destroy inside its own callback.
class EventSource {
public:
  EventSource() = default;
  EventSource(EventSource&&) noexcept = default;
  EventSource& operator=(EventSource&&) noexcept = default;
  explicit operator bool() const { return static_cast<bool>(hold_); }

private:
  friend class EventLoop;
  explicit EventSource(std::shared_ptr<void> hold) : hold_{std::move(hold)} {}
  std::shared_ptr<void> hold_;
};

class EventLoop {
public:
  using ReadyCallback = std::function<void(std::uint32_t epoll_events)>;
  using Callback = std::function<void()>;

  [[nodiscard]] static Result<EventLoop> create();

  /// @param epoll_events EPOLLIN and EPOLLOUT; `fd` stays the caller's and must outlive the source.
  [[nodiscard]] Result<EventSource> watch_fd(int fd, std::uint32_t epoll_events, ReadyCallback callback);
  /// Once, `delay` from now (CLOCK_MONOTONIC).
  [[nodiscard]] Result<EventSource> after(std::chrono::microseconds delay, Callback callback);
  /// The same, but time in suspend counts (CLOCK_BOOTTIME).
  [[nodiscard]] Result<EventSource> after_with_suspend(std::chrono::microseconds delay, Callback callback);
  /// `signal_number` is blocked for the process and delivered here instead.
  [[nodiscard]] Result<EventSource> watch_signal(int signal_number, Callback callback);
  /// inotify on one directory: file names that were closed after writing, moved in or deleted.
  [[nodiscard]] Result<EventSource> watch_directory(const char* path, std::function<void(const char* name)> callback);
  /// inotify on a directory or a file: whatever may change which file a name leads to, or what is in it. `name` is
  /// empty for the thing itself.
  [[nodiscard]] Result<EventSource> watch_path(const char* path, std::function<void(const char* name)> callback);
  /// A child of this process ended.
  [[nodiscard]] Result<EventSource> watch_child(int pid, std::function<void(int exit_status)> callback);
  /// After every round of callbacks, before the loop sleeps again.
  [[nodiscard]] Result<EventSource> when_drained(Callback callback);
  /// systemd's watchdog, where the unit has one.
  [[nodiscard]] Outcome enable_watchdog();

  /// Runs until `stop`.
  [[nodiscard]] Outcome run();
  void stop();

  [[nodiscard]] sd_event* native() const { return event_.get(); }

private:
  struct Unref {
    void operator()(sd_event* event) const;
  };
  explicit EventLoop(sd_event* event) : event_{event} {}
  std::unique_ptr<sd_event, Unref> event_;
};

}  // namespace killswitch::os
