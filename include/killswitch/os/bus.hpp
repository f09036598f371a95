// D-Bus for the whole program: one connection that can call, listen, and be called.
//
// bus.cpp and its private neighbours alone know sdbus-c++; its exceptions end there and become `BusError`. A lost
// connection ends this object, not the program: `on_lost` is called once from the event loop, and whoever wants a bus
// again makes a new one. Callbacks run from the event loop and must not destroy the Bus; on_lost may.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/os/bus_value.hpp"
#include "killswitch/os/event_loop.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>
#include <vector>

namespace killswitch::os {

enum class BusError {
  unreachable = 1,   ///< there is no bus, or it does not let us in
  name_taken,        ///< another process owns the name that was requested
  service_unknown,   ///< nobody owns the name that was called
  access_denied,     ///< the bus or the service refused us
  timed_out,         ///< no answer in time
  disconnected,      ///< the connection is gone
  invalid_argument,  ///< the service did not like an argument
  no_such_object,    ///< what the call was about is not there (any more)
  remote_error,      ///< any other error that the service answered with
};
[[nodiscard]] const std::error_category& bus_category();
[[nodiscard]] std::error_code make_error_code(BusError error);
/// What the name of a D-Bus error ("org.freedesktop.DBus.Error.ServiceUnknown") means to us.
[[nodiscard]] BusError classify_bus_error(std::string_view name);

enum class Activation { allowed, refused };  ///< may the bus start the service for this call?

struct BusCall {
  std::string destination;
  std::string path;
  std::string interface;
  std::string member;
  BusValues arguments{};
  std::string reply_signature{};  ///< of what is read from the answer; the rest of it is ignored
  Activation activation{Activation::refused};
  std::chrono::milliseconds timeout{5000};
};

/// A call that somebody made to an exported method. Valid while its handler runs.
struct BusRequest {
  std::string sender;  ///< unique name, e.g. ":1.7"
  BusValues arguments;
  /// The effective uid with which the caller connected to the bus, as the bus vouches for it.
  std::function<Result<std::uint32_t>()> caller_uid;
};
struct BusFailure {
  std::string name;  ///< "org.killswitch1.Error.Failed"
  std::string text;
};
using BusReply = std::variant<BusValues, BusFailure>;
/// To be called once, in the handler or later; without effect when the connection is gone.
using BusAnswer = std::function<void(BusReply)>;

struct BusMethod {
  std::string name;
  std::string arguments;  ///< signature
  std::vector<std::string> argument_names;
  std::string reply;  ///< signature
  std::vector<std::string> reply_names;
  std::function<void(const BusRequest&, BusAnswer)> handler;
};
struct BusProperty {
  std::string name;
  std::string signature;
  std::function<BusValue()> read;
};
struct BusSignal {
  std::string name;
  std::string signature;
  std::vector<std::string> names;
};
struct BusObject {
  std::string path;
  std::string interface;
  std::vector<BusMethod> methods;
  std::vector<BusProperty> properties;
  std::vector<BusSignal> signals;
};

/// Which signals are listened to; empty fields match anything.
struct BusMatch {
  std::string sender{};
  std::string path{};
  std::string interface {};
  std::string member{};
  std::string first_argument{};
  std::string signature{};  ///< of what is read from the signal
};
struct BusNotice {
  std::string sender;
  std::string path;
  std::string member;
  BusValues arguments;
};

/// Ends its subscription when it is destroyed.
class BusSubscription {
public:
  BusSubscription() = default;
  explicit BusSubscription(std::shared_ptr<void> hold) : hold_{std::move(hold)} {}
  BusSubscription(BusSubscription&&) noexcept = default;
  BusSubscription& operator=(BusSubscription&&) noexcept = default;
  explicit operator bool() const { return static_cast<bool>(hold_); }

private:
  std::shared_ptr<void> hold_;
};

class Bus {
public:
  using LostCallback = std::function<void(const Error&)>;

  /// The system bus; $DBUS_SYSTEM_BUS_ADDRESS may name another one (not for set-uid programs).
  /// @return BusError::unreachable; trying again later is the caller's decision.
  [[nodiscard]] static Result<Bus> connect_system(EventLoop& loop, LostCallback on_lost);

  Bus(Bus&&) noexcept;
  Bus& operator=(Bus&&) noexcept;
  ~Bus();

  /// @return BusError::name_taken (the present owner is not replaced, nor waited for), access_denied by the bus policy
  [[nodiscard]] Outcome request_name(const std::string& name);
  [[nodiscard]] Outcome export_object(BusObject object);
  [[nodiscard]] Outcome emit_signal(const std::string& path, const std::string& member, const BusValues& values);
  /// org.freedesktop.DBus.Properties.PropertiesChanged with the present values.
  [[nodiscard]] Outcome properties_changed(const std::string& path, const std::vector<std::string>& properties);

  /// Waits for the answer. For programs that have nothing else to do meanwhile; a daemon uses call_async.
  [[nodiscard]] Result<BusValues> call(const BusCall& call);
  /// @return an error when nothing was sent; then `on_reply` is not called, else exactly once, unless the Bus ends
  /// first
  [[nodiscard]] Outcome call_async(const BusCall& call, std::function<void(Result<BusValues>)> on_reply);

  [[nodiscard]] Result<BusSubscription> subscribe(const BusMatch& match,
                                                  std::function<void(const BusNotice&)> callback);
  /// `callback` gets the unique name of the new owner, empty when there is none any more. Only changes are told.
  [[nodiscard]] Result<BusSubscription> watch_name(const std::string& name,
                                                   std::function<void(const std::string& owner)> callback);
  /// @return nothing when nobody owns `name`
  [[nodiscard]] Result<std::optional<std::string>> owner_of(const std::string& name);

private:
  class Connection;
  explicit Bus(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> connection_;  // the loop's callbacks point into it, so it must not move
};

}  // namespace killswitch::os

template <>
struct std::is_error_code_enum<killswitch::os::BusError> : std::true_type {};
