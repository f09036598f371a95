// Policies by name or by file: the administrator's directory comes before the package's.
#pragma once

#include "killswitch/app/paths.hpp"
#include "killswitch/base/result.hpp"
#include "killswitch/model/policy.hpp"

#include <string>
#include <vector>

namespace killswitch::app {

struct PolicyFile {
  std::string name;
  std::string path;
  bool operator==(const PolicyFile&) const = default;
};

/// What `--policy` may name, sorted; a file of the administrator hides the package's of the same name.
[[nodiscard]] std::vector<PolicyFile> list_policies(const Paths& paths);

/// @param name_or_file a name ("laptop"), or a path: whatever contains '/' or ends in ".json"
[[nodiscard]] Result<model::Policy> load_policy(const Paths& paths, const std::string& name_or_file);

}  // namespace killswitch::app
