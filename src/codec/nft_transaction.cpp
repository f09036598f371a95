#include "killswitch/codec/nft_transaction.hpp"

#include "killswitch/codec/netlink.hpp"
#include "nft_message.hpp"
#include "nft_objects.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Chain;
using model::Set;
using model::Table;

// An attribute holds less than 64 KiB. An element is at most two keys of 64 bytes and a verdict with a chain's name.
constexpr std::size_t list_bytes = std::size_t{32} << 10U;
// sizeof(struct nft_verdict): what nft(8) says and the kernel expects as the width of verdicts in maps.
constexpr std::uint32_t verdict_width = 16;
// Room for a ruleset in daily use, so that the buffer grows once.
constexpr std::size_t usual_bytes = std::size_t{48} << 10U;
constexpr std::size_t usual_messages = 192;
// @source NFT_NETDEVICE_MAX, Linux include/net/netfilter/nf_tables.h
constexpr std::size_t devices_per_message = 256;

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

TableObject make_table(const Table& table) {
  TableObject object{allocated(nftnl_table_alloc())};
  nftnl_table_set_str(object.get(), NFTNL_TABLE_NAME, table.name.c_str());
  return object;
}

ChainObject make_chain(const Table& table, const std::string& name) {
  ChainObject object{allocated(nftnl_chain_alloc())};
  nftnl_chain_set_str(object.get(), NFTNL_CHAIN_TABLE, table.name.c_str());
  nftnl_chain_set_str(object.get(), NFTNL_CHAIN_NAME, name.c_str());
  return object;
}

SetObject make_set(const Table& table, const std::string& name) {
  SetObject object{allocated(nftnl_set_alloc())};
  nftnl_set_set_str(object.get(), NFTNL_SET_TABLE, table.name.c_str());
  nftnl_set_set_str(object.get(), NFTNL_SET_NAME, name.c_str());
  return object;
}

StatefulObject make_counter(const Table& table, const std::string& name) {
  StatefulObject object{allocated(nftnl_obj_alloc())};
  nftnl_obj_set_str(object.get(), NFTNL_OBJ_TABLE, table.name.c_str());
  nftnl_obj_set_str(object.get(), NFTNL_OBJ_NAME, name.c_str());
  nftnl_obj_set_u32(object.get(), NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
  return object;
}

/// @param devices may be empty: then the hook is everywhere
void set_hook(nftnl_chain* object, const model::BaseChain& base, std::span<const std::string> devices) {
  nftnl_chain_set_u32(object, NFTNL_CHAIN_HOOKNUM, hook_number(base));
  nftnl_chain_set_s32(object, NFTNL_CHAIN_PRIO, base.priority);
  if (!devices.empty()) {
    std::vector<const char*> names;
    for (const std::string& device : devices) {
      names.push_back(device.c_str());
    }
    names.push_back(nullptr);
    nftnl_chain_set_array(object, NFTNL_CHAIN_DEVICES, names.data());
  }
}

void set_definition(nftnl_set* object, const Set& set) {
  std::uint32_t type = 0;
  std::uint32_t width = 0;
  for (const model::KeyType part : set.key) {
    const KeyTypeInfo& info = key_type_info(part);
    type = (type << 6U) | info.number;  // TYPE_BITS of nft
    width += set.key.size() == 1 ? info.form.width : padded(info.form.width);
  }
  const std::uint32_t interval = set.interval ? std::uint32_t{NFT_SET_INTERVAL} : 0;
  const std::uint32_t map = set.verdict_map ? std::uint32_t{NFT_SET_MAP} : 0;
  nftnl_set_set_u32(object, NFTNL_SET_FLAGS, interval | map);
  nftnl_set_set_u32(object, NFTNL_SET_KEY_TYPE, type);
  nftnl_set_set_u32(object, NFTNL_SET_KEY_LEN, width);
  if (set.verdict_map) {
    nftnl_set_set_u32(object, NFTNL_SET_DATA_TYPE, NFT_DATA_VERDICT);
    nftnl_set_set_u32(object, NFTNL_SET_DATA_LEN, verdict_width);
  }
}

/// @param element with a verdict that can stand in a map: nft_batch has looked
void write_element(nlmsghdr* message, const EncodedElement& element) {
  const ElementObject object{allocated(nftnl_set_elem_alloc())};
  nftnl_set_elem_set(object.get(), NFTNL_SET_ELEM_KEY, element.key.data(),
                     static_cast<std::uint32_t>(element.key.size()));
  if (element.verdict) {
    nftnl_set_elem_set_u32(object.get(), NFTNL_SET_ELEM_VERDICT, verdict_code(element.verdict->kind).value_or(NF_DROP));
    if (!element.verdict->chain.empty()) {
      nftnl_set_elem_set_str(object.get(), NFTNL_SET_ELEM_CHAIN, element.verdict->chain.c_str());
    }
  }
  nftnl_set_elem_nlmsg_build(message, object.get(), NFTA_LIST_ELEM);
}

void write_end(nlmsghdr* message, const EncodedElement& element) {
  const ElementObject object{allocated(nftnl_set_elem_alloc())};
  nftnl_set_elem_set_u32(object.get(), NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
  nftnl_set_elem_set(object.get(), NFTNL_SET_ELEM_KEY, element.end.data(),
                     static_cast<std::uint32_t>(element.end.size()));
  nftnl_set_elem_nlmsg_build(message, object.get(), NFTA_LIST_ELEM);
}

RuleObject make_rule(const Table& table, const Chain& chain) {
  RuleObject object{allocated(nftnl_rule_alloc())};
  nftnl_rule_set_str(object.get(), NFTNL_RULE_TABLE, table.name.c_str());
  nftnl_rule_set_str(object.get(), NFTNL_RULE_CHAIN, chain.name.c_str());
  return object;
}

void set_comment(nftnl_rule* object, const std::string& comment) {
  if (comment.empty()) {
    return;
  }
  // The type and the length of the datum are a byte each.
  const UserData data{allocated(nftnl_udata_buf_alloc(NFTNL_UDATA_COMMENT_MAXLEN + 2))};
  nftnl_udata_put_strz(data.get(), NFTNL_UDATA_RULE_COMMENT, safe_comment(comment).c_str());
  nftnl_rule_set_data(object, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(data.get()), nftnl_udata_buf_len(data.get()));
}

}  // namespace

TransactionWriter::TransactionWriter(const BatchOptions& options)
    : known_rules_{options.known_rules},
      buffer_{std::make_unique<std::uint8_t[]>(message_room)},
      sequence_{options.sequence} {
  batch_.bytes.reserve(usual_bytes);
  batch_.steps.reserve(usual_messages);
  batch_.first_sequence = sequence_;
  batch_.steps.push_back({"begin the transaction"});
  nlmsghdr* begin = nftnl_batch_begin(reinterpret_cast<char*>(buffer_.get()), sequence_++);
  if (options.generation) {
    // libnftnl knows no generation in a transaction.
    mnl_attr_put_u32(begin, NFNL_BATCH_GENID, htonl(*options.generation));
  }
  take(begin);
}

Batch TransactionWriter::finish() && {
  if (batch_.steps.size() == 1) {
    batch_.bytes.clear();
    return std::move(batch_);
  }
  reinterpret_cast<nlmsghdr*>(batch_.bytes.data() + last_)->nlmsg_flags |= NLM_F_ACK;
  batch_.acknowledged = sequence_ - 1;
  batch_.steps.push_back({"end the transaction"});
  take(nftnl_batch_end(reinterpret_cast<char*>(buffer_.get()), sequence_++));
  return std::move(batch_);
}

/// libmnl before 1.0.5 leaves the padding of attributes as it is: the buffer is zero before each message.
void TransactionWriter::take(const nlmsghdr* message) {
  last_ = batch_.bytes.size();
  const std::size_t length = message->nlmsg_len;
  batch_.bytes.insert(batch_.bytes.end(), buffer_.get(), buffer_.get() + length);
  std::fill_n(buffer_.get(), length, std::uint8_t{0});
}

template <typename Write>
void TransactionWriter::append(std::uint16_t type, std::uint16_t flags, const Table& table, BatchStep step,
                               Write write) {
  batch_.steps.push_back(step);
  nlmsghdr* message = nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(buffer_.get()), type, family_number(table.family),
                                            flags, sequence_++);
  write(message);
  take(message);
}

void TransactionWriter::put_table(std::uint16_t flags, const Table& table, std::uint32_t table_flags, BatchStep step) {
  const TableObject object = make_table(table);
  nftnl_table_set_u32(object.get(), NFTNL_TABLE_FLAGS, table_flags);
  append(NFT_MSG_NEWTABLE, flags, table, step,
         [&](nlmsghdr* message) { nftnl_table_nlmsg_build_payload(message, object.get()); });
}

/// NLM_F_EXCL: a table that somebody else made meanwhile is not to be mistaken for ours.
void TransactionWriter::create_table(const Table& table, std::uint32_t flags) {
  put_table(NLM_F_CREATE | NLM_F_EXCL, table, flags, {"create table", table.name});
}

void TransactionWriter::adopt_table(const Table& table, std::uint32_t flags) {
  put_table(0, table, flags, {"take over table", table.name});
}

void TransactionWriter::delete_table(const Table& table) {
  append(NFT_MSG_DELTABLE, 0, table, {"delete table", table.name},
         [&](nlmsghdr* message) { nftnl_table_nlmsg_build_payload(message, make_table(table).get()); });
}

void TransactionWriter::create_counter(const Table& table, const std::string& name, const model::CounterValue& value) {
  const StatefulObject object = make_counter(table, name);
  nftnl_obj_set_u64(object.get(), NFTNL_OBJ_CTR_PKTS, value.packets);
  nftnl_obj_set_u64(object.get(), NFTNL_OBJ_CTR_BYTES, value.bytes);
  append(NFT_MSG_NEWOBJ, NLM_F_CREATE, table, {"create counter", name},
         [&](nlmsghdr* message) { nftnl_obj_nlmsg_build_payload(message, object.get()); });
}

void TransactionWriter::delete_counter(const Table& table, const std::string& name) {
  append(NFT_MSG_DELOBJ, 0, table, {"delete counter", name},
         [&](nlmsghdr* message) { nftnl_obj_nlmsg_build_payload(message, make_counter(table, name).get()); });
}

void TransactionWriter::create_set(const Table& table, const Set& set) {
  const SetObject object = make_set(table, set.name);
  set_definition(object.get(), set);
  nftnl_set_set_u32(object.get(), NFTNL_SET_ID, sequence_);
  const auto notes = set_userdata(set, raw_operands(table, set));
  nftnl_set_set_data(object.get(), NFTNL_SET_USERDATA, notes.data(), static_cast<std::uint32_t>(notes.size()));
  append(NFT_MSG_NEWSET, NLM_F_CREATE, table, {"create set", set.name},
         [&](nlmsghdr* message) { nftnl_set_nlmsg_build_payload(message, object.get()); });
}

void TransactionWriter::delete_set(const Table& table, const std::string& name) {
  append(NFT_MSG_DELSET, 0, table, {"delete set", name},
         [&](nlmsghdr* message) { nftnl_set_nlmsg_build_payload(message, make_set(table, name).get()); });
}

/// The list is opened here and not by libnftnl, which numbers the elements: in what the kernel dumps they are all of
/// the type NFTA_LIST_ELEM, and libnftnl itself reads no other.
void TransactionWriter::change_elements(std::uint16_t type, const Table& table, const Set& set,
                                        std::span<const EncodedElement> elements) {
  const bool adding = type == NFT_MSG_NEWSETELEM;
  const SetObject object = make_set(table, set.name);
  const auto write_some = [&](nlmsghdr* message) {
    nftnl_set_elems_nlmsg_build_payload(message, object.get());
    nlattr* list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
    while (!elements.empty() && message->nlmsg_len < list_bytes) {
      write_element(message, elements.front());
      if (set.interval && !elements.front().end.empty()) {
        write_end(message, elements.front());
      }
      elements = elements.subspan(1);
    }
    mnl_attr_nest_end(message, list);
  };
  while (!elements.empty()) {
    append(type, adding ? NLM_F_CREATE : 0, table,
           {adding ? "add elements to set" : "delete elements from set", set.name}, write_some);
  }
}

void TransactionWriter::add_elements(const Table& table, const Set& set, const std::vector<EncodedElement>& elements) {
  change_elements(NFT_MSG_NEWSETELEM, table, set, elements);
}

void TransactionWriter::delete_elements(const Table& table, const Set& set,
                                        const std::vector<EncodedElement>& elements) {
  change_elements(NFT_MSG_DELSETELEM, table, set, elements);
}

void TransactionWriter::create_chain(const Table& table, const Chain& chain) {
  const ChainObject object = make_chain(table, chain.name);
  if (chain.base) {
    set_hook(object.get(), *chain.base, chain.base->devices);
    nftnl_chain_set_str(object.get(), NFTNL_CHAIN_TYPE, chain.base->type == model::ChainType::nat ? "nat" : "filter");
    nftnl_chain_set_u32(object.get(), NFTNL_CHAIN_POLICY, NF_DROP);
  }
  append(NFT_MSG_NEWCHAIN, NLM_F_CREATE, table, {"create chain", chain.name},
         [&](nlmsghdr* message) { nftnl_chain_nlmsg_build_payload(message, object.get()); });
}

void TransactionWriter::delete_chain(const Table& table, const std::string& name) {
  append(NFT_MSG_DELCHAIN, 0, table, {"delete chain", name},
         [&](nlmsghdr* message) { nftnl_chain_nlmsg_build_payload(message, make_chain(table, name).get()); });
}

void TransactionWriter::state_policy(const Table& table, const Chain& chain) {
  const ChainObject object = make_chain(table, chain.name);
  nftnl_chain_set_u32(object.get(), NFTNL_CHAIN_POLICY, NF_DROP);
  append(NFT_MSG_NEWCHAIN, 0, table, {"set the policy of chain", chain.name},
         [&](nlmsghdr* message) { nftnl_chain_nlmsg_build_payload(message, object.get()); });
}

void TransactionWriter::change_devices(std::uint16_t type, const Table& table, const Chain& chain,
                                       std::span<const std::string> devices, const char* verb) {
  while (!devices.empty()) {
    const auto some = devices.first(std::min(devices.size(), devices_per_message));
    const ChainObject object = make_chain(table, chain.name);
    set_hook(object.get(), *chain.base, some);
    append(type, 0, table, {verb, chain.name},
           [&](nlmsghdr* message) { nftnl_chain_nlmsg_build_payload(message, object.get()); });
    devices = devices.subspan(some.size());
  }
}

void TransactionWriter::add_devices(const Table& table, const Chain& chain, const std::vector<std::string>& devices) {
  change_devices(NFT_MSG_NEWCHAIN, table, chain, devices, "add devices to chain");
}

void TransactionWriter::remove_devices(const Table& table, const Chain& chain,
                                       const std::vector<std::string>& devices) {
  change_devices(NFT_MSG_DELCHAIN, table, chain, devices, "remove devices from chain");
}

/// Without a chain the message is about the rules of all chains.
void TransactionWriter::flush_rules(const Table& table) {
  const RuleObject object{allocated(nftnl_rule_alloc())};
  nftnl_rule_set_str(object.get(), NFTNL_RULE_TABLE, table.name.c_str());
  append(NFT_MSG_DELRULE, 0, table, {"flush table", table.name},
         [&](nlmsghdr* message) { nftnl_rule_nlmsg_build_payload(message, object.get()); });
}

/// The place of the next rule among those of the batch before; null when none are kept.
EncodedRule* TransactionWriter::known_rule() {
  if (known_rules_ == nullptr) {
    return nullptr;
  }
  if (rules_ == known_rules_->size()) {
    known_rules_->emplace_back();
  }
  return &(*known_rules_)[rules_++];
}

Problem TransactionWriter::add_rule(const Table& table, const Chain& chain, const model::Rule& rule) {
  EncodedRule* known = known_rule();
  const bool same = known != nullptr && !known->attributes.empty() && known->table == table.name &&
                    known->chain == chain.name && known->rule == rule;
  const RuleObject object = same ? nullptr : make_rule(table, chain);
  Problem problem = same ? "" : add_expressions(*object, rule);
  append(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table, {"add rule", rule.comment, chain.name, "chain"},
         [&](nlmsghdr* message) {
           if (same) {
             std::copy(known->attributes.begin(), known->attributes.end(),
                       static_cast<std::uint8_t*>(mnl_nlmsg_get_payload_tail(message)));
             message->nlmsg_len += static_cast<std::uint32_t>(known->attributes.size());
           } else if (problem.empty()) {  // what it has too much of is not written
             set_comment(object.get(), rule.comment);
             nftnl_rule_nlmsg_build_payload(message, object.get());
           }
           if (known != nullptr && !same) {
             const Span written = attributes_of(*message);
             *known = {table.name, chain.name, rule, {written.begin(), written.end()}};
           }
         });
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
