#include "killswitch/decide/evaluate.hpp"

#include "packet_fields.hpp"

#include <algorithm>
#include <optional>

namespace killswitch::decide {
namespace {

using namespace model;

constexpr std::size_t call_depth = 16;  // NFT_JUMP_STACK_SIZE

const SetElement* find_element(const Set& set, const std::vector<Value>& key) {
  for (const auto& element : set.elements) {
    if (element.key.size() == key.size() && std::equal(key.begin(), key.end(), element.key.begin(), same)) {
      return &element;
    }
  }
  return nullptr;
}

class Interpreter {
public:
  Interpreter(const Table& table, const Packet& packet) : table_{table}, packet_{packet} {}

  Evaluation run(const Chain& chain) {
    if (auto decided = run_chain(chain)) {
      return std::move(*decided);
    }
    return Evaluation{Verdict::Kind::drop, chain.name, {}, {}};  // base chains have policy drop
  }

private:
  const Set* find_set(const std::string& name) const {
    const auto found =
        std::find_if(table_.sets.begin(), table_.sets.end(), [&](const Set& s) { return s.name == name; });
    return found == table_.sets.end() ? nullptr : &*found;
  }

  std::optional<std::vector<Value>> load_all(const std::vector<Operand>& operands) const {
    std::vector<Value> values;
    for (const auto& operand : operands) {
      auto value = load(packet_, operand);
      if (!value) {
        return std::nullopt;
      }
      values.push_back(std::move(*value));
    }
    return values.empty() ? std::nullopt : std::optional{std::move(values)};
  }

  bool holds(const Match& match) const {
    auto values = load_all(match.operands);
    if (!values) {
      return false;
    }
    if (match.mask) {
      apply_mask(values->front(), *match.mask);
    }
    const Set* set = find_set(match.set);
    switch (match.relation) {
      case Match::Relation::equal: return same(values->front(), match.value);
      case Match::Relation::not_equal: return !same(values->front(), match.value);
      case Match::Relation::in_set: return set != nullptr && find_element(*set, *values) != nullptr;
      case Match::Relation::not_in_set: return set != nullptr && find_element(*set, *values) == nullptr;
    }
    return false;
  }

  Verdict resolve(const Verdict& verdict) const {
    if (verdict.kind != Verdict::Kind::look_up) {
      return verdict;
    }
    const auto key = load_all(verdict.key);
    const Set* map = find_set(verdict.map);
    const SetElement* element = key && map != nullptr ? find_element(*map, *key) : nullptr;
    return element != nullptr && element->verdict ? *element->verdict : Verdict{};
  }

  std::optional<Evaluation> call(const std::string& name) {
    const auto chain =
        std::find_if(table_.chains.begin(), table_.chains.end(), [&](const Chain& c) { return c.name == name; });
    if (chain == table_.chains.end() || path_.size() > call_depth) {
      return Evaluation{Verdict::Kind::drop, name, "no such chain", path_};
    }
    return run_chain(*chain);
  }

  std::optional<Evaluation> run_chain(const Chain& chain) {
    for (std::size_t i = 0; i < chain.rules.size(); ++i) {
      const Rule& rule = chain.rules[i];
      if (!std::all_of(rule.matches.begin(), rule.matches.end(), [this](const Match& match) { return holds(match); })) {
        continue;
      }
      path_.push_back({chain.name, i, rule.comment});
      const Verdict verdict = resolve(rule.verdict);
      if (verdict.kind == Verdict::Kind::jump || verdict.kind == Verdict::Kind::goto_chain) {
        auto decided = call(verdict.chain);
        if (decided || verdict.kind == Verdict::Kind::goto_chain) {
          path_.pop_back();
          return decided;
        }
      } else if (verdict.kind == Verdict::Kind::return_to_caller) {
        path_.pop_back();
        return std::nullopt;
      } else if (verdict.kind != Verdict::Kind::none && verdict.kind != Verdict::Kind::look_up) {
        return Evaluation{verdict.kind, chain.name, rule.comment, path_};
      }
      path_.pop_back();
    }
    return std::nullopt;
  }

  const Table& table_;
  const Packet& packet_;
  std::vector<Step> path_;
};

struct Standing {
  const Table* table;
  const Chain* chain;
};

bool meets(const BaseChain& base, const Table& table, const Packet& packet) {
  if (base.hook != packet.hook || base.type == ChainType::nat ||
      (packet.ether_type != 0 && table.family == TableFamily::inet)) {
    return false;
  }
  return base.hook != Hook::egress || packet.oifname.empty() ||
         std::find(base.devices.begin(), base.devices.end(), packet.oifname) != base.devices.end();
}

}  // namespace

Evaluation evaluate(const Ruleset& ruleset, const Packet& packet) {
  std::vector<Standing> standing;
  for (const auto& table : ruleset.tables) {
    for (const auto& chain : table.chains) {
      if (chain.base && meets(*chain.base, table, packet)) {
        standing.push_back({&table, &chain});
      }
    }
  }
  std::stable_sort(standing.begin(), standing.end(), [](const Standing& a, const Standing& b) {
    return a.chain->base->priority < b.chain->base->priority;
  });
  Evaluation evaluation;
  for (const auto& one : standing) {
    evaluation = Interpreter{*one.table, packet}.run(*one.chain);
    if (!passes(evaluation)) {
      break;
    }
  }
  return evaluation;
}

}  // namespace killswitch::decide
