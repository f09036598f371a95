// Policies by name or by file. Four are compiled into the programs, so that no installation can lack them; files of the
// same name replace them, the administrator's before the package's.
#pragma once

#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"
#include "killswitch/model/policy.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::app {

/// A policy that is compiled in: policies/NAME.json of the source tree.
struct BuiltInPolicy {
  std::string_view name;
  std::string_view json;
};

/// @return sorted by name
[[nodiscard]] const std::vector<BuiltInPolicy>& built_in_policies();

/// Where `--policy NAME` finds its policy.
struct PolicySource {
  std::string name;
  std::optional<std::string> path;  ///< nothing: built in
  bool operator==(const PolicySource&) const = default;
};

/// Every name that `--policy` may have, sorted.
/// @return an error that names the directory when one is there and cannot be read: what it overrides is then unknown
[[nodiscard]] Result<std::vector<PolicySource>> list_policies(const Paths& paths);

/// @return an error that names the file when it cannot be read or is no valid policy; the built-in policy of the same
/// name never stands in for it
[[nodiscard]] Result<model::Policy> load_policy(const PolicySource& source);

/// @param name_or_file a name ("laptop"), or a path: whatever contains '/' or ends in ".json"
/// @return errors as above, or that there is no policy of that name
[[nodiscard]] Result<model::Policy> load_policy(const Paths& paths, const std::string& name_or_file);

}  // namespace killswitch::app
