// The daemon on D-Bus: org.killswitch1 with its one object and interface (packaging/dbus/org.killswitch1.Manager.xml).
//
// Requests are checked (who, how long) and handed to the handlers; what they decide is not known here. Anybody may
// read the status. Only root may enable, disable and read the rules, which name addresses.
#pragma once

#include "killswitch/os/bus.hpp"

#include <functional>
#include <memory>
#include <string>

namespace killswitch::serve {

inline constexpr const char* bus_name = "org.killswitch1";
inline constexpr const char* object_path = "/org/killswitch1";
inline constexpr const char* interface_name = "org.killswitch1.Manager";

/// Longest settings that are accepted, in bytes: thousands of servers, and nothing that could exhaust the daemon.
inline constexpr std::size_t longest_settings = 1U << 20U;

struct Handlers {
  /// `settings_json` → status as JSON. An error of std::errc::invalid_argument is told as InvalidArgument.
  std::function<Result<std::string>(const std::string& settings_json)> enable;
  std::function<Result<std::string>()> disable;
  std::function<Result<std::string>()> status;
  std::function<Result<std::string>()> rules;  ///< nft(8) text of what the kernel is to hold
};

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
