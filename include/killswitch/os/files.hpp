// Files: read whole, replaced atomically.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/os/fd.hpp"

#include <sys/types.h>
#include <optional>
#include <string>
#include <string_view>

namespace killswitch::os {

/// @return an error for anything but a readable regular file of at most `limit` bytes; ENOENT when there is none.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t limit = 4U << 20U);

enum class Durability {
  synced,  ///< the old or the new content is there, also after a power cut
  swift,   ///< after a power cut it may be empty: for what is written anew by then
};

/// Writes beside `path`, fsyncs, renames over it and fsyncs the directory: a reader sees the old or the new content.
/// A dangling or foreign symbolic link at `path` is replaced, not followed.
[[nodiscard]] Outcome replace_file(const std::string& path, std::string_view content, mode_t mode,
                                   Durability durability = Durability::synced);

/// Creates the directory (one level) when it is missing, with `mode`.
[[nodiscard]] Outcome ensure_directory(const std::string& path, mode_t mode);

/// An exclusive lock that ends with the process. Nothing when another process holds it.
[[nodiscard]] Result<std::optional<Fd>> try_lock(const std::string& path);

}  // namespace killswitch::os
