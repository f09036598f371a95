#include "killswitch/app/policies.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/policy_json.hpp"
#include "killswitch/os/files.hpp"

#include <fmt/format.h>
#include <filesystem>
#include <map>
#include <string_view>

namespace killswitch::app {
namespace {

constexpr std::string_view suffix = ".json";

bool is_path(const std::string& text) {
  return text.find('/') != std::string::npos || (text.size() > suffix.size() && text.ends_with(suffix));
}

std::vector<std::string> directories(const Paths& paths) {
  return {paths.configuration_directory + "/policies", paths.data_directory + "/policies"};
}

}  // namespace

std::vector<PolicyFile> list_policies(const Paths& paths) {
  std::map<std::string, std::string> found;
  for (const auto& directory : directories(paths)) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator{directory, error}) {
      const auto& path = entry.path();
      if (path.extension() == suffix && path.stem().extension() != ".schema") {
        found.emplace(path.stem(), path);
      }
    }
  }
  std::vector<PolicyFile> policies;
  for (const auto& [name, path] : found) {
    policies.push_back({name, path});
  }
  return policies;
}

Result<model::Policy> load_policy(const Paths& paths, const std::string& name_or_file) {
  std::string path = name_or_file;
  if (!is_path(name_or_file)) {
    std::vector<std::string> names;
    path.clear();
    for (const auto& candidate : list_policies(paths)) {
      names.push_back(candidate.name);
      if (candidate.name == name_or_file) {
        path = candidate.path;
      }
    }
    if (path.empty()) {
      return fail(fmt::format("there is no policy '{}' in {}; there are: {}", name_or_file,
                              join(directories(paths), " or "), names.empty() ? "none" : join(names, ", ")));
    }
  }
  const auto text = os::read_file(path);
  if (!text) {
    return fail(text.error());
  }
  return codec::parse_policy(*text, path);
}

}  // namespace killswitch::app
