// Rulesets without sense: any match of the vocabulary, negated, masked or in a set, any verdict, jumps into helper
// chains. What the interpreter and the kernel must agree about has nothing to do with what is useful.
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <random>
#include <string>

namespace killswitch::testing {

class RandomRules {
public:
  explicit RandomRules(std::uint32_t seed) : random_{seed} {}

  /// A table at every hook of IP packets, and one at the egress of wlo1.
  model::Ruleset draw();

private:
  std::size_t up_to(std::size_t limit) { return std::uniform_int_distribution<std::size_t>{0, limit - 1}(random_); }
  bool one_in(std::size_t n) { return up_to(n) == 0; }
  template <typename T>
  T pick(std::initializer_list<T> values) {
    return *(values.begin() + up_to(values.size()));
  }

  model::Match match(model::Hook hook);
  model::Match number(model::Field field, std::initializer_list<std::uint32_t> values);
  model::Match address(model::Field field);
  model::Match payload();
  model::Match look_up();
  model::Rule rule(model::Hook hook, const std::string& deeper, const std::string& deepest);
  void add_chains(model::Table& table, model::Hook hook, const std::string& name);
  std::vector<model::Set> sets();

  std::mt19937 random_;
};

}  // namespace killswitch::testing
