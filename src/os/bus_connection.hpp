// Private to the bus facade: one connection, and the small things that both of its halves need. Together with
// bus.cpp, bus_connection.cpp and bus_sdbus.hpp all that knows sdbus-c++.
#pragma once

#include "killswitch/os/bus.hpp"
#include "killswitch/os/fd.hpp"

#include "bus_sdbus.hpp"

#include <map>

namespace killswitch::os {

namespace compat = sdbus_compat;

inline Failure bus_fail(BusError error, std::string context) {
  return fail(Error{make_error_code(error), std::move(context)});
}

inline Failure bus_failed(const sdbus::Error& error, const std::string& what) {
  const std::string& name = error.getName();
  return bus_fail(classify_bus_error(name), what + ": " + (error.getMessage().empty() ? name : error.getMessage()));
}

inline constexpr const char* bus_name = "org.freedesktop.DBus";

/// Who has the name.
[[nodiscard]] BusCall owner_query(const std::string& name);
/// "D-Bus: call M of D"
[[nodiscard]] std::string words_for(const BusCall& call);
[[nodiscard]] std::uint64_t microseconds_of(std::chrono::milliseconds time);

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
      return bus_failed(error, context);
    }
  }

  [[nodiscard]] sdbus::IConnection& native() { return *connection_; }
  void rearm();
  Outcome export_object(BusObject object);
  sdbus::IObject* find(const std::string& path, std::string& interface);
  using Reply = std::function<void(Result<BusValues>)>;
  /// @param destination name or unique name of who is called
  Outcome send(const BusCall& call, const std::string& destination, Reply on_reply);
  /// Calls whoever has the name at this moment, and starts nobody.
  Outcome send_to_owner(const BusCall& call, Reply on_reply);
  Result<BusSubscription> subscribe(const BusMatch& match, std::function<void(const BusNotice&)> callback);
  Result<BusSubscription> watch_name(const std::string& name, std::function<void(const std::string&)> callback);

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
  Outcome ask_owner(const BusCall& call, Reply on_reply);
  bool follows_owner(const std::string& name);

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
  // Who has a name is asked once; after that the bus says so by itself.
  std::map<std::string, std::string> owners_;
  std::map<std::string, BusSubscription> owner_watches_;
};

}  // namespace killswitch::os
