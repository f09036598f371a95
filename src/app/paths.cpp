#include "killswitch/app/paths.hpp"

#include <cstdlib>

namespace killswitch::app {
namespace {

std::string directory(const char* variable, const char* usual) {
  const char* value = ::secure_getenv(variable);
  // systemd separates several directories by ':'; ours has one. Relative paths would depend on where we were started.
  if (value == nullptr || value[0] != '/') {
    return usual;
  }
  const std::string given{value};
  return given.substr(0, given.find(':'));
}

}  // namespace

Paths paths_from_environment() {
  return {directory("STATE_DIRECTORY", "/var/lib/killswitch"), directory("RUNTIME_DIRECTORY", "/run/killswitch"),
          directory("CONFIGURATION_DIRECTORY", "/etc/killswitch"), KILLSWITCH_DATA_DIRECTORY};
}

}  // namespace killswitch::app
