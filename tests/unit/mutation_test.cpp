// Would it be noticed? Every rule of every shipped policy is removed, turned round, widened and narrowed, one mutation
// at a time, and either the table of leaks (leak_table.hpp) or the audit must notice. What nobody notices is printed.
#include "killswitch/codec/policy_json.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/rules.hpp"
#include "leak_table.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

using namespace killswitch;
using namespace killswitch::model;
using Kind = Verdict::Kind;

namespace {

Policy shipped(const std::string& name) {
  std::ifstream file{std::string{PROJECT_ROOT} + "/policies/" + name + ".json"};
  std::stringstream text;
  text << file.rdbuf();
  auto policy = codec::parse_policy(text.str(), name);
  REQUIRE(policy);
  return *policy;
}

/// The counter of the last rule on the way that has one.
std::string counted_as(const Ruleset& ruleset, const decide::Evaluation& evaluation) {
  std::string name;
  for (const auto& step : evaluation.path) {
    for (const auto& table : ruleset.tables) {
      for (const auto& chain : table.chains) {
        if (chain.name == step.chain && step.rule < chain.rules.size() && !chain.rules[step.rule].counter.empty()) {
          name = chain.rules[step.rule].counter;
        }
      }
    }
  }
  return name;
}

/// What is wrong with the row; empty: nothing.
std::string wrong_with(const test::Row& row, const Ruleset& ruleset) {
  const auto evaluation = decide::evaluate(ruleset, row.packet);
  if (decide::passes(evaluation) != row.passes) {
    return fmt::format("{} ({}, '{}')", row.passes ? "is refused" : "passes", evaluation.chain, evaluation.comment);
  }
  // To the server without the mark: dropped, because OpenVPN would give it up before its socket is proven.
  const bool polite =
      (row.packet.hook == Hook::output || row.packet.hook == Hook::forward) && row.counter != "impostor";
  const auto expected = !polite                                           ? Kind::drop
                        : row.packet.protocol == decide::ip_protocol::tcp ? Kind::reject_with_tcp_reset
                                                                          : Kind::reject_admin_prohibited;
  if (!row.passes && evaluation.verdict != expected && !evaluation.chain.empty() && !row.counter.empty()) {
    return "is refused in another way";
  }
  if (!row.passes && !row.counter.empty() && counted_as(ruleset, evaluation) != row.counter) {
    return fmt::format("counts as '{}', not '{}'", counted_as(ruleset, evaluation), row.counter);
  }
  return {};
}

struct Mutant {
  std::string what;
  Ruleset ruleset;
  std::set<Hook> hooks;     ///< where it can make a difference
  bool opens{false};        ///< something that was refused may pass
  bool unreachable{false};  ///< nothing ever comes to this rule
};

class Mutator {
public:
  Mutator(const Ruleset& ruleset, std::function<void(const Mutant&)> visit)
      : ruleset_{ruleset}, visit_{std::move(visit)} {}

  void run() {
    for (std::size_t t = 0; t < ruleset_.tables.size(); ++t) {
      for (std::size_t c = 0; c < ruleset_.tables[t].chains.size(); ++c) {
        mutate_chain(t, c);
      }
      for (std::size_t s = 0; s < ruleset_.tables[t].sets.size(); ++s) {
        mutate_set(t, s);
      }
    }
  }

private:
  /// Hooks from whose base chains `name` can be reached.
  std::set<Hook> hooks_of(const Table& table, const std::string& name) const {
    std::set<Hook> hooks;
    for (const auto& base : table.chains) {
      if (!base.base) {
        continue;
      }
      std::set<std::string> reached = {base.name};
      for (bool grew = true; grew;) {
        grew = false;
        for (const auto& chain : table.chains) {
          if (reached.count(chain.name) == 0) {
            continue;
          }
          for (const auto& rule : chain.rules) {
            for (const auto& next : targets(table, rule.verdict)) {
              grew = reached.insert(next).second || grew;
            }
          }
        }
      }
      if (reached.count(name) != 0) {
        hooks.insert(base.base->hook);
      }
    }
    return hooks;
  }

  static std::vector<std::string> targets(const Table& table, const Verdict& verdict) {
    std::vector<std::string> found;
    if (!verdict.chain.empty()) {
      found.push_back(verdict.chain);
    }
    for (const auto& set : table.sets) {
      for (const auto& element : set.elements) {
        if (set.name == verdict.map && element.verdict && !element.verdict->chain.empty()) {
          found.push_back(element.verdict->chain);
        }
      }
    }
    return found;
  }

  void mutate_chain(std::size_t t, std::size_t c) {
    const auto& chain = ruleset_.tables[t].chains[c];
    if (chain.base && chain.base->type == ChainType::nat) {
      return;  // decides nothing
    }
    Mutant mutant{"", ruleset_, hooks_of(ruleset_.tables[t], chain.name), false, false};
    for (std::size_t r = 0; r < chain.rules.size(); ++r) {
      mutant.unreachable = mutant.unreachable || (r > 0 && chain.rules[r - 1].matches.empty() &&
                                                  chain.rules[r - 1].verdict.kind != Kind::look_up &&
                                                  chain.rules[r - 1].verdict.kind != Kind::none);
      mutate_rule(mutant, t, c, r);
    }
  }

  void mutate_rule(Mutant& mutant, std::size_t t, std::size_t c, std::size_t r) {
    auto& rules = mutant.ruleset.tables[t].chains[c].rules;
    const Rule original = rules[r];
    const bool refuses = original.verdict.kind != Kind::accept && original.verdict.kind != Kind::look_up;
    const auto visit = [&](const std::string& what, bool opens) {
      mutant.what =
          fmt::format("{} rule {} ('{}'): {}", ruleset_.tables[t].chains[c].name, r + 1, original.comment, what);
      mutant.opens = opens;
      visit_(mutant);
    };
    rules.erase(rules.begin() + static_cast<std::ptrdiff_t>(r));
    visit("removed", refuses);
    rules.insert(rules.begin() + static_cast<std::ptrdiff_t>(r), original);
    if (original.verdict.kind != Kind::look_up) {
      rules[r].verdict = original.verdict.kind == Kind::accept ? decide::drop() : decide::accept();
      visit("turned round", refuses);
      rules[r] = original;
    }
    for (std::size_t m = 0; m < original.matches.size(); ++m) {
      rules[r].matches.erase(rules[r].matches.begin() + static_cast<std::ptrdiff_t>(m));
      visit(fmt::format("without match {}", m + 1), !refuses);
      rules[r] = original;
      auto& relation = rules[r].matches[m].relation;
      using Relation = Match::Relation;
      relation = relation == Relation::equal       ? Relation::not_equal
                 : relation == Relation::not_equal ? Relation::equal
                 : relation == Relation::in_set    ? Relation::not_in_set
                                                   : Relation::in_set;
      visit(fmt::format("match {} negated", m + 1), !refuses);
      rules[r] = original;
    }
  }

  void mutate_set(std::size_t t, std::size_t s) {
    const auto& set = ruleset_.tables[t].sets[s];
    Mutant mutant{"", ruleset_, {}, false, false};
    for (const auto& chain : ruleset_.tables[t].chains) {
      if (chain.base) {
        mutant.hooks.insert(chain.base->hook);
      }
    }
    auto& elements = mutant.ruleset.tables[t].sets[s].elements;
    for (std::size_t e = 0; e < set.elements.size(); ++e) {
      elements.erase(elements.begin() + static_cast<std::ptrdiff_t>(e));
      mutant.what = fmt::format("{} without element {}", set.name, e + 1);
      mutant.opens = false;
      visit_(mutant);
      elements = set.elements;
      if (set.elements[e].verdict && set.elements[e].verdict->kind == Kind::goto_chain) {
        elements[e].verdict = decide::accept();
        mutant.what = fmt::format("{} element {} accepts", set.name, e + 1);
        mutant.opens = true;
        visit_(mutant);
        elements = set.elements;
      }
    }
  }

  const Ruleset& ruleset_;
  std::function<void(const Mutant&)> visit_;
};

struct Score {
  std::size_t mutants{0}, noticed{0}, openings{0}, audited{0};
  std::vector<std::string> survivors, unaudited;

  [[nodiscard]] std::size_t percent() const { return noticed * 100 / mutants; }
};

bool table_notices(const Mutant& mutant, const std::vector<test::Row>& rows) {
  return std::any_of(rows.begin(), rows.end(), [&](const test::Row& row) {
    return mutant.hooks.count(row.packet.hook) != 0 && !wrong_with(row, mutant.ruleset).empty();
  });
}

/// Something passes that must not.
bool leaks(const Mutant& mutant, const std::vector<test::Row>& rows) {
  return std::any_of(rows.begin(), rows.end(), [&](const test::Row& row) {
    return !row.passes && mutant.hooks.count(row.packet.hook) != 0 &&
           decide::passes(decide::evaluate(mutant.ruleset, row.packet));
  });
}

Score score_of(const World& world) {
  const auto ruleset = decide::compile(world);
  const auto rows = test::leak_table(world);
  Score score;
  Mutator{ruleset,
          [&](const Mutant& mutant) {
            const bool table = table_notices(mutant, rows);
            const bool opens = table && mutant.opens && leaks(mutant, rows);
            const bool audit = (!table || opens) && !decide::audit(mutant.ruleset, world).empty();
            if (!table && !audit && mutant.unreachable) {
              return;
            }
            ++score.mutants;
            score.noticed += table || audit ? 1 : 0;
            score.openings += opens ? 1 : 0;
            score.audited += opens && audit ? 1 : 0;
            if (opens && !audit) {
              score.unaudited.push_back(mutant.what);
            }
            if (!table && !audit) {
              score.survivors.push_back(mutant.what);
            }
          }}
      .run();
  return score;
}

}  // namespace

TEST_CASE("The table of leaks agrees with what compile makes", "[mutation]") {
  for (const char* name : {"laptop", "laptop-lan", "router", "strict"}) {
    const auto policy = shipped(name);
    for (const auto& world : {test::table_world(policy), test::table_world_blocked(policy)}) {
      const auto ruleset = decide::compile(world);
      CHECK(decide::audit(ruleset, world).empty());
      for (const auto& row : test::leak_table(world)) {
        const auto wrong = wrong_with(row, ruleset);
        if (!wrong.empty()) {
          FAIL_CHECK(name << (world.trusted ? ", protected" : ", blocked") << ", hook "
                          << static_cast<int>(row.packet.hook) << ": " << row.name << " (to "
                          << to_string(row.packet.destination) << ") " << wrong);
        }
      }
    }
  }
}

TEST_CASE("A rule that is removed, turned round, widened or narrowed is noticed", "[mutation]") {
  // Per cent of the mutations that are noticed. What is left are mostly matches that another one implies (an ICMPv6
  // type is none of IPv4); KILLSWITCH_SHOW_SURVIVORS=1 prints each.
  struct Floor {
    const char* policy;
    std::size_t percent;
    std::size_t audited;  ///< of those that let a packet pass that must not: by the audit alone, as in the daemon
  };
  for (const auto& [name, floor, audited] :
       {Floor{"laptop", 88, 60}, Floor{"laptop-lan", 86, 60}, Floor{"router", 86, 50}, Floor{"strict", 86, 65}}) {
    const auto score = score_of(test::table_world(shipped(name)));
    fmt::print("{}: {} of {} mutations noticed ({} %); of {} that let a packet out or in the audit refuses {}\n", name,
               score.noticed, score.mutants, score.percent(), score.openings, score.audited);
    if (std::getenv("KILLSWITCH_SHOW_SURVIVORS") != nullptr) {
      for (const auto& survivor : score.survivors) {
        fmt::print("  not noticed: {}\n", survivor);
      }
      for (const auto& leak : score.unaudited) {
        fmt::print("  not by the audit: {}\n", leak);
      }
    }
    CHECK(score.percent() >= floor);
    CHECK(score.audited * 100 >= audited * score.openings);
  }
}

TEST_CASE("A packet into the tunnel meets few rules, however many servers there are", "[speed]") {
  // A rule in front of the one that matched was looked at as well; chains are left by goto, never returned to.
  const auto met = [](const decide::Evaluation& evaluation) {
    std::size_t count = 0;
    for (const auto& step : evaluation.path) {
      count += step.rule + 1;
    }
    return count;
  };
  constexpr std::size_t most_in_output = 3;
  constexpr std::size_t most_in_postrouting = 2;
  for (const char* name : {"laptop", "laptop-lan", "router", "strict"}) {
    CAPTURE(name);
    for (const std::size_t servers : {1U, 1000U}) {
      auto world = test::table_world(shipped(name));
      auto& addresses = world.settings.remotes.back().addresses;
      for (std::size_t i = addresses.size(); i < servers; ++i) {
        addresses.push_back(test::ip(fmt::format("10.9.{}.{}", i / 250, i % 250 + 1).c_str()));
      }
      const auto ruleset = decide::compile(world);
      for (const auto& row : test::tunnel_traffic()) {
        CAPTURE(row.name);
        const auto evaluation = decide::evaluate(ruleset, row.packet);
        CHECK(decide::passes(evaluation));
        CHECK(met(evaluation) <= (row.packet.hook == Hook::output ? most_in_output : most_in_postrouting));
      }
      Packet question = test::tunnel_traffic().front().packet;
      question.protocol = 17;
      question.destination_port = Port{53};
      question.transport.clear();
      question.destination = test::ip("192.168.255.1");
      CHECK(met(decide::evaluate(ruleset, question)) <= most_in_output);
      // One in thousands: a question over IPv6 meets one rule more.
      question.destination = question.source = test::ip("fd00:0:0:feed::1");
      CHECK(decide::passes(decide::evaluate(ruleset, question)));
      CHECK(met(decide::evaluate(ruleset, question)) <= most_in_output + 1);
    }
  }
}
