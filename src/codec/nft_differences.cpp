#include "killswitch/codec/nft_batch.hpp"
#include "killswitch/codec/nft_dump.hpp"
#include "killswitch/codec/nft_text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <utility>

namespace killswitch::codec {
namespace {

using model::Chain;
using model::Rule;
using model::Set;
using model::Table;

// A ruleset that differs everywhere would fill screens; more than this tells nobody more.
constexpr std::size_t most_differences = 32;

class Comparison {
public:
  void table(const Table& wanted, const Table& held);
  void add(const std::string& words) {
    if (words_.size() < most_differences) {
      words_.push_back(where_ + words);
    }
  }
  std::vector<std::string> take() { return std::move(words_); }

private:
  void set(const Set& wanted, const Set& held);
  void chain(const Chain& wanted, const Chain& held);
  void rule(const std::string& chain, std::size_t number, const Rule& wanted, const Rule& held);

  std::vector<std::string> words_;
  std::string where_;  ///< in front of the words: a table that is not the one that everybody thinks of
};

const std::string& name_of(const std::string& counter) {
  return counter;
}
template <typename Named>
const std::string& name_of(const Named& one) {
  return one.name;
}

template <typename Named>
const Named* find(const std::vector<Named>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Named& one) { return name_of(one) == name; });
  return found == all.end() ? nullptr : &*found;
}

/// Calls `compare` for what is on both sides and names what is on one.
template <typename Named, typename Compare>
void pair_up(Comparison& out, const char* kind, const std::vector<Named>& wanted, const std::vector<Named>& held,
             Compare compare) {
  for (const Named& one : wanted) {
    const Named* other = find(held, name_of(one));
    if (other == nullptr) {
      out.add(fmt::format("{} {} is missing", kind, name_of(one)));
    } else {
      compare(one, *other);
    }
  }
  for (const Named& one : held) {
    if (find(wanted, name_of(one)) == nullptr) {
      out.add(fmt::format("{} {} is not ours", kind, name_of(one)));
    }
  }
}

std::string base_words(const std::optional<model::BaseChain>& base) {
  if (!base) {
    return "no hook";
  }
  std::string words = fmt::format("hook {} priority {}", static_cast<int>(base->hook), base->priority);
  words += base->type == model::ChainType::nat ? " nat" : "";
  for (const std::string& device : base->devices) {
    words += " device " + device;
  }
  return words;
}

std::optional<model::BaseChain> with_sorted_devices(std::optional<model::BaseChain> base) {
  if (base) {
    std::sort(base->devices.begin(), base->devices.end());
  }
  return base;
}

bool same_rule(const Rule& wanted, const Rule& held) {
  if (wanted.comment != held.comment && safe_comment(wanted.comment) != safe_comment(held.comment)) {
    return false;
  }
  if (wanted.matches == held.matches && wanted.counter == held.counter && wanted.verdict == held.verdict) {
    return true;
  }
  // What differs in words may still be the same to the kernel, as raw bytes and the field that they are.
  const auto left = encode_expressions(wanted);
  const auto right = encode_expressions(held);
  return left && right && *left == *right;
}

std::string element_words(const Set& set, const EncodedElement& encoded) {
  for (const model::SetElement& element : set.elements) {
    const auto own = encode_elements(Set{set.name, set.key, set.verdict_map, set.interval, {element}});
    if (own && !own->empty() && own->front() == encoded) {
      return render_nft_element(element);
    }
  }
  return "an element";
}

void Comparison::set(const Set& wanted, const Set& held) {
  if (wanted.key != held.key || wanted.verdict_map != held.verdict_map || wanted.interval != held.interval) {
    add(fmt::format("set {} has another key or kind", wanted.name));
    return;
  }
  const auto left = encode_elements(wanted);
  const auto right = encode_elements(held);
  if (!left || !right) {
    add(fmt::format("set {}: its elements cannot be compared", wanted.name));
    return;
  }
  for (const EncodedElement& element : *left) {
    if (std::find(right->begin(), right->end(), element) == right->end()) {
      add(fmt::format("set {}: {} is missing", wanted.name, element_words(wanted, element)));
    }
  }
  for (const EncodedElement& element : *right) {
    if (std::find(left->begin(), left->end(), element) == left->end()) {
      add(fmt::format("set {}: {} is not ours", wanted.name, element_words(held, element)));
    }
  }
}

void Comparison::rule(const std::string& chain, std::size_t number, const Rule& wanted, const Rule& held) {
  if (!same_rule(wanted, held)) {
    add(fmt::format("chain {}, rule {}: wanted '{}', found '{}'", chain, number, render_nft_rule(wanted),
                    render_nft_rule(held)));
  }
}

void Comparison::chain(const Chain& wanted, const Chain& held) {
  if (with_sorted_devices(wanted.base) != with_sorted_devices(held.base)) {
    add(fmt::format("chain {}: wanted {}, found {}", wanted.name, base_words(wanted.base), base_words(held.base)));
  }
  for (std::size_t i = 0; i < std::min(wanted.rules.size(), held.rules.size()); ++i) {
    rule(wanted.name, i + 1, wanted.rules[i], held.rules[i]);
  }
  for (std::size_t i = held.rules.size(); i < wanted.rules.size(); ++i) {
    add(fmt::format("chain {}, rule {}: '{}' is missing", wanted.name, i + 1, render_nft_rule(wanted.rules[i])));
  }
  for (std::size_t i = wanted.rules.size(); i < held.rules.size(); ++i) {
    add(fmt::format("chain {}, rule {}: '{}' is not ours", wanted.name, i + 1, render_nft_rule(held.rules[i])));
  }
}

void Comparison::table(const Table& wanted, const Table& held) {
  where_ = wanted.name == model::table_name ? "" : wanted.name + ": ";
  pair_up(*this, "counter", wanted.counters, held.counters, [](const std::string&, const std::string&) {});
  pair_up(*this, "set", wanted.sets, held.sets, [this](const Set& one, const Set& other) { set(one, other); });
  pair_up(*this, "chain", wanted.chains, held.chains,
          [this](const Chain& one, const Chain& other) { chain(one, other); });
  where_.clear();
}

}  // namespace

std::vector<std::string> differences(const model::Ruleset& wanted, const model::Ruleset& held) {
  Comparison comparison;
  const auto like = [](const Table& one) {
    return [&one](const Table& other) { return one.family == other.family && one.name == other.name; };
  };
  for (const Table& table : wanted.tables) {
    const auto other = std::find_if(held.tables.begin(), held.tables.end(), like(table));
    if (other == held.tables.end()) {
      comparison.add(fmt::format("table {} is missing", table.name));
    } else {
      comparison.table(table, *other);
    }
  }
  for (const Table& table : held.tables) {
    if (std::none_of(wanted.tables.begin(), wanted.tables.end(), like(table))) {
      comparison.add(fmt::format("table {} is not wanted", table.name));
    }
  }
  return comparison.take();
}

}  // namespace killswitch::codec
