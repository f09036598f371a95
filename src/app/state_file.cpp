#include "killswitch/app/state_file.hpp"

#include "killswitch/codec/state_json.hpp"
#include "killswitch/os/files.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <cerrno>

namespace killswitch::app {
namespace {

constexpr std::string_view marker_text =
    "The kill switch is enabled. This file is a second witness, in case its state file is lost: then the machine is\n"
    "locked. `killswitch disable` (or `killswitch disable --offline`) removes it.\n";

bool is_marked(const Paths& paths) {
  return ::access(paths.enabled_marker().c_str(), F_OK) == 0;
}

/// The witness only adds to the state file, so that a directory that cannot be written to is no error.
void mark(const Paths& paths) {
  if (!is_marked(paths) && os::ensure_directory(paths.configuration_directory, 0755)) {
    [[maybe_unused]] const auto marked = os::replace_file(paths.enabled_marker(), marker_text, 0644);
  }
}

}  // namespace

Result<std::optional<model::SavedState>> load_state(const Paths& paths) {
  const auto path = paths.state_file();
  const auto text = os::read_file(path);
  if (!text) {
    if (text.error().code == std::errc::no_such_file_or_directory) {
      if (is_marked(paths)) {
        return fail(ENOENT, fmt::format("{} says that the kill switch is enabled, but {} cannot be read",
                                        paths.enabled_marker(), path));
      }
      return std::optional<model::SavedState>{};
    }
    return fail(text.error());
  }
  auto state = codec::parse_state(*text, path);
  if (!state) {
    return fail(state.error());
  }
  return std::optional<model::SavedState>{std::move(*state)};
}

bool asks_for_lock(const Result<std::optional<model::SavedState>>& state) {
  return !state || (*state && (*state)->enabled);
}

Outcome save_state(const Paths& paths, const model::SavedState& state) {
  if (auto made = os::ensure_directory(paths.state_directory, 0700); !made) {
    return made;
  }
  // A crash in between leaves a machine that is said to be enabled, never the reverse.
  if (state.enabled) {
    mark(paths);
  }
  if (auto replaced = os::replace_file(paths.state_file(), codec::render_state(state), 0600); !replaced) {
    return replaced;
  }
  if (!state.enabled && ::unlink(paths.enabled_marker().c_str()) != 0 && errno != ENOENT) {
    return fail(errno, fmt::format("remove {}", paths.enabled_marker()));
  }
  return done();
}

}  // namespace killswitch::app
