#include "killswitch/app/policies.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/policy_json.hpp"
#include "killswitch/os/files.hpp"

#include <fmt/format.h>
#include <filesystem>
#include <map>

namespace killswitch::app {
namespace {

constexpr std::string_view suffix = ".json";

bool is_path(const std::string& text) {
  return text.find('/') != std::string::npos || (text.size() > suffix.size() && text.ends_with(suffix));
}

/// The first that has a file of some name decides.
std::vector<std::string> override_directories(const Paths& paths) {
  return {paths.configuration_directory + "/policies", paths.data_directory + "/policies"};
}

/// Nothing instead of a path: built in.
using PathsByName = std::map<std::string, std::optional<std::string>>;

/// Adds the policies in a directory that have no file yet.
/// @return an error when the directory exists and cannot be read
Outcome add_files(PathsByName& policies, const std::string& directory) {
  std::error_code error;
  auto entries = std::filesystem::directory_iterator{directory, error};
  for (; !error && entries != std::filesystem::directory_iterator{}; entries.increment(error)) {
    const auto& path = entries->path();
    if (path.extension() != suffix || path.stem().extension() == ".schema") {
      continue;
    }
    auto& known = policies[path.stem()];
    if (!known) {
      known = path;
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(Error{error, "read policies in " + directory});
  }
  return done();
}

}  // namespace

Result<std::vector<PolicySource>> list_policies(const Paths& paths) {
  PathsByName found;
  for (const auto& policy : built_in_policies()) {
    found[std::string{policy.name}];
  }
  for (const auto& directory : override_directories(paths)) {
    if (auto added = add_files(found, directory); !added) {
      return fail(added.error());
    }
  }
  std::vector<PolicySource> policies;
  for (const auto& [name, path] : found) {
    policies.push_back({name, path});
  }
  return policies;
}

Result<model::Policy> load_policy(const PolicySource& source) {
  if (source.path) {
    const auto text = os::read_file(*source.path);
    return text ? codec::parse_policy(*text, *source.path) : fail(text.error());
  }
  for (const auto& policy : built_in_policies()) {
    if (policy.name == source.name) {
      return codec::parse_policy(policy.json, fmt::format("built-in policy {}", policy.name));
    }
  }
  return fail(fmt::format("there is no built-in policy '{}'", source.name));
}

Result<model::Policy> load_policy(const Paths& paths, const std::string& name_or_file) {
  if (is_path(name_or_file)) {
    return load_policy(PolicySource{name_or_file, name_or_file});
  }
  const auto policies = list_policies(paths);
  if (!policies) {
    return fail(policies.error());
  }
  std::vector<std::string> names;
  for (const auto& policy : *policies) {
    if (policy.name == name_or_file) {
      return load_policy(policy);
    }
    names.push_back(policy.name);
  }
  return fail(fmt::format("there is no policy '{}', neither built in nor in {}; there are: {}", name_or_file,
                          join(override_directories(paths), " or "), join(names, ", ")));
}

}  // namespace killswitch::app
