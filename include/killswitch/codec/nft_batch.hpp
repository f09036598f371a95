// From a ruleset to the one netlink batch that puts it into the kernel.
//
// A batch is a transaction: the kernel takes all of it or nothing. What an element of a set or a rule is changed by is
// decided here, whom it is sent to is enforce/firewall's business. Base chains are made once and from then on only
// flushed and filled, because a base chain that is deleted and made anew has no policy for a moment. Elements that
// stay are not touched, because a lookup that runs during the commit could miss one that is deleted and added again.
// The codec adds no match of its own: a rule means exactly what it says.
// @source Linux net/netfilter/{nfnetlink,nf_tables_api}.c; nftables src/{netlink_linearize,mnl}.c
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/nft_fields.hpp"
#include "killswitch/model/kernel.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec {

/// What happens to the table itself before it is filled.
enum class TableAction : std::uint8_t {
  keep,      ///< it is there and may be changed
  create,    ///< it is not there
  adopt,     ///< it is an orphan (persist without owner): take it over as it is
  recreate,  ///< it is there in a way that cannot be changed: delete and make anew, counters keep their values
};

struct TablePlan {
  model::TableFamily family{model::TableFamily::inet};
  std::string name{model::table_name};
  TableAction action{TableAction::create};
  std::uint32_t flags{0};  ///< NFT_TABLE_F_*, for create, adopt and recreate
  /// Also state the policy of base chains that exist: for a table that others could have changed.
  bool restate_policies{false};
  std::map<std::string, model::CounterValue> counters;  ///< for recreate: the values to go on from
};

/// A rule as it was sent: what follows the headers of its message.
struct EncodedRule {
  std::string table;
  std::string chain;
  model::Rule rule;
  std::vector<std::uint8_t> attributes;
};

struct BatchOptions {
  std::uint32_t sequence{1};                ///< of the first message; the others follow
  std::optional<std::uint32_t> generation;  ///< the batch is refused (ERESTART) when the ruleset is of another one
  /// The rules of the batch before, in their order, or null. A rule that is still at its place is not encoded again:
  /// libnftnl allocates an object for each of its expressions. What is new takes the place of what was there.
  std::vector<EncodedRule>* known_rules{nullptr};
};

/// One message of a batch in words. The views point into the rulesets that were encoded.
struct BatchStep {
  const char* verb{""};
  std::string_view object{};
  std::string_view container{};
  const char* container_kind{""};
};

struct Batch {
  std::vector<std::uint8_t> bytes;  ///< empty: there is nothing to do
  std::vector<BatchStep> steps;     ///< by sequence number, the first is the batch's begin
  std::uint32_t first_sequence{0};
  std::uint32_t acknowledged{0};  ///< the one message whose success the kernel reports

  /// "add rule 'G1: VPN transport' to chain output". Only while the encoded rulesets exist.
  [[nodiscard]] std::string words(std::uint32_t sequence) const;
};

/// Makes the kernel hold exactly `desired`.
/// @param held what it holds now: chains, sets with elements and counters; rules are replaced whatever they are
/// @param plans one for each table of `desired`; a table without one is created without flags
/// @return an error that names the rule, set or chain that nf_tables cannot express
[[nodiscard]] Result<Batch> encode_replacement(const model::Ruleset& desired, const model::Ruleset& held,
                                               const std::vector<TablePlan>& plans, const BatchOptions& options);

/// Whether two rulesets are the same but for the elements of their sets.
[[nodiscard]] bool differ_only_in_elements(const model::Ruleset& left, const model::Ruleset& right);

/// From `held` to `desired`, which differ only in elements.
[[nodiscard]] Result<Batch> encode_element_update(const model::Ruleset& desired, const model::Ruleset& held,
                                                  const BatchOptions& options);

/// Deletes the tables of `held`, whatever is in them.
[[nodiscard]] Batch encode_removal(const model::Ruleset& held, const BatchOptions& options);

/// A batch that is certain to be refused and so leaves no trace. It tells by its errors which features there are.
struct ProbeBatch {
  Batch batch;
  std::uint32_t owner{0};          ///< sequence number that is refused where there is no NFT_TABLE_F_OWNER
  std::uint32_t owner_persist{0};  ///< … no NFT_TABLE_F_PERSIST
  std::uint32_t fib{0};            ///< … no `fib daddr . iif type`
  std::uint32_t socket{0};         ///< … no `socket mark`
  std::uint32_t egress{0};         ///< … no netdev egress hook
  std::uint32_t log{0};            ///< … no nflog
  std::uint32_t deviceless{0};     ///< … no egress chain without devices; what follows counts only where it passes
  std::uint32_t grows{0};          ///< … no device can be added to an egress chain
  std::uint32_t ahead{0};          ///< … a device must exist
};
[[nodiscard]] ProbeBatch encode_probe(std::uint32_t sequence);

/// One element as the kernel holds it; an interval is two keys, the second missing when it reaches the end.
struct EncodedElement {
  std::vector<std::uint8_t> key;
  std::vector<std::uint8_t> end;  ///< first key behind the interval; empty: none
  std::optional<model::Verdict> verdict;
  bool operator==(const EncodedElement&) const = default;
};

/// Sorted by key, doubles and prefixes inside other prefixes left out.
[[nodiscard]] Result<std::vector<EncodedElement>> encode_elements(const model::Set& set);

/// The expressions of a rule as the kernel holds them: equal for rules that mean the same.
[[nodiscard]] Result<std::vector<std::uint8_t>> encode_expressions(const model::Rule& rule);

/// When `set` is looked up with raw payload only: those operands. nft(8) must be told so to accept the lookup.
[[nodiscard]] std::vector<model::Operand> raw_operands(const model::Table& table, const model::Set& set);

}  // namespace killswitch::codec
