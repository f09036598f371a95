#include "killswitch/os/event_loop.hpp"

#include <sys/inotify.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <cerrno>

namespace killswitch::os {
namespace {

/// What a source keeps alive: the sd-event source and the callback that it calls.
template <typename Function>
struct Registration {
  explicit Registration(Function function) : callback{std::move(function)} {}
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() {
    if (source != nullptr) {
      sd_event_source_set_enabled(source, SD_EVENT_OFF);
      sd_event_source_unref(source);
    }
  }
  // sd-event may still hold the source while its callback destroys the registration: the callback runs on a copy.
  Function callback;
  sd_event_source* source{nullptr};
};

template <typename Function>
Function callback_of(void* userdata) {
  return static_cast<Registration<Function>*>(userdata)->callback;
}

Failure failed(int negative_errno, const char* what) {
  return fail(-negative_errno, what);
}

int on_ready(sd_event_source* /*source*/, int /*fd*/, std::uint32_t revents, void* userdata) noexcept {
  callback_of<EventLoop::ReadyCallback>(userdata)(revents);
  return 0;
}

int on_time(sd_event_source* /*source*/, std::uint64_t /*usec*/, void* userdata) noexcept {
  callback_of<EventLoop::Callback>(userdata)();
  return 0;
}

int on_signal(sd_event_source* /*source*/, const signalfd_siginfo* /*info*/, void* userdata) noexcept {
  callback_of<EventLoop::Callback>(userdata)();
  return 0;
}

int on_post(sd_event_source* /*source*/, void* userdata) noexcept {
  callback_of<EventLoop::Callback>(userdata)();
  return 0;
}

using DirectoryCallback = std::function<void(const char*)>;
int on_directory(sd_event_source* /*source*/, const inotify_event* event, void* userdata) noexcept {
  callback_of<DirectoryCallback>(userdata)(event->len > 0 ? event->name : "");
  return 0;
}

using ChildCallback = std::function<void(int)>;
int on_child(sd_event_source* /*source*/, const siginfo_t* info, void* userdata) noexcept {
  callback_of<ChildCallback>(userdata)(info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status);
  return 0;
}

}  // namespace

void EventLoop::Unref::operator()(sd_event* event) const {
  sd_event_unref(event);
}

Result<EventLoop> EventLoop::create() {
  sd_event* event = nullptr;
  if (const int error = sd_event_new(&event); error < 0) {
    return failed(error, "event loop: create");
  }
  return EventLoop{event};
}

Result<EventSource> EventLoop::watch_fd(int fd, std::uint32_t epoll_events, ReadyCallback callback) {
  auto registration = std::make_shared<Registration<ReadyCallback>>(std::move(callback));
  const int error =
      sd_event_add_io(event_.get(), &registration->source, fd, epoll_events, on_ready, registration.get());
  if (error < 0) {
    return failed(error, "event loop: watch a file descriptor");
  }
  return EventSource{std::move(registration)};
}

namespace {

using TimerRegistration = std::shared_ptr<Registration<EventLoop::Callback>>;

Result<TimerRegistration> start_timer(sd_event* loop, clockid_t clock, std::chrono::microseconds delay,
                                      EventLoop::Callback callback) {
  auto registration = std::make_shared<Registration<EventLoop::Callback>>(std::move(callback));
  const int error = sd_event_add_time_relative(
      loop, &registration->source, clock, static_cast<std::uint64_t>(delay.count()), 0, on_time, registration.get());
  if (error < 0) {
    return failed(error, "event loop: set a timer");
  }
  return registration;
}

}  // namespace

Result<EventSource> EventLoop::after(std::chrono::microseconds delay, Callback callback) {
  auto timer = start_timer(event_.get(), CLOCK_MONOTONIC, delay, std::move(callback));
  return timer ? Result<EventSource>{EventSource{std::move(*timer)}} : fail(timer.error());
}

Result<EventSource> EventLoop::after_with_suspend(std::chrono::microseconds delay, Callback callback) {
  auto timer = start_timer(event_.get(), CLOCK_BOOTTIME, delay, std::move(callback));
  return timer ? Result<EventSource>{EventSource{std::move(*timer)}} : fail(timer.error());
}

Result<EventSource> EventLoop::watch_signal(int signal_number, Callback callback) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
    return fail(errno, "event loop: block a signal");
  }
  auto registration = std::make_shared<Registration<Callback>>(std::move(callback));
  const int error =
      sd_event_add_signal(event_.get(), &registration->source, signal_number, on_signal, registration.get());
  if (error < 0) {
    return failed(error, "event loop: watch a signal");
  }
  return EventSource{std::move(registration)};
}

namespace {

Result<std::shared_ptr<void>> watch_inotify(sd_event* event, const char* path, std::uint32_t mask,
                                            DirectoryCallback callback) {
  auto registration = std::make_shared<Registration<DirectoryCallback>>(std::move(callback));
  const int error = sd_event_add_inotify(event, &registration->source, path, mask, on_directory, registration.get());
  if (error < 0) {
    return failed(error, "event loop: watch a file or directory");
  }
  return std::shared_ptr<void>{std::move(registration)};
}

}  // namespace

Result<EventSource> EventLoop::watch_directory(const char* path, std::function<void(const char*)> callback) {
  auto hold =
      watch_inotify(event_.get(), path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR, std::move(callback));
  if (!hold) {
    return fail(hold.error());
  }
  return EventSource{std::move(*hold)};
}

Result<EventSource> EventLoop::watch_path(const char* path, std::function<void(const char*)> callback) {
  auto hold = watch_inotify(event_.get(), path,
                            IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB,
                            std::move(callback));
  if (!hold) {
    return fail(hold.error());
  }
  return EventSource{std::move(*hold)};
}

Result<EventSource> EventLoop::watch_child(int pid, std::function<void(int)> callback) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);  // sd-event wants it blocked
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
    return fail(errno, "event loop: block SIGCHLD");
  }
  auto registration = std::make_shared<Registration<ChildCallback>>(std::move(callback));
  const int error = sd_event_add_child(event_.get(), &registration->source, pid, WEXITED, on_child, registration.get());
  if (error < 0) {
    return failed(error, "event loop: watch a child process");
  }
  return EventSource{std::move(registration)};
}

Result<EventSource> EventLoop::when_drained(Callback callback) {
  auto registration = std::make_shared<Registration<Callback>>(std::move(callback));
  int error = sd_event_add_post(event_.get(), &registration->source, on_post, registration.get());
  if (error >= 0) {
    // Behind everything else that is due in the same round: one reconciliation for many events.
    error = sd_event_source_set_priority(registration->source, SD_EVENT_PRIORITY_IDLE);
  }
  if (error < 0) {
    return failed(error, "event loop: add the drain callback");
  }
  return EventSource{std::move(registration)};
}

Outcome EventLoop::enable_watchdog() {
  if (const int error = sd_event_set_watchdog(event_.get(), 1); error < 0) {
    return failed(error, "event loop: enable the watchdog");
  }
  return done();
}

Outcome EventLoop::run() {
  if (const int error = sd_event_loop(event_.get()); error < 0) {
    return failed(error, "event loop: run");
  }
  return done();
}

void EventLoop::stop() {
  sd_event_exit(event_.get(), 0);
}

}  // namespace killswitch::os
