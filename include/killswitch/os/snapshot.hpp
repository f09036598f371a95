// One name in the file system as it is: a file, a link, or nothing; and the ways to put such a thing there.
#pragma once

#include "killswitch/base/result.hpp"

#include <sys/types.h>
#include <string>
#include <string_view>

namespace killswitch::os {

struct Snapshot {
  enum class Kind { absent, regular, symlink, other } kind{Kind::absent};
  std::string target;     ///< of a link
  std::string real_path;  ///< where the name leads; empty: nowhere
  std::string content;    ///< of the regular file behind it
  mode_t mode{0};
  uid_t user{0};
  gid_t group{0};
  bool mount_point{false};  ///< something is mounted over it
  bool immutable{false};    ///< chattr +i
};

/// @return an error when it is there but cannot be read, or holds more than `limit` bytes.
[[nodiscard]] Result<Snapshot> take_snapshot(const std::string& path, std::size_t limit = 256U << 10U);

/// Writes into the file that is there, for a mount point, which cannot be replaced. A reader may see both contents.
[[nodiscard]] Outcome write_in_place(const std::string& path, std::string_view content);
/// A symbolic link to `target` takes the place of what is at `path`, in one step.
[[nodiscard]] Outcome replace_with_link(const std::string& path, const std::string& target);
/// Nothing is there afterwards; it is no error when nothing was.
[[nodiscard]] Outcome remove_file(const std::string& path);
[[nodiscard]] Outcome change_owner(const std::string& path, uid_t user, gid_t group);

}  // namespace killswitch::os
