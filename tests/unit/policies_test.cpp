// Policies by name and by file: what is built in, and what replaces it.
#include "killswitch/app/policies.hpp"
#include "killswitch/codec/policy_json.hpp"
#include "support/catch.hpp"
#include "support/installation.hpp"

#include <filesystem>
#include <sstream>

using namespace killswitch;
using namespace killswitch::app;
using killswitch::test::Installation;

namespace {

constexpr const char* own_laptop = R"({"version":1,"name":"laptop","description":"ours"})";

std::vector<std::string> names_of(const std::vector<PolicySource>& policies) {
  std::vector<std::string> names;
  for (const auto& policy : policies) {
    names.push_back(policy.name);
  }
  return names;
}

bool contains(const Error& error, const std::string& text) {
  return error.message().find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("Every shipped policy is built in, unchanged", "[app]") {
  std::vector<std::string> shipped;
  for (const auto& entry : std::filesystem::directory_iterator{PROJECT_ROOT "/policies"}) {
    if (entry.path().stem().extension() != ".schema") {
      shipped.push_back(entry.path().stem());
    }
  }
  std::sort(shipped.begin(), shipped.end());
  std::vector<std::string> built_in;
  for (const auto& policy : built_in_policies()) {
    built_in.emplace_back(policy.name);
    std::ostringstream text;
    text << std::ifstream{PROJECT_ROOT "/policies/" + built_in.back() + ".json"}.rdbuf();
    CHECK(policy.json == text.str());
  }
  CHECK(built_in == shipped);
}

TEST_CASE("The built-in policies need no directory", "[app]") {
  const Installation place;
  place.remove("etc");
  place.remove("share");
  const auto found = list_policies(place.paths());
  REQUIRE(found);
  CHECK(names_of(*found) == std::vector<std::string>{"laptop", "laptop-lan", "router", "strict"});
  for (const auto& source : *found) {
    CHECK_FALSE(source.path);
    const auto policy = load_policy(place.paths(), source.name);
    REQUIRE(policy);
    CHECK(policy->name == source.name);
    CHECK_FALSE(policy->description.empty());
  }
}

TEST_CASE("Files replace built-in policies, the administrator's before the package's", "[app]") {
  const Installation place;
  const auto packaged = place.write("share/policies/laptop.json", R"({"version":1,"name":"laptop"})");
  place.write("share/policies/policy.schema.json", "{}");
  place.write("etc/policies/README", "no policy");
  CHECK(load_policy(place.paths(), "laptop")->description.empty());
  const auto own = place.write("etc/policies/laptop.json", own_laptop);
  const auto another = place.write("etc/policies/another.json", R"({"version":1,"name":"another"})");
  const auto found = list_policies(place.paths());
  REQUIRE(found);
  CHECK(*found == std::vector<PolicySource>{
                      {"another", another}, {"laptop", own}, {"laptop-lan", {}}, {"router", {}}, {"strict", {}}});
  CHECK(load_policy(place.paths(), "laptop")->description == "ours");
  CHECK(load_policy(place.paths(), packaged)->description.empty());

  const auto missing = load_policy(place.paths(), "labtop");
  REQUIRE_FALSE(missing);
  CHECK(contains(missing.error(), "another, laptop, laptop-lan, router, strict"));
}

TEST_CASE("A broken file is an error that names it; the built-in policy does not stand in for it", "[app]") {
  const Installation place;
  SECTION("not a policy") {
    const auto path =
        place.write("etc/policies/strict.json", R"({"version":1,"name":"strict","links":{"dhcp":"yes"}})");
    const auto broken = load_policy(place.paths(), "strict");
    REQUIRE_FALSE(broken);
    CHECK(contains(broken.error(), path));
    CHECK(contains(broken.error(), "/links/dhcp"));
  }
  SECTION("not JSON, and a good one in the package's directory") {
    const auto path = place.write("etc/policies/laptop.json", "{");
    place.write("share/policies/laptop.json", own_laptop);
    const auto broken = load_policy(place.paths(), "laptop");
    REQUIRE_FALSE(broken);
    CHECK(contains(broken.error(), path));
  }
  SECTION("a symbolic link that leads nowhere") {
    const auto path = place.paths().configuration_directory + "/policies/router.json";
    std::filesystem::create_symlink("/nonexistent/router.json", path);
    const auto broken = load_policy(place.paths(), "router");
    REQUIRE_FALSE(broken);
    CHECK(contains(broken.error(), path));
  }
  SECTION("a directory of policies that cannot be read") {
    place.remove("etc/policies");
    const auto path = place.write("etc/policies", "");
    CHECK_FALSE(list_policies(place.paths()));
    const auto broken = load_policy(place.paths(), "laptop");
    REQUIRE_FALSE(broken);
    CHECK(contains(broken.error(), path));
  }
}
