// The interpreter against the kernel: the same packets through `decide::trace` and through real interfaces, sockets
// and forwarding, under rulesets that `compile` makes.
#include "differential.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/rules.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "random_rules.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <cstdio>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::testing;

namespace {

struct Situation {
  const char* name;
  World world;
};

std::vector<Situation> situations() {
  World strict = test::laptop_protected();
  strict.settings.policy = Policy{};
  World tcp = test::laptop_protected();
  tcp.settings.remotes[1].remote.protocol = Protocol::tcp;
  World no_fib = test::laptop_protected();
  no_fib.kernel.fib = false;
  World no_egress = test::laptop_protected();
  no_egress.kernel.egress = false;
  World any_resolver = test::laptop_protected();
  any_resolver.settings.policy.any_tunnel_resolver = true;
  World nothing;
  nothing.kernel = strict.kernel;
  return {{"blocked", test::laptop_blocked()},
          {"connecting", test::laptop_connecting()},
          {"protected", test::laptop_protected()},
          {"protected, the strictest policy", strict},
          {"protected, a TCP server", tcp},
          {"protected, no fib", no_fib},
          {"protected, no egress hook", no_egress},
          {"protected, any resolver", any_resolver},
          {"nothing known", nothing}};
}

enforce::Firewall open_firewall() {
  auto firewall = enforce::Firewall::open();
  REQUIRE(firewall);
  return std::move(*firewall);
}

void hold(enforce::Firewall& firewall, const Ruleset& ruleset) {
  const auto report = firewall.apply(ruleset);
  INFO((report ? "" : report.error().message()));
  REQUIRE(report);
}

}  // namespace

TEST_CASE("without rules every packet of the generator comes out where it is expected") {
  Testbed testbed;
  Traffic traffic{1};
  const auto experiments = observe(testbed, 2000, [&] { return traffic.any(); });
  const auto found = mismatches(Ruleset{}, experiments);
  INFO(first_of(found));
  CHECK(found.empty());
}

TEST_CASE("the interpreter and the kernel agree about every packet in every situation") {
  Testbed testbed;
  auto firewall = open_firewall();
  std::uint32_t seed = 100;
  for (const auto& situation : situations()) {
    const auto ruleset = decide::compile(testbed.placed(situation.world));
    hold(firewall, ruleset);
    Traffic traffic{seed++};
    const auto experiments = observe(testbed, 1500, [&] { return traffic.any(); });
    const auto found = mismatches(ruleset, experiments);
    INFO(situation.name << ": " << first_of(found));
    CHECK(found.empty());
  }
}

TEST_CASE("every word of the vocabulary means to the interpreter what it means to the kernel") {
  Testbed testbed;
  auto firewall = open_firewall();
  RandomRules rules{1};
  for (std::uint32_t round = 0; round < 200; ++round) {
    const auto ruleset = rules.draw();
    hold(firewall, ruleset);
    Traffic traffic{1000 + round};
    const auto experiments = observe(testbed, 300, [&] { return traffic.any(); });
    const auto found = mismatches(ruleset, experiments);
    INFO("round " << round << ": " << first_of(found));
    CHECK(found.empty());
  }
}

TEST_CASE("a packet that the link is too small for leaves as the pieces that may leave") {
  Testbed testbed;
  auto firewall = open_firewall();
  const auto ruleset = decide::compile(testbed.placed(test::laptop_protected()));
  hold(firewall, ruleset);
  for (const std::uint32_t mark : {default_transport_mark, 0U}) {
    CAPTURE(mark);
    Packet last;
    last.hook = Hook::egress;
    last.oifname = "wlo1";
    last.destination = test::ip("198.51.100.49");
    last.fragment_offset = 1480;
    last.mark = mark;
    const bool seen = testbed.send_datagram(last.destination, Port{1194}, mark, 3000);
    CHECK(seen == decide::passes(decide::evaluate(ruleset, last)));
    CHECK(seen == (mark != 0));
  }
}

TEST_CASE("a ruleset that is not the one in force does not explain what is seen") {
  Testbed testbed;
  auto firewall = open_firewall();
  const auto ruleset = decide::compile(testbed.placed(test::laptop_protected()));
  hold(firewall, ruleset);
  Traffic traffic{7};
  const auto experiments = observe(testbed, 15000, [&] { return traffic.any(); });
  REQUIRE(mismatches(ruleset, experiments).empty());

  SECTION("one rule with another verdict, or none at all") {
    std::size_t changed = 0;
    std::vector<std::string> unnoticed;
    for (std::size_t t = 0; t < ruleset.tables.size(); ++t) {
      for (std::size_t c = 0; c < ruleset.tables[t].chains.size(); ++c) {
        for (std::size_t r = 0; r < ruleset.tables[t].chains[c].rules.size(); ++r) {
          auto altered = ruleset;
          auto& rule = altered.tables[t].chains[c].rules[r];
          rule.verdict = rule.verdict.kind == Verdict::Kind::accept ? decide::drop() : decide::accept();
          ++changed;
          if (mismatches(altered, experiments).empty()) {
            unnoticed.push_back(ruleset.tables[t].chains[c].name + ": " + rule.comment);
          }
        }
      }
    }
    std::string names;
    for (const auto& name : unnoticed) {
      names += name + "\n";
    }
    INFO(unnoticed.size() << " of " << changed << " altered rules are not noticed:\n" << names);
    CHECK(unnoticed.size() * 3 < changed);
  }
  SECTION("another element in a set") {
    for (auto* name : {"transport4", "transport6", "dns_ports", "output_by_interface"}) {
      auto altered = ruleset;
      for (auto& set : altered.tables[0].sets) {
        if (set.name == name) {
          set.elements.pop_back();
        }
      }
      CAPTURE(name);
      CHECK_FALSE(mismatches(altered, experiments).empty());
    }
  }
  SECTION("without the egress of links") {
    auto altered = ruleset;
    altered.tables.pop_back();
    CHECK_FALSE(mismatches(altered, experiments).empty());
  }
}
