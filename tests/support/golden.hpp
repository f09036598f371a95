// Expected texts in files: compared to the letter, and refreshed by one variable so that a change is reviewed as a diff.
#pragma once

#include "support/catch.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace killswitch::test {

/// Compares `actual` with tests/golden/`name`. KILLSWITCH_UPDATE_GOLDEN=1 writes the file anew instead.
inline void check_golden(const std::string& name, const std::string& actual) {
  const std::string path = std::string{PROJECT_ROOT} + "/tests/golden/" + name;
  if (std::getenv("KILLSWITCH_UPDATE_GOLDEN") != nullptr) {
    std::ofstream{path} << actual;
  }
  std::ifstream file{path};
  std::stringstream expected;
  expected << file.rdbuf();
  INFO("tests/golden/" << name << "; KILLSWITCH_UPDATE_GOLDEN=1 writes it anew");
  CHECK(actual == expected.str());
}

}  // namespace killswitch::test
