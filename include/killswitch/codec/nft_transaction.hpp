// The messages of one transaction of nf_tables, one function a message, and the words that name each of them.
//
// libnftnl writes them. What is to be sent, and in which order, is nft_batch's business. Nothing here compares, nothing
// decides.
// @source Linux include/uapi/linux/netfilter/nf_tables.h; nftables src/mnl.c
#pragma once

#include "killswitch/codec/nft_batch.hpp"
#include "killswitch/codec/nft_rule.hpp"

#include <memory>
#include <span>
#include <string>
#include <vector>

struct nlmsghdr;

namespace killswitch::codec {

/// nft(8)'s own notes about a set, which the kernel keeps for it: byte order, and `typeof` for a set of raw bytes.
[[nodiscard]] std::vector<std::uint8_t> set_userdata(const model::Set& set, const std::vector<model::Operand>& raw);

class TransactionWriter {
public:
  explicit TransactionWriter(const BatchOptions& options);
  /// Ends the transaction; without a message in it the batch is empty.
  [[nodiscard]] Batch finish() &&;

  void create_table(const model::Table& table, std::uint32_t flags);
  void adopt_table(const model::Table& table, std::uint32_t flags);
  void delete_table(const model::Table& table);
  void create_counter(const model::Table& table, const std::string& name, const model::CounterValue& value);
  void delete_counter(const model::Table& table, const std::string& name);
  void create_set(const model::Table& table, const model::Set& set);
  void delete_set(const model::Table& table, const std::string& name);
  void add_elements(const model::Table& table, const model::Set& set, const std::vector<EncodedElement>& elements);
  void delete_elements(const model::Table& table, const model::Set& set, const std::vector<EncodedElement>& elements);
  void create_chain(const model::Table& table, const model::Chain& chain);
  void delete_chain(const model::Table& table, const std::string& name);
  void state_policy(const model::Table& table, const model::Chain& chain);
  void add_devices(const model::Table& table, const model::Chain& chain, const std::vector<std::string>& devices);
  void remove_devices(const model::Table& table, const model::Chain& chain, const std::vector<std::string>& devices);
  void flush_rules(const model::Table& table);
  /// @return what nf_tables cannot express; empty: nothing
  [[nodiscard]] Problem add_rule(const model::Table& table, const model::Chain& chain, const model::Rule& rule);

  [[nodiscard]] std::uint32_t last_sequence() const { return sequence_ - 1; }
  [[nodiscard]] std::string last_words() const { return batch_.words(last_sequence()); }

private:
  /// One message: `write(nlmsghdr*)` appends its attributes.
  template <typename Write>
  void append(std::uint16_t type, std::uint16_t flags, const model::Table& table, BatchStep step, Write write);
  void take(const nlmsghdr* message);
  void put_table(std::uint16_t flags, const model::Table& table, std::uint32_t table_flags, BatchStep step);
  void change_elements(std::uint16_t type, const model::Table& table, const model::Set& set,
                       std::span<const EncodedElement> elements);
  void change_devices(std::uint16_t type, const model::Table& table, const model::Chain& chain,
                      std::span<const std::string> devices, const char* verb);

  [[nodiscard]] EncodedRule* known_rule();

  Batch batch_;
  std::vector<EncodedRule>* known_rules_;
  std::size_t rules_{0};
  std::unique_ptr<std::uint8_t[]> buffer_;  ///< the message that is being written
  std::size_t last_{0};                     ///< where the last message starts
  std::uint32_t sequence_;
};

}  // namespace killswitch::codec
