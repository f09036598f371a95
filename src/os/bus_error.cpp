#include "killswitch/os/bus.hpp"

#include <algorithm>
#include <array>

namespace killswitch::os {
namespace {

class BusCategory final : public std::error_category {
public:
  [[nodiscard]] const char* name() const noexcept override { return "dbus"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<BusError>(value)) {
      case BusError::unreachable: return "the bus cannot be reached";
      case BusError::name_taken: return "the name is taken";
      case BusError::service_unknown: return "the service is not running";
      case BusError::access_denied: return "not permitted";
      case BusError::timed_out: return "no answer in time";
      case BusError::disconnected: return "the connection to the bus is gone";
      case BusError::invalid_argument: return "an argument was refused";
      case BusError::no_such_object: return "the service does not know what it was asked about";
      case BusError::remote_error: return "the service answered with an error";
    }
    return "unknown error";
  }
};

}  // namespace

const std::error_category& bus_category() {
  static const BusCategory category;
  return category;
}

std::error_code make_error_code(BusError error) {
  return {static_cast<int>(error), bus_category()};
}

BusError classify_bus_error(std::string_view name) {
  struct Known {
    std::string_view end;
    BusError error;
  };
  // @source D-Bus specification, libsystemd's bus-error.c (errno values appear as System.Error.NAME)
  constexpr std::array known{
      Known{".ServiceUnknown", BusError::service_unknown},
      Known{".NameHasNoOwner", BusError::service_unknown},
      Known{".AccessDenied", BusError::access_denied},
      Known{".AuthFailed", BusError::access_denied},
      Known{".InteractiveAuthorizationRequired", BusError::access_denied},
      Known{".NoReply", BusError::timed_out},
      Known{".Timeout", BusError::timed_out},
      Known{".TimedOut", BusError::timed_out},
      Known{".FileExists", BusError::name_taken},
      Known{".Disconnected", BusError::disconnected},
      Known{".ENOTCONN", BusError::disconnected},
      Known{".ECONNRESET", BusError::disconnected},
      Known{".EPIPE", BusError::disconnected},
      Known{".UnknownObject", BusError::no_such_object},
      Known{".NoSuchLink", BusError::no_such_object},  // of org.freedesktop.resolve1
      Known{".InvalidArgs", BusError::invalid_argument},
      Known{".InvalidArgument", BusError::invalid_argument},
  };
  if (name.find(".Spawn.") != std::string_view::npos) {
    return BusError::service_unknown;  // the bus tried to start it and could not
  }
  const auto* found = std::find_if(known.begin(), known.end(), [&](const Known& candidate) {
    return name.size() > candidate.end.size() && name.substr(name.size() - candidate.end.size()) == candidate.end;
  });
  return found == known.end() ? BusError::remote_error : found->error;
}

}  // namespace killswitch::os
