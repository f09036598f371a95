// What the kernel holds of our tables: its dumps, message by message, back into a ruleset.
//
// Only tables with our names are looked at. What is not in our vocabulary (another program's rule, an element with a
// timeout, a chain with another policy) becomes a difference in words and never half a fact. Sending requests and
// repeating an interrupted dump is enforce/firewall's business. libnftnl reads the messages, after nft_sieve has.
// @source Linux net/netfilter/nf_tables_api.c (nf_tables_fill_*), include/uapi/linux/netfilter/nf_tables.h
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/nft_fields.hpp"
#include "killswitch/model/kernel.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct nlmsghdr;

namespace killswitch::codec {

/// How the kernel holds one of our tables.
struct HeldTable {
  model::TableFamily family{model::TableFamily::inet};
  std::string name;
  std::uint32_t flags{0};  ///< NFT_TABLE_F_*
  std::uint32_t owner{0};  ///< netlink port of the owning socket; 0: none
  bool operator==(const HeldTable&) const = default;
};

/// The answers to one request.
struct DumpProgress {
  bool done{false};         ///< the last answer was among these
  bool interrupted{false};  ///< the ruleset changed meanwhile: the whole dump is worthless
  int errno_value{0};       ///< positive: the kernel refused
};

class DumpDecoder {
public:
  /// Takes one datagram, which starts at a multiple of four bytes. Answers to other requests than `sequence` are left
  /// out.
  /// @return an error when its lengths do not add up
  [[nodiscard]] Result<DumpProgress> feed(std::span<const std::uint8_t> datagram, std::uint32_t sequence);

  [[nodiscard]] const std::vector<HeldTable>& held() const { return held_; }
  /// The sets of a table so far, so that their elements can be asked for.
  [[nodiscard]] std::vector<std::string> set_names(const HeldTable& table) const;
  /// What was decoded; `differences` has what could not be. To be called once, after the last answer.
  [[nodiscard]] model::Observation finish();
  /// From NFT_MSG_NEWGEN.
  [[nodiscard]] std::uint32_t generation() const { return generation_; }

private:
  struct RawElement {
    std::vector<std::uint8_t> key;
    bool end{false};
    std::optional<model::Verdict> verdict;
  };
  struct RawSet {
    std::size_t table;
    std::string name;
    bool foreign{false};  ///< not as we make sets
    std::vector<RawElement> elements;
  };

  void message(const nlmsghdr& message);
  void generation_message(const nlmsghdr& message);
  void table_message(const nlmsghdr& message, HeldTable table);
  void chain_message(const nlmsghdr& message, std::size_t table);
  void set_message(const nlmsghdr& message, std::size_t table);
  void elements_message(const nlmsghdr& message, std::size_t table);
  void rule_message(const nlmsghdr& message, std::size_t table);
  void counter_message(const nlmsghdr& message, std::size_t table);
  void finish_set(RawSet& raw);
  [[nodiscard]] model::Ownership ownership() const;
  [[nodiscard]] RawSet* find_set(std::size_t table, std::string_view name);

  model::Observation observation_;
  std::vector<HeldTable> held_;
  std::vector<RawSet> sets_;
  std::uint32_t generation_{0};
};

enum class DumpKind : std::uint8_t { tables, chains, sets, elements, rules, counters };

/// What is asked for. Tables and chains come for the whole family, the rest for one table only.
struct DumpScope {
  DumpKind kind{DumpKind::tables};
  model::TableFamily family{model::TableFamily::inet};
  std::string table{model::table_name};
  std::string set{};  ///< for DumpKind::elements
};

/// One dump request.
[[nodiscard]] std::vector<std::uint8_t> encode_dump_request(const DumpScope& scope, std::uint32_t sequence);
/// NFT_MSG_GETGEN; answered by one message, without an end.
[[nodiscard]] std::vector<std::uint8_t> encode_generation_request(std::uint32_t sequence);

/// One NLMSG_ERROR of a datagram; errno_value 0 acknowledges.
struct KernelReply {
  std::uint32_t sequence{0};
  int errno_value{0};
  bool operator==(const KernelReply&) const = default;
};
/// @return what a datagram says about the messages of a batch; malformed rest is left out
[[nodiscard]] std::vector<KernelReply> decode_replies(std::span<const std::uint8_t> datagram);

/// In words; empty: `held` is what was wanted. The order of chains, sets, elements and counters is no difference.
[[nodiscard]] std::vector<std::string> differences(const model::Ruleset& wanted, const model::Ruleset& held);

}  // namespace killswitch::codec
