#include "killswitch/codec/nft_batch.hpp"

#include "killswitch/codec/nft_transaction.hpp"
#include "nft_limits.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Chain;
using model::Ruleset;
using model::Set;
using model::Table;

bool same_definition(const Set& left, const Set& right) {
  return left.key == right.key && left.verdict_map == right.verdict_map && left.interval == right.interval;
}

template <typename Named>
const Named* find_named(const std::vector<Named>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Named& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

const Table* find_table(const Ruleset& ruleset, const Table& like) {
  for (const Table& table : ruleset.tables) {
    if (table.family == like.family && table.name == like.name) {
      return &table;
    }
  }
  return nullptr;
}

/// The elements of a set that go and those that come.
struct ElementChange {
  std::vector<EncodedElement> gone;
  std::vector<EncodedElement> fresh;
};

Result<ElementChange> element_change(const Set* held, const Set& desired) {
  if (held != nullptr && held->elements == desired.elements) {
    return ElementChange{};
  }
  auto fresh = encode_elements(desired);
  if (!fresh) {
    return fail(fresh.error());
  }
  if (held == nullptr) {
    return ElementChange{{}, std::move(*fresh)};
  }
  auto gone = encode_elements(*held);
  if (!gone) {
    return fail(gone.error());
  }
  const auto lacks = [](const std::vector<EncodedElement>& all) {
    return [&all](const EncodedElement& element) {
      const auto at = std::lower_bound(all.begin(), all.end(), element.key,
                                       [](const EncodedElement& one, const auto& key) { return one.key < key; });
      return at == all.end() || !(*at == element);
    };
  };
  ElementChange change;
  std::copy_if(gone->begin(), gone->end(), std::back_inserter(change.gone), lacks(*fresh));
  std::copy_if(fresh->begin(), fresh->end(), std::back_inserter(change.fresh), lacks(*gone));
  return change;
}

std::vector<std::string> without(const std::vector<std::string>& all, const std::vector<std::string>& these) {
  std::vector<std::string> rest;
  std::copy_if(all.begin(), all.end(), std::back_inserter(rest),
               [&](const std::string& one) { return std::find(these.begin(), these.end(), one) == these.end(); });
  return rest;
}

/// A chain whose devices are all others is another chain: not every kernel lets one exchange them.
bool same_place(const Chain& left, const Chain& right) {
  if (!left.base || !right.base) {
    return left.base.has_value() == right.base.has_value();
  }
  const auto& devices = left.base->devices;
  const bool elsewhere = !devices.empty() && without(devices, right.base->devices).size() == devices.size();
  return left.base->hook == right.base->hook && left.base->priority == right.base->priority &&
         left.base->type == right.base->type && !elsewhere;
}

/// How one table gets from what is held to what is desired.
class TableUpdate {
public:
  TableUpdate(TransactionWriter& writer, const Table& desired, const Table* held)
      : writer_{writer}, desired_{desired}, held_{held} {}

  Outcome replace(const TablePlan& plan);
  Outcome exchange_elements();

private:
  struct SetWork {
    const Set* set;
    ElementChange change;
  };

  Outcome plan_sets();
  void prepare_table(const TablePlan& plan);
  void clear();
  void clear_sets();
  void create_sets();
  void create_counters(const TablePlan& plan);
  void create_chains(const TablePlan& plan);
  void change_devices(const Chain& desired, const Chain& held);
  Outcome add_rules();
  template <typename Named>
  [[nodiscard]] const Named* held_one(const std::vector<Named> Table::*all, const std::string& name) const {
    return held_ != nullptr ? find_named(held_->*all, name) : nullptr;
  }

  TransactionWriter& writer_;
  const Table& desired_;
  const Table* held_;
  std::vector<SetWork> work_;
};

bool has_counter(const Table& table, const std::string& name) {
  return std::find(table.counters.begin(), table.counters.end(), name) != table.counters.end();
}

Outcome TableUpdate::plan_sets() {
  for (const Set& set : desired_.sets) {
    const Set* before = held_one(&Table::sets, set.name);
    if (before != nullptr && !same_definition(*before, set)) {
      before = nullptr;
    }
    const bool same = before != nullptr && before->elements == set.elements;
    if (const Problem problem = same ? "" : check_set(set); !problem.empty()) {
      return fail(fmt::format("nft: set '{}': {}", set.name, problem));
    }
    auto change = element_change(before, set);
    if (!change) {
      return fail(change.error().within("nft"));
    }
    work_.push_back({&set, std::move(*change)});
  }
  return done();
}

void TableUpdate::prepare_table(const TablePlan& plan) {
  if (held_ != nullptr && plan.action == TableAction::recreate) {
    writer_.delete_table(*held_);
    held_ = nullptr;
  }
  switch (plan.action) {
    case TableAction::keep: break;
    case TableAction::adopt: writer_.adopt_table(desired_, plan.flags); break;
    case TableAction::create:
    case TableAction::recreate: writer_.create_table(desired_, plan.flags); break;
  }
}

/// Takes away what is not wanted any more, from the outside in: rules, sets and elements, chains, counters.
void TableUpdate::clear() {
  if (!held_->chains.empty()) {
    writer_.flush_rules(desired_);
  }
  clear_sets();
  for (const Chain& chain : held_->chains) {
    const Chain* wanted = find_named(desired_.chains, chain.name);
    if (wanted == nullptr || !same_place(*wanted, chain)) {
      writer_.delete_chain(desired_, chain.name);
    }
  }
  for (const std::string& counter : held_->counters) {
    if (!has_counter(desired_, counter)) {
      writer_.delete_counter(desired_, counter);
    }
  }
}

void TableUpdate::clear_sets() {
  for (const Set& set : held_->sets) {
    const Set* wanted = find_named(desired_.sets, set.name);
    if (wanted == nullptr || !same_definition(*wanted, set)) {
      writer_.delete_set(desired_, set.name);
    }
  }
  for (const SetWork& one : work_) {
    writer_.delete_elements(desired_, *one.set, one.change.gone);
  }
}

void TableUpdate::create_counters(const TablePlan& plan) {
  for (const std::string& counter : desired_.counters) {
    if (held_ == nullptr || !has_counter(*held_, counter)) {
      const auto value = plan.counters.find(counter);
      writer_.create_counter(desired_, counter, value == plan.counters.end() ? model::CounterValue{} : value->second);
    }
  }
}

void TableUpdate::create_sets() {
  for (const Set& set : desired_.sets) {
    const Set* before = held_one(&Table::sets, set.name);
    if (before == nullptr || !same_definition(*before, set)) {
      writer_.create_set(desired_, set);
    }
  }
}

void TableUpdate::change_devices(const Chain& desired, const Chain& held) {
  const auto fresh = without(desired.base->devices, held.base->devices);
  const auto gone = without(held.base->devices, desired.base->devices);
  if (!fresh.empty()) {
    writer_.add_devices(desired_, desired, fresh);
  }
  if (!gone.empty()) {
    writer_.remove_devices(desired_, desired, gone);
  }
}

void TableUpdate::create_chains(const TablePlan& plan) {
  for (const Chain& chain : desired_.chains) {
    const Chain* before = held_one(&Table::chains, chain.name);
    if (before == nullptr || !same_place(*before, chain)) {
      writer_.create_chain(desired_, chain);
      continue;
    }
    if (chain.base && plan.restate_policies) {
      writer_.state_policy(desired_, chain);
    }
    if (chain.base && chain.base->devices != before->base->devices) {
      change_devices(chain, *before);
    }
  }
}

Outcome TableUpdate::add_rules() {
  for (const Chain& chain : desired_.chains) {
    for (const model::Rule& rule : chain.rules) {
      const Problem problem = writer_.add_rule(desired_, chain, rule);
      if (!problem.empty()) {
        return fail(fmt::format("nft: {}: {}", writer_.last_words(), problem));
      }
    }
  }
  return done();
}

Outcome TableUpdate::replace(const TablePlan& plan) {
  prepare_table(plan);
  if (const auto planned = plan_sets(); !planned) {
    return fail(planned.error());
  }
  if (held_ != nullptr) {
    clear();
  }
  create_counters(plan);
  create_sets();
  create_chains(plan);
  for (const SetWork& one : work_) {
    writer_.add_elements(desired_, *one.set, one.change.fresh);
  }
  return add_rules();
}

Outcome TableUpdate::exchange_elements() {
  if (const auto planned = plan_sets(); !planned) {
    return fail(planned.error());
  }
  for (const SetWork& one : work_) {
    writer_.delete_elements(desired_, *one.set, one.change.gone);
  }
  for (const SetWork& one : work_) {
    writer_.add_elements(desired_, *one.set, one.change.fresh);
  }
  return done();
}

bool same_but_elements(const Table& left, const Table& right) {
  const auto same_set = [](const Set& one, const Set& other) {
    return one.name == other.name && same_definition(one, other);
  };
  return left.family == right.family && left.name == right.name && left.counters == right.counters &&
         left.chains == right.chains &&
         std::equal(left.sets.begin(), left.sets.end(), right.sets.begin(), right.sets.end(), same_set);
}

}  // namespace

Result<Batch> encode_replacement(const Ruleset& desired, const Ruleset& held, const std::vector<TablePlan>& plans,
                                 const BatchOptions& options) {
  TransactionWriter writer{options};
  for (const Table& table : held.tables) {
    if (find_table(desired, table) == nullptr) {
      writer.delete_table(table);
    }
  }
  for (const Table& table : desired.tables) {
    if (const auto checked = check_table(table); !checked) {
      return fail(checked.error());
    }
    const auto plan = std::find_if(plans.begin(), plans.end(), [&](const TablePlan& one) {
      return one.family == table.family && one.name == table.name;
    });
    const Table* before = find_table(held, table);
    const auto action = before == nullptr ? TableAction::create : TableAction::keep;
    const TablePlan otherwise{table.family, table.name, action, 0, true, {}};
    TableUpdate update{writer, table, before};
    if (const auto replaced = update.replace(plan == plans.end() ? otherwise : *plan); !replaced) {
      return fail(replaced.error());
    }
  }
  return std::move(writer).finish();
}

bool differ_only_in_elements(const Ruleset& left, const Ruleset& right) {
  return std::equal(left.tables.begin(), left.tables.end(), right.tables.begin(), right.tables.end(),
                    same_but_elements);
}

Result<Batch> encode_element_update(const Ruleset& desired, const Ruleset& held, const BatchOptions& options) {
  TransactionWriter writer{options};
  for (const Table& table : desired.tables) {
    const Table* before = find_table(held, table);
    if (before == nullptr) {
      return fail(fmt::format("nft: table '{}' is not there", table.name));
    }
    if (const auto updated = TableUpdate{writer, table, before}.exchange_elements(); !updated) {
      return fail(updated.error());
    }
  }
  return std::move(writer).finish();
}

Batch encode_removal(const Ruleset& held, const BatchOptions& options) {
  TransactionWriter writer{options};
  for (const Table& table : held.tables) {
    writer.delete_table(table);
  }
  return std::move(writer).finish();
}

}  // namespace killswitch::codec
