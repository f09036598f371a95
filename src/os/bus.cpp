#include "killswitch/os/bus.hpp"
#include "killswitch/os/fd.hpp"

#include "bus_sdbus.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <map>

namespace killswitch::os {
namespace {

namespace compat = sdbus_compat;

// Messages of one wake-up; a flood must not keep the loop from everything else. What is left wakes it again.
constexpr int messages_at_once = 64;

constexpr const char* bus_name = "org.freedesktop.DBus";

Failure bus_fail(BusError error, std::string context) {
  return fail(Error{make_error_code(error), std::move(context)});
}

Failure failed(const sdbus::Error& error, const std::string& what) {
  const std::string& name = error.getName();
  return bus_fail(classify_bus_error(name), what + ": " + (error.getMessage().empty() ? name : error.getMessage()));
}

std::string what(const BusCall& call) {
  return fmt::format("D-Bus: call {} of {}", call.member, call.destination);
}

std::uint64_t microseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::microseconds{time}.count());
}

BusCall owner_query(const std::string& name) {
  return {.destination = bus_name,
          .path = "/org/freedesktop/DBus",
          .interface = bus_name,
          .member = "GetNameOwner",
          .arguments = {bus_string(name)},
          .reply_signature = "s"};
}

/// sdbus-c++ cannot set NO_AUTO_START, but a unique name never starts anything.
bool must_ask_for_owner(const BusCall& call) {
  return call.activation == Activation::refused && call.destination != bus_name && call.destination.front() != ':';
}

std::string match_rule(const BusMatch& match) {
  std::string rule = "type='signal'";
  const auto add = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) {
      rule += fmt::format(",{}='{}'", key, value);
    }
  };
  add("sender", match.sender);
  add("path", match.path);
  add("interface", match.interface);
  add("member", match.member);
  add("arg0", match.first_argument);
  return rule;
}

std::chrono::microseconds monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::chrono::seconds{now.tv_sec} +
         std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::nanoseconds{now.tv_nsec});
}

}  // namespace

/// One connection, driven by our loop: file descriptor and deadline are asked for anew after everything that may
/// change them. attachSdEventLoop() of sdbus-c++ 2.x would do that too, but it throws through the C frames of
/// libsystemd when the bus dies.
class Bus::Connection {
public:
  Connection(EventLoop& loop, LostCallback on_lost, std::unique_ptr<sdbus::IConnection> connection)
      : loop_{loop}, on_lost_{std::move(on_lost)}, connection_{std::move(connection)} {}

  /// Runs `action`, which talks to the bus and may throw, and waits for what it caused.
  template <typename Action>
  auto attempt(const std::string& context, Action action) -> decltype(action()) {
    if (lost_) {
      return bus_fail(BusError::disconnected, context);
    }
    try {
      auto result = action();
      rearm();
      return result;
    } catch (const sdbus::Error& error) {
      rearm();
      return failed(error, context);
    }
  }

  [[nodiscard]] sdbus::IConnection& native() { return *connection_; }
  void rearm();
  Outcome export_object(BusObject object);
  sdbus::IObject* find(const std::string& path, std::string& interface);
  Outcome send(const BusCall& call, std::function<void(Result<BusValues>)> on_reply);
  Result<BusSubscription> subscribe(const BusMatch& match, std::function<void(const BusNotice&)> callback);

private:
  struct Export {
    std::string interface;
    std::unique_ptr<sdbus::IObject> object;
  };
  /// Outlives the connection in the hands of others and tells them whether it is still there.
  struct Alive {
    Connection* connection;
  };

  void pump();
  void lose(const Error& error);
  void handle(const BusMethod& method, sdbus::MethodCall call);
  void answer(std::uint64_t request, const BusReply& reply);
  void finish(std::uint64_t call);

  EventLoop& loop_;
  LostCallback on_lost_;
  std::unique_ptr<sdbus::IConnection> connection_;
  std::map<std::string, Export> exports_;
  std::map<std::uint64_t, sdbus::MethodCall> requests_;            // not answered yet
  std::map<std::uint64_t, std::unique_ptr<sdbus::IProxy>> calls_;  // no answer yet
  std::map<std::uint64_t, sdbus::Slot> matches_;
  // What ended inside its own callback is destroyed after it.
  std::vector<std::unique_ptr<sdbus::IProxy>> ended_calls_;
  std::vector<sdbus::Slot> ended_matches_;
  std::uint64_t next_id_{0};
  bool pumping_{false};
  bool lost_{false};
  // A duplicate of the bus's descriptor: sd-bus closes its own when the bus dies, and an epoll entry that could not be
  // removed before that stays for as long as any forked child has the socket.
  Fd watched_;
  std::uint32_t armed_events_{0};
  EventSource readiness_;
  EventSource deadline_;
  std::shared_ptr<Alive> alive_{std::make_shared<Alive>(Alive{this})};
};

void Bus::Connection::rearm() {
  if (pumping_ || lost_) {
    return;  // pump() ends with it
  }
  try {
    const auto data = connection_->getEventLoopPollData();
    const auto events = static_cast<std::uint32_t>(((data.events & POLLIN) != 0 ? EPOLLIN : 0U) |
                                                   ((data.events & POLLOUT) != 0 ? EPOLLOUT : 0U));
    if (!watched_) {
      watched_ = Fd{::fcntl(data.fd, F_DUPFD_CLOEXEC, 0)};
    }
    if (events != armed_events_ || !readiness_) {
      readiness_ = {};  // one descriptor cannot be watched twice
      auto source = loop_.watch_fd(watched_.get(), events, [this](std::uint32_t) { pump(); });
      if (!source) {
        return lose(source.error());
      }
      readiness_ = std::move(*source);
      armed_events_ = events;
    }
    deadline_ = {};
    if (const auto deadline = compat::deadline(data); deadline != std::chrono::microseconds::max()) {
      const auto now = monotonic_now();
      auto source = loop_.after(deadline > now ? deadline - now : std::chrono::microseconds{0}, [this] { pump(); });
      if (!source) {
        return lose(source.error());
      }
      deadline_ = std::move(*source);
    }
  } catch (const sdbus::Error& error) {
    lose(failed(error, "D-Bus").error);
  }
}

void Bus::Connection::pump() {
  if (lost_) {
    return;
  }
  pumping_ = true;
  try {
    for (int i = 0; i < messages_at_once && compat::process(*connection_); ++i) {
    }
  } catch (const sdbus::Error& error) {
    lose(failed(error, "D-Bus").error);
  }
  pumping_ = false;
  ended_calls_.clear();
  ended_matches_.clear();
  rearm();
}

void Bus::Connection::lose(const Error& error) {
  if (lost_) {
    return;
  }
  lost_ = true;
  readiness_ = {};
  // From the loop: the callback may destroy this object, and somebody further up may still be using it.
  auto source = loop_.after(std::chrono::microseconds{0}, [callback = on_lost_, error] {
    callback(Error{make_error_code(BusError::disconnected), error.context});
  });
  if (source) {
    deadline_ = std::move(*source);
  }
}

void Bus::Connection::handle(const BusMethod& method, sdbus::MethodCall call) {
  BusRequest request{compat::text(call.getSender()), compat::decode_sequence(call, method.arguments),
                     [&call]() -> Result<std::uint32_t> {
                       try {
                         // Not getCredsUid(): the bus knows only the effective uid, the other is read from /proc,
                         // where the process may be another one by now.
                         return call.getCredsEuid();
                       } catch (const sdbus::Error& error) {
                         return failed(error, "D-Bus: ask who is calling");
                       }
                     }};
  const std::uint64_t id = ++next_id_;
  requests_.emplace(id, call);
  method.handler(request, [id, alive = std::weak_ptr{alive_}](const BusReply& reply) {
    if (const auto present = alive.lock()) {
      present->connection->answer(id, reply);
    }
  });
}

void Bus::Connection::answer(std::uint64_t request, const BusReply& reply) {
  const auto found = requests_.find(request);
  if (found == requests_.end()) {
    return;
  }
  const sdbus::MethodCall call = found->second;
  requests_.erase(found);
  // An answer that cannot be sent has lost its asker; nobody is left to be told.
  static_cast<void>(attempt("D-Bus: answer", [&]() -> Outcome {
    if (const auto* failure = std::get_if<BusFailure>(&reply)) {
      call.createErrorReply(compat::make_error(failure->name, failure->text)).send();
      return done();
    }
    auto message = call.createReply();
    for (const BusValue& value : std::get<BusValues>(reply)) {
      compat::encode(message, value);
    }
    message.send();
    return done();
  }));
}

Outcome Bus::Connection::export_object(BusObject object) {
  return attempt("D-Bus: export " + object.path, [&]() -> Outcome {
    auto exported = sdbus::createObject(*connection_, sdbus::ObjectPath{object.path});
    std::vector<compat::Called> methods;
    for (const BusMethod& method : object.methods) {
      methods.emplace_back([this, method](sdbus::MethodCall call) { handle(method, std::move(call)); });
    }
    compat::register_interface(*exported, object, methods);
    exports_.insert_or_assign(object.path, Export{object.interface, std::move(exported)});
    return done();
  });
}

sdbus::IObject* Bus::Connection::find(const std::string& path, std::string& interface) {
  const auto found = exports_.find(path);
  if (found == exports_.end()) {
    return nullptr;
  }
  interface = found->second.interface;
  return found->second.object.get();
}

void Bus::Connection::finish(std::uint64_t call) {
  if (auto found = calls_.extract(call)) {
    ended_calls_.push_back(std::move(found.mapped()));
  }
}

Outcome Bus::Connection::send(const BusCall& call, std::function<void(Result<BusValues>)> on_reply) {
  return attempt(what(call), [&]() -> Outcome {
    auto proxy = compat::create_proxy(*connection_, call);
    auto message = compat::create_call(*proxy, call);
    for (const BusValue& argument : call.arguments) {
      compat::encode(message, argument);
    }
    const std::uint64_t id = ++next_id_;
    compat::send(
        *proxy, message,
        [this, id, context = what(call), signature = call.reply_signature, on_reply = std::move(on_reply)](
            sdbus::Message& reply, const sdbus::Error* error) {
          finish(id);
          Result<BusValues> result = BusValues{};
          try {
            result = error != nullptr ? Result<BusValues>{failed(*error, context)}
                                      : Result<BusValues>{compat::decode_sequence(reply, signature)};
          } catch (const sdbus::Error& unreadable) {
            result = failed(unreadable, context);
          }
          on_reply(std::move(result));
        },
        microseconds(call.timeout));
    calls_.emplace(id, std::move(proxy));
    return done();
  });
}

Result<BusSubscription> Bus::Connection::subscribe(const BusMatch& match,
                                                   std::function<void(const BusNotice&)> callback) {
  const std::string rule = match_rule(match);
  return attempt("D-Bus: listen to " + rule, [&]() -> Result<BusSubscription> {
    auto slot = compat::add_match(
        *connection_, rule, [callback = std::move(callback), signature = match.signature](sdbus::Message& message) {
          try {
            callback({compat::text(message.getSender()), compat::text(message.getPath()),
                      compat::text(message.getMemberName()), compat::decode_sequence(message, signature)});
          } catch (const sdbus::Error&) {
            // A signal of another shape is not the one that was asked for.
          }
        });
    const std::uint64_t id = ++next_id_;
    matches_.emplace(id, std::move(slot));
    // The subscription may outlive the connection; then there is nothing left to end.
    return BusSubscription{std::shared_ptr<void>(this, [id, alive = std::weak_ptr{alive_}](void*) {
      const auto present = alive.lock();
      if (present == nullptr) {
        return;
      }
      Connection& self = *present->connection;
      if (auto found = self.matches_.extract(id)) {
        if (self.pumping_) {
          self.ended_matches_.push_back(std::move(found.mapped()));
        }
      }
    })};
  });
}

Bus::Bus(std::unique_ptr<Connection> connection) : connection_{std::move(connection)} {}
Bus::Bus(Bus&&) noexcept = default;
Bus& Bus::operator=(Bus&&) noexcept = default;
Bus::~Bus() = default;

Result<Bus> Bus::connect_system(EventLoop& loop, LostCallback on_lost) {
  try {
    auto connection = std::make_unique<Connection>(loop, std::move(on_lost), sdbus::createSystemBusConnection());
    connection->rearm();
    return Bus{std::move(connection)};
  } catch (const sdbus::Error& error) {
    return bus_fail(BusError::unreachable, "D-Bus: connect to the system bus: " + error.getMessage());
  }
}

Outcome Bus::request_name(const std::string& name) {
  const std::string context = "D-Bus: request the name " + name;
  const auto owner = owner_of(name);
  if (!owner) {
    return fail(owner.error());
  }
  if (owner->has_value()) {
    return bus_fail(BusError::name_taken, fmt::format("{}: {} has it", context, **owner));
  }
  return connection_->attempt(context, [&]() -> Outcome {
    compat::request_name(connection_->native(), name);
    return done();
  });
}

Outcome Bus::export_object(BusObject object) {
  return connection_->export_object(std::move(object));
}

Outcome Bus::emit_signal(const std::string& path, const std::string& member, const BusValues& values) {
  return connection_->attempt("D-Bus: emit " + member, [&]() -> Outcome {
    std::string interface;
    sdbus::IObject* object = connection_->find(path, interface);
    if (object == nullptr) {
      return bus_fail(BusError::invalid_argument, "D-Bus: no object at " + path);
    }
    auto signal = compat::create_signal(*object, interface, member);
    for (const BusValue& value : values) {
      compat::encode(signal, value);
    }
    object->emitSignal(signal);
    return done();
  });
}

Outcome Bus::properties_changed(const std::string& path, const std::vector<std::string>& properties) {
  return connection_->attempt("D-Bus: announce properties of " + path, [&]() -> Outcome {
    std::string interface;
    sdbus::IObject* object = connection_->find(path, interface);
    if (object == nullptr) {
      return bus_fail(BusError::invalid_argument, "D-Bus: no object at " + path);
    }
    compat::properties_changed(*object, interface, properties);
    return done();
  });
}

Result<BusValues> Bus::call(const BusCall& call) {
  BusCall addressed = call;
  if (must_ask_for_owner(call)) {
    auto owner = owner_of(call.destination);
    if (!owner) {
      return fail(owner.error().within(what(call)));
    }
    if (!owner->has_value()) {
      return bus_fail(BusError::service_unknown, what(call) + ": the service is not running");
    }
    addressed.destination = **owner;
  }
  return connection_->attempt(what(call), [&]() -> Result<BusValues> {
    const auto proxy = compat::create_proxy(connection_->native(), addressed);
    auto message = compat::create_call(*proxy, addressed);
    for (const BusValue& argument : call.arguments) {
      compat::encode(message, argument);
    }
    auto reply = proxy->callMethod(message, microseconds(call.timeout));
    return compat::decode_sequence(reply, call.reply_signature);
  });
}

Outcome Bus::call_async(const BusCall& call, std::function<void(Result<BusValues>)> on_reply) {
  if (!must_ask_for_owner(call)) {
    return connection_->send(call, std::move(on_reply));
  }
  const auto forward = [connection = connection_.get(), call, on_reply](Result<BusValues> owner) {
    if (!owner) {
      return on_reply(fail(owner.error().within(what(call))));
    }
    BusCall addressed = call;
    addressed.destination = std::get<std::string>(owner->at(0).content);
    if (auto sent = connection->send(addressed, on_reply); !sent) {
      on_reply(fail(sent.error()));
    }
  };
  return connection_->send(owner_query(call.destination), forward);
}

Result<BusSubscription> Bus::subscribe(const BusMatch& match, std::function<void(const BusNotice&)> callback) {
  return connection_->subscribe(match, std::move(callback));
}

Result<BusSubscription> Bus::watch_name(const std::string& name, std::function<void(const std::string&)> callback) {
  return subscribe({.sender = bus_name,
                    .path = "/org/freedesktop/DBus",
                    .interface = bus_name,
                    .member = "NameOwnerChanged",
                    .first_argument = name,
                    .signature = "sss"},
                   [callback = std::move(callback)](const BusNotice& notice) {
                     callback(std::get<std::string>(notice.arguments.at(2).content));
                   });
}

Result<std::optional<std::string>> Bus::owner_of(const std::string& name) {
  const auto owner = call(owner_query(name));
  if (owner) {
    return std::optional{std::get<std::string>(owner->at(0).content)};
  }
  if (owner.error().code == BusError::service_unknown) {
    return std::optional<std::string>{};
  }
  return fail(owner.error());
}

}  // namespace killswitch::os
