// The shipped policies in every state, as the rules that an administrator reads and the status that a user reads. What
// changes here changes what leaves people's machines.
#include "support/golden.hpp"
#include "killswitch/codec/nft_text.hpp"
#include "killswitch/codec/policy_json.hpp"
#include "killswitch/codec/status_text.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/describe.hpp"
#include "support/worlds.hpp"

using namespace killswitch;

namespace {

model::Policy shipped(const std::string& name) {
  std::ifstream file{std::string{PROJECT_ROOT} + "/policies/" + name + ".json"};
  std::stringstream text;
  text << file.rdbuf();
  auto policy = codec::parse_policy(text.str(), name);
  INFO((policy ? "" : policy.error().message()));
  REQUIRE(policy);
  return *policy;
}

struct Named {
  const char* name;
  model::World world;
};

}  // namespace

TEST_CASE("Policies and states as rules and as status", "[golden]") {
  for (const char* policy : {"laptop", "strict"}) {
    for (Named state : {Named{"blocked", test::laptop_blocked()}, Named{"connecting", test::laptop_connecting()},
                        Named{"protected", test::laptop_protected()}}) {
      state.world.settings.policy = shipped(policy);
      state.world.since = std::chrono::sys_seconds{std::chrono::seconds{1795400000}};
      state.world.observation.emplace().present = true;
      const auto audited = decide::compile_audited(state.world);
      CHECK(audited.violations.empty());
      const auto name = std::string{policy} + "-" + state.name;
      test::check_golden(name + ".nft", codec::render_nft_text(audited.ruleset));
      test::check_golden(name + ".status", codec::render_status_text(decide::describe(state.world)));
    }
  }
}

TEST_CASE("Nothing known, as rules", "[golden]") {
  model::World nothing;
  nothing.kernel = test::all_features();
  test::check_golden("nothing-known.nft", codec::render_nft_text(decide::block_all(nothing)));
}
