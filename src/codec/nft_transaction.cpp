#include "killswitch/codec/nft_transaction.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Chain;
using model::Set;
using model::Table;

// An attribute holds less than 64 KiB; an element with two keys and a verdict needs about 100 bytes.
constexpr std::size_t elements_per_message = 256;
// sizeof(struct nft_verdict): what nft(8) says and the kernel expects as the width of verdicts in maps.
constexpr std::uint32_t verdict_width = 16;
// Room for a ruleset in daily use, so that the buffer grows once.
constexpr std::size_t usual_bytes = std::size_t{48} << 10U;
constexpr std::size_t usual_messages = 192;

std::uint8_t family_number(model::TableFamily family) {
  return family == model::TableFamily::inet ? NFPROTO_INET : NFPROTO_NETDEV;
}

std::uint32_t hook_number(const model::BaseChain& base) {
  switch (base.hook) {
    case model::Hook::prerouting: return NF_INET_PRE_ROUTING;
    case model::Hook::input: return NF_INET_LOCAL_IN;
    case model::Hook::forward: return NF_INET_FORWARD;
    case model::Hook::output: return NF_INET_LOCAL_OUT;
    case model::Hook::postrouting: return NF_INET_POST_ROUTING;
    case model::Hook::egress: break;
  }
  return NF_NETDEV_EGRESS;
}

}  // namespace

TransactionWriter::TransactionWriter(const BatchOptions& options) : writer_{batch_.bytes}, sequence_{options.sequence} {
  batch_.bytes.reserve(usual_bytes);
  batch_.steps.reserve(usual_messages);
  batch_.first_sequence = sequence_;
  batch_.steps.push_back({"begin the transaction"});
  writer_.begin(NFNL_MSG_BATCH_BEGIN, AF_UNSPEC, 0, sequence_++, NFNL_SUBSYS_NFTABLES);
  if (options.generation) {
    writer_.put_be32(NFNL_BATCH_GENID, *options.generation);
  }
  writer_.end();
}

Batch TransactionWriter::finish() && {
  if (batch_.steps.size() == 1) {
    batch_.bytes.clear();
    return std::move(batch_);
  }
  writer_.acknowledge();
  batch_.acknowledged = sequence_ - 1;
  batch_.steps.push_back({"end the transaction"});
  writer_.begin(NFNL_MSG_BATCH_END, AF_UNSPEC, 0, sequence_++, NFNL_SUBSYS_NFTABLES);
  writer_.end();
  return std::move(batch_);
}

void TransactionWriter::start(std::uint16_t type, std::uint16_t flags, const Table& table, BatchStep step) {
  batch_.steps.push_back(step);
  writer_.begin(static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8U) | type), family_number(table.family), flags,
                sequence_++);
}

/// NLM_F_EXCL: a table that somebody else made meanwhile is not to be mistaken for ours.
void TransactionWriter::create_table(const Table& table, std::uint32_t flags) {
  start(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, table, {"create table", table.name});
  writer_.put_text(NFTA_TABLE_NAME, table.name);
  writer_.put_be32(NFTA_TABLE_FLAGS, flags);
  writer_.end();
}

void TransactionWriter::adopt_table(const Table& table, std::uint32_t flags) {
  start(NFT_MSG_NEWTABLE, 0, table, {"take over table", table.name});
  writer_.put_text(NFTA_TABLE_NAME, table.name);
  writer_.put_be32(NFTA_TABLE_FLAGS, flags);
  writer_.end();
}

void TransactionWriter::delete_table(const Table& table) {
  start(NFT_MSG_DELTABLE, 0, table, {"delete table", table.name});
  writer_.put_text(NFTA_TABLE_NAME, table.name);
  writer_.end();
}

void TransactionWriter::create_counter(const Table& table, const std::string& name, const model::CounterValue& value) {
  start(NFT_MSG_NEWOBJ, NLM_F_CREATE, table, {"create counter", name});
  writer_.put_text(NFTA_OBJ_TABLE, table.name);
  writer_.put_text(NFTA_OBJ_NAME, name);
  writer_.put_be32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  const auto nest = writer_.open(NFTA_OBJ_DATA);
  writer_.put_be64(NFTA_COUNTER_BYTES, value.bytes);
  writer_.put_be64(NFTA_COUNTER_PACKETS, value.packets);
  writer_.close(nest);
  writer_.end();
}

void TransactionWriter::delete_named(std::uint16_t type, std::uint16_t attribute, const Table& table, BatchStep step) {
  start(type, 0, table, step);
  writer_.put_text(NFTA_TABLE_NAME, table.name);  // attribute 1 names the table in messages of every kind
  writer_.put_text(attribute, step.object);
  if (type == NFT_MSG_DELOBJ) {
    writer_.put_be32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  }
  writer_.end();
}

void TransactionWriter::delete_counter(const Table& table, const std::string& name) {
  delete_named(NFT_MSG_DELOBJ, NFTA_OBJ_NAME, table, {"delete counter", name});
}

void TransactionWriter::delete_set(const Table& table, const std::string& name) {
  delete_named(NFT_MSG_DELSET, NFTA_SET_NAME, table, {"delete set", name});
}

void TransactionWriter::delete_chain(const Table& table, const std::string& name) {
  delete_named(NFT_MSG_DELCHAIN, NFTA_CHAIN_NAME, table, {"delete chain", name});
}

void TransactionWriter::create_set(const Table& table, const Set& set) {
  start(NFT_MSG_NEWSET, NLM_F_CREATE, table, {"create set", set.name});
  std::uint32_t type = 0;
  std::uint32_t width = 0;
  for (const model::KeyType part : set.key) {
    const KeyTypeInfo& info = key_type_info(part);
    type = (type << 6U) | info.number;  // TYPE_BITS of nft
    width += set.key.size() == 1 ? info.form.width : padded(info.form.width);
  }
  writer_.put_text(NFTA_SET_TABLE, table.name);
  writer_.put_text(NFTA_SET_NAME, set.name);
  const std::uint32_t interval = set.interval ? std::uint32_t{NFT_SET_INTERVAL} : 0;
  const std::uint32_t map = set.verdict_map ? std::uint32_t{NFT_SET_MAP} : 0;
  writer_.put_be32(NFTA_SET_FLAGS, interval | map);
  writer_.put_be32(NFTA_SET_KEY_TYPE, type);
  writer_.put_be32(NFTA_SET_KEY_LEN, width);
  if (set.verdict_map) {
    writer_.put_be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
    writer_.put_be32(NFTA_SET_DATA_LEN, verdict_width);
  }
  writer_.put_be32(NFTA_SET_ID, sequence_);
  writer_.put(NFTA_SET_USERDATA, set_userdata(set, raw_operands(table, set)));
  writer_.end();
}

void TransactionWriter::put_key(std::uint32_t flags, Span key) {
  if (flags != 0) {
    writer_.put_be32(NFTA_SET_ELEM_FLAGS, flags);
  }
  const auto nest = writer_.open(NFTA_SET_ELEM_KEY);
  writer_.put(NFTA_DATA_VALUE, key);
  writer_.close(nest);
}

/// @param element with a verdict that can stand in a map: nft_batch has looked
void TransactionWriter::write_element(const EncodedElement& element) {
  const auto nest = writer_.open(NFTA_LIST_ELEM);
  put_key(0, element.key);
  if (element.verdict) {
    const auto data = writer_.open(NFTA_SET_ELEM_DATA);
    write_verdict(writer_, *element.verdict);
    writer_.close(data);
  }
  writer_.close(nest);
}

void TransactionWriter::write_end(const EncodedElement& element) {
  const auto nest = writer_.open(NFTA_LIST_ELEM);
  put_key(NFT_SET_ELEM_INTERVAL_END, element.end);
  writer_.close(nest);
}

void TransactionWriter::change_elements(std::uint16_t type, const Table& table, const Set& set,
                                        std::span<const EncodedElement> elements) {
  const bool adding = type == NFT_MSG_NEWSETELEM;
  while (!elements.empty()) {
    start(type, adding ? NLM_F_CREATE : 0, table,
          {adding ? "add elements to set" : "delete elements from set", set.name});
    writer_.put_text(NFTA_SET_ELEM_LIST_TABLE, table.name);
    writer_.put_text(NFTA_SET_ELEM_LIST_SET, set.name);
    const auto nest = writer_.open(NFTA_SET_ELEM_LIST_ELEMENTS);
    const auto chunk = elements.first(std::min(elements.size(), elements_per_message));
    for (const EncodedElement& element : chunk) {
      write_element(element);
      if (set.interval && !element.end.empty()) {
        write_end(element);
      }
    }
    writer_.close(nest);
    writer_.end();
    elements = elements.subspan(chunk.size());
  }
}

void TransactionWriter::add_elements(const Table& table, const Set& set, const std::vector<EncodedElement>& elements) {
  change_elements(NFT_MSG_NEWSETELEM, table, set, elements);
}

void TransactionWriter::delete_elements(const Table& table, const Set& set,
                                        const std::vector<EncodedElement>& elements) {
  change_elements(NFT_MSG_DELSETELEM, table, set, elements);
}

void TransactionWriter::put_hook(const model::BaseChain& base, const std::vector<std::string>& devices) {
  const auto hook = writer_.open(NFTA_CHAIN_HOOK);
  writer_.put_be32(NFTA_HOOK_HOOKNUM, hook_number(base));
  writer_.put_be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(base.priority));
  if (!devices.empty()) {
    const auto nest = writer_.open(NFTA_HOOK_DEVS);
    for (const std::string& device : devices) {
      writer_.put_text(NFTA_DEVICE_NAME, device);
    }
    writer_.close(nest);
  }
  writer_.close(hook);
}

void TransactionWriter::create_chain(const Table& table, const Chain& chain) {
  start(NFT_MSG_NEWCHAIN, NLM_F_CREATE, table, {"create chain", chain.name});
  writer_.put_text(NFTA_CHAIN_TABLE, table.name);
  writer_.put_text(NFTA_CHAIN_NAME, chain.name);
  if (chain.base) {
    put_hook(*chain.base, chain.base->devices);
    writer_.put_text(NFTA_CHAIN_TYPE, chain.base->type == model::ChainType::nat ? "nat" : "filter");
    writer_.put_be32(NFTA_CHAIN_POLICY, NF_DROP);
  }
  writer_.end();
}

void TransactionWriter::state_policy(const Table& table, const Chain& chain) {
  start(NFT_MSG_NEWCHAIN, 0, table, {"set the policy of chain", chain.name});
  writer_.put_text(NFTA_CHAIN_TABLE, table.name);
  writer_.put_text(NFTA_CHAIN_NAME, chain.name);
  writer_.put_be32(NFTA_CHAIN_POLICY, NF_DROP);
  writer_.end();
}

void TransactionWriter::add_devices(const Table& table, const Chain& chain, const std::vector<std::string>& devices) {
  start(NFT_MSG_NEWCHAIN, 0, table, {"add devices to chain", chain.name});
  writer_.put_text(NFTA_CHAIN_TABLE, table.name);
  writer_.put_text(NFTA_CHAIN_NAME, chain.name);
  put_hook(*chain.base, devices);
  writer_.end();
}

void TransactionWriter::remove_devices(const Table& table, const Chain& chain,
                                       const std::vector<std::string>& devices) {
  start(NFT_MSG_DELCHAIN, 0, table, {"remove devices from chain", chain.name});
  writer_.put_text(NFTA_CHAIN_TABLE, table.name);
  writer_.put_text(NFTA_CHAIN_NAME, chain.name);
  put_hook(*chain.base, devices);
  writer_.end();
}

/// Without a chain the message is about the rules of all chains.
void TransactionWriter::flush_rules(const Table& table) {
  start(NFT_MSG_DELRULE, 0, table, {"flush table", table.name});
  writer_.put_text(NFTA_RULE_TABLE, table.name);
  writer_.end();
}

/// One user datum: type NFTNL_UDATA_RULE_COMMENT (0), length, text with its zero.
void TransactionWriter::put_comment(const std::string& comment) {
  const std::string safe = safe_comment(comment);
  std::array<std::uint8_t, 130> udata{0, static_cast<std::uint8_t>(safe.size() + 1)};
  std::copy(safe.begin(), safe.end(), udata.begin() + 2);
  writer_.put(NFTA_RULE_USERDATA, Span{udata}.first(safe.size() + 3));
}

Problem TransactionWriter::add_rule(const Table& table, const Chain& chain, const model::Rule& rule) {
  start(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table, {"add rule", rule.comment, chain.name, "chain"});
  writer_.put_text(NFTA_RULE_TABLE, table.name);
  writer_.put_text(NFTA_RULE_CHAIN, chain.name);
  const auto expressions = writer_.open(NFTA_RULE_EXPRESSIONS);
  Problem problem = write_expressions(writer_, rule);
  writer_.close(expressions);
  if (!rule.comment.empty()) {
    put_comment(rule.comment);
  }
  writer_.end();
  return problem;
}

std::string Batch::words(std::uint32_t sequence) const {
  const std::size_t index = sequence - first_sequence;
  if (index >= steps.size()) {
    return "an unknown message";
  }
  const BatchStep& step = steps[index];
  std::string text = step.verb;
  if (!step.object.empty()) {
    text += fmt::format(" '{}'", step.object);
  } else if (!step.container.empty()) {
    text += fmt::format(" {} of the transaction", index);
  }
  if (!step.container.empty()) {
    text += fmt::format(" to {} {}", step.container_kind, step.container);
  }
  return text;
}

}  // namespace killswitch::codec
