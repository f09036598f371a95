// One connection to the bus: driven by the loop, with what others call, what is called, and what is listened to.
#include "bus_connection.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

namespace killswitch::os {
namespace {

// Messages of one wake-up; a flood must not keep the loop from everything else. What is left wakes it again.
constexpr int messages_at_once = 64;

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

BusCall owner_query(const std::string& name) {
  return {.destination = bus_name,
          .path = "/org/freedesktop/DBus",
          .interface = bus_name,
          .member = "GetNameOwner",
          .arguments = {bus_string(name)},
          .reply_signature = "s"};
}

std::string words_for(const BusCall& call) {
  return fmt::format("D-Bus: call {} of {}", call.member, call.destination);
}

std::uint64_t microseconds_of(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::microseconds{time}.count());
}

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
    lose(bus_failed(error, "D-Bus").error);
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
    lose(bus_failed(error, "D-Bus").error);
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
                         return bus_failed(error, "D-Bus: ask who is calling");
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

Outcome Bus::Connection::send(const BusCall& call, const std::string& destination, Reply on_reply) {
  return attempt(words_for(call), [&]() -> Outcome {
    BusCall addressed = call;
    addressed.destination = destination;
    auto proxy = compat::create_proxy(*connection_, addressed);
    auto message = compat::create_call(*proxy, addressed);
    for (const BusValue& argument : call.arguments) {
      compat::encode(message, argument);
    }
    const std::uint64_t id = ++next_id_;
    compat::send(
        *proxy, message,
        [this, id, context = words_for(call), signature = call.reply_signature, on_reply = std::move(on_reply)](
            sdbus::Message& reply, const sdbus::Error* error) {
          finish(id);
          Result<BusValues> result = BusValues{};
          try {
            result = error != nullptr ? Result<BusValues>{bus_failed(*error, context)}
                                      : Result<BusValues>{compat::decode_sequence(reply, signature)};
          } catch (const sdbus::Error& unreadable) {
            result = bus_failed(unreadable, context);
          }
          on_reply(std::move(result));
        },
        microseconds_of(call.timeout));
    calls_.emplace(id, std::move(proxy));
    return done();
  });
}

Outcome Bus::Connection::send_to_owner(const BusCall& call, Reply on_reply) {
  const auto known = owners_.find(call.destination);
  if (known == owners_.end() || known->second.empty()) {
    return ask_owner(call, std::move(on_reply));
  }
  return send(call, known->second, [this, call, on_reply = std::move(on_reply)](Result<BusValues> answer) {
    if (answer || answer.error().code != BusError::service_unknown) {
      return on_reply(std::move(answer));
    }
    // It ended, and the word of it is still on its way, as may be that of the next one.
    if (auto sent = ask_owner(call, on_reply); !sent) {
      on_reply(fail(sent.error()));
    }
  });
}

Outcome Bus::Connection::ask_owner(const BusCall& call, Reply on_reply) {
  const bool follows = follows_owner(call.destination);
  return send(owner_query(call.destination), bus_name,
              [this, call, follows, on_reply = std::move(on_reply)](const Result<BusValues>& owner) {
                if (!owner) {
                  return on_reply(fail(owner.error().within(words_for(call))));
                }
                const auto& unique_name = std::get<std::string>(owner->at(0).content);
                if (follows) {
                  owners_[call.destination] = unique_name;
                }
                if (auto sent = send(call, unique_name, on_reply); !sent) {
                  on_reply(fail(sent.error()));
                }
              });
}

bool Bus::Connection::follows_owner(const std::string& name) {
  if (owner_watches_.contains(name)) {
    return true;
  }
  auto watch = watch_name(name, [this, name](const std::string& owner) { owners_[name] = owner; });
  return watch && owner_watches_.emplace(name, std::move(*watch)).second;
}

Result<BusSubscription> Bus::Connection::watch_name(const std::string& name,
                                                    std::function<void(const std::string&)> callback) {
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

}  // namespace killswitch::os
