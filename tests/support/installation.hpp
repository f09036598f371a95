// The directories of an installation, empty, in a temporary place that goes with the object.
#pragma once

#include "killswitch/app/paths.hpp"
#include "support/catch.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace killswitch::test {

class Installation {
public:
  Installation() {
    std::string pattern = (std::filesystem::temp_directory_path() / "killswitch-test-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    root_ = pattern;
    for (const char* directory : {"state", "run", "etc/policies", "share/policies"}) {
      std::filesystem::create_directories(root_ / directory);
    }
  }
  Installation(const Installation&) = delete;
  Installation& operator=(const Installation&) = delete;
  ~Installation() { std::filesystem::remove_all(root_); }

  [[nodiscard]] app::Paths paths() const { return {root_ / "state", root_ / "run", root_ / "etc", root_ / "share"}; }
  /// @param name relative to the installation, as in "etc/policies/laptop.json"
  /// @return the path of the new file
  std::string write(const std::string& name, const std::string& text) const {
    const auto path = root_ / name;
    std::ofstream{path} << text;
    return path;
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(root_ / name); }

private:
  std::filesystem::path root_;
};

}  // namespace killswitch::test
