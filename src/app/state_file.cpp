#include "killswitch/app/state_file.hpp"

#include "killswitch/codec/state_json.hpp"
#include "killswitch/os/files.hpp"

namespace killswitch::app {

Result<std::optional<model::SavedState>> load_state(const Paths& paths) {
  const auto path = paths.state_file();
  const auto text = os::read_file(path);
  if (!text) {
    if (text.error().code == std::errc::no_such_file_or_directory) {
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

Outcome save_state(const Paths& paths, const model::SavedState& state) {
  if (auto made = os::ensure_directory(paths.state_directory, 0700); !made) {
    return made;
  }
  return os::replace_file(paths.state_file(), codec::render_state(state), 0600);
}

}  // namespace killswitch::app
