// The daemon on D-Bus: org.killswitch1 with its one object and interface (packaging/dbus/org.killswitch1.Manager.xml).
//
// Requests are checked (who, how long) and handed to the handlers; what they decide is not known here. Anybody may
// read the status. Root may do everything; others may enable and disable when polkit says so, which is decided later.
// Only root reads the rules, which name addresses.
#pragma once

#include "killswitch/os/bus.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace killswitch::serve {

inline constexpr const char* bus_name = "org.killswitch1";
inline constexpr const char* object_path = "/org/killswitch1";
inline constexpr const char* interface_name = "org.killswitch1.Manager";

/// Longest settings that are accepted, in bytes: thousands of servers, and nothing that could exhaust the daemon.
inline constexpr std::size_t longest_settings = 1U << 20U;

/// Who was let in.
enum class Caller {
  root,
  administrator,  ///< by polkit: may decide about the lock, but is not to read files or open sockets as root through us
};

struct EnableCall {
  std::string settings_json;
  std::optional<std::chrono::seconds> trial;  ///< reverts after this time unless confirmed
  Caller caller{Caller::administrator};
};

/// Takes what a handler returns. Called once, at once or later.
using Answer = std::function<void(const Result<std::string>&)>;

/// All of them return the status as JSON. An error of std::errc::invalid_argument is told as InvalidArgument.
struct Handlers {
  std::function<Result<std::string>(const EnableCall& call)> enable;
  std::function<Result<std::string>()> confirm;
  std::function<void(const Answer& answer)> disable;  ///< answers when names are given back as well
  std::function<Result<std::string>()> status;
  std::function<Result<std::string>()> resync;  ///< everything outside may have changed
  std::function<Result<std::string>()> rules;   ///< nft(8) text of what the kernel is to hold
};

/// Requests that wait for polkit at the same time: of one user, and in all. Each may hold `longest_settings`.
inline constexpr std::size_t most_waiting_of_a_user = 4;
inline constexpr std::size_t most_waiting = 16;

/// The properties. `StatusChanged` carries more, as JSON.
struct Summary {
  std::string state;
  std::string policy;
  bool enforced{false};
  bool operator==(const Summary&) const = default;
};

class Manager {
public:
  /// Exports the object and takes the name, in this order: whoever sees the name finds the object.
  /// @return BusError::name_taken when another daemon runs, access_denied when the bus policy is not installed
  [[nodiscard]] static Result<Manager> start(os::Bus& bus, Handlers handlers, Summary summary);

  /// Tells everybody: PropertiesChanged for what differs from the last summary, and StatusChanged.
  [[nodiscard]] Outcome announce(Summary summary, const std::string& status_json);

private:
  Manager(os::Bus& bus, std::unique_ptr<Summary> summary) : bus_{&bus}, summary_{std::move(summary)} {}
  os::Bus* bus_;
  std::unique_ptr<Summary> summary_;  // the object's properties read it, so it must not move
};

}  // namespace killswitch::serve
