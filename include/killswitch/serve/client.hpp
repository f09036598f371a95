// The daemon as the command sees it: one call, one answer. Every call waits; the command has nothing else to do.
// What can go wrong is one of ClientError, so that the command can say what to do about it.
#pragma once

#include "killswitch/os/bus.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

namespace killswitch::serve {

enum class ClientError {
  bus_unreachable = 1,  ///< no system bus, or it went away
  daemon_not_running,   ///< nobody owns org.killswitch1
  not_permitted,        ///< neither root nor, as far as polkit says, an administrator
  no_answer,            ///< the daemon runs and did not answer in time
  bad_request,          ///< the daemon refused the settings; the context says why
  failed,               ///< the daemon could not do it; the context says why
};
[[nodiscard]] const std::error_category& client_category();
[[nodiscard]] std::error_code make_error_code(ClientError error);

class Client {
public:
  /// @return ClientError::bus_unreachable
  [[nodiscard]] static Result<Client> connect(os::EventLoop& loop);

  /// All of them @return the status as JSON, or an error of ClientError.
  /// @param trial how long until it reverts unless confirmed; nothing: it stays
  [[nodiscard]] Result<std::string> enable(const std::string& settings_json,
                                           std::optional<std::chrono::seconds> trial = {});
  [[nodiscard]] Result<std::string> confirm();
  [[nodiscard]] Result<std::string> disable();
  [[nodiscard]] Result<std::string> status();
  /// The daemon reads everything anew first. @param activation whether it may be started for it
  [[nodiscard]] Result<std::string> resync(os::Activation activation, std::chrono::milliseconds patience);
  /// @return nft(8) text
  [[nodiscard]] Result<std::string> rules();

  /// Runs the loop and calls `changed` with the present status and with every later one, `absent` whenever the daemon
  /// goes (it may come back). `changed` or `absent` end it by stopping the loop.
  /// @return an error when the bus is lost
  [[nodiscard]] Outcome watch(std::function<void(const std::string& status_json)> changed,
                              std::function<void()> absent);

private:
  Client(os::EventLoop& loop, os::Bus bus, std::shared_ptr<bool> lost)
      : loop_{&loop}, bus_{std::move(bus)}, lost_{std::move(lost)} {}
  [[nodiscard]] Result<std::string> change(const char* method, os::BusValues arguments);
  [[nodiscard]] Result<std::string> read(const char* method);
  [[nodiscard]] Result<std::string> call(const char* method, os::BusValues arguments, os::Activation activation,
                                         std::chrono::milliseconds timeout);

  os::EventLoop* loop_;
  os::Bus bus_;
  std::shared_ptr<bool> lost_;  // the bus tells it to a place that does not move
};

}  // namespace killswitch::serve

template <>
struct std::is_error_code_enum<killswitch::serve::ClientError> : std::true_type {};
