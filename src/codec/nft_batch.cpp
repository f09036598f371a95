#include "killswitch/codec/nft_batch.hpp"

#include "killswitch/codec/nft_rule.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Chain;
using model::Ruleset;
using model::Set;
using model::Table;

// An attribute holds less than 64 KiB; an element with two keys and a verdict needs about 100 bytes.
constexpr std::size_t elements_per_message = 256;
// sizeof(struct nft_verdict): what nft(8) says and the kernel expects as the width of verdicts in maps.
constexpr std::uint32_t verdict_width = 16;

// nft(8)'s own notes about a set, kept by the kernel for it. @source enum nftnl_udata_set_types, libnftnl udata.h;
// enum expr_types and payload_expr_build_udata, nftables
constexpr std::uint8_t udata_key_byteorder = 0;
constexpr std::uint8_t udata_key_typeof = 3;
constexpr std::uint32_t byteorder_invalid = 0;
constexpr std::uint32_t byteorder_host = 1;
constexpr std::uint32_t byteorder_network = 2;
constexpr std::uint32_t expression_concat = 13;
constexpr std::uint32_t expression_payload = 7;
// NFTNL_UDATA_SET_ELEM_FLAGS with NFTNL_SET_ELEM_F_INTERVAL_OPEN: the interval has no end.
constexpr std::array<std::uint8_t, 6> udata_open_interval{1, 4, 1, 0, 0, 0};

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

void append_udata_u32(std::vector<std::uint8_t>& out, std::uint8_t type, std::uint32_t value) {
  out.insert(out.end(), {type, 4});
  const auto encoded = encode_value(ValueForm{}, value);
  out.insert(out.end(), encoded->bytes.begin(), encoded->bytes.begin() + 4);
}

std::vector<std::uint8_t> udata_of_payload(const model::Operand& operand) {
  std::vector<std::uint8_t> inner;
  append_udata_u32(inner, 0, 0);  // no protocol is known
  append_udata_u32(inner, 1, 0);  // no field of it
  append_udata_u32(inner, 2, payload_base_number(operand.base) + 1);
  append_udata_u32(inner, 3, operand.offset * 8U);
  append_udata_u32(inner, 4, operand.length * 8U);
  std::vector<std::uint8_t> out;
  append_udata_u32(out, 0, expression_payload);
  out.insert(out.end(), {1, static_cast<std::uint8_t>(inner.size())});
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

/// `typeof @th,192,32 . …`: without it nft(8) would not accept its own listing of a lookup of raw bytes.
std::vector<std::uint8_t> udata_typeof(const std::vector<model::Operand>& operands) {
  std::vector<std::uint8_t> inner;
  if (operands.size() == 1) {
    inner = udata_of_payload(operands.front());
  } else {
    std::vector<std::uint8_t> parts;
    std::uint8_t index = 0;
    for (const model::Operand& operand : operands) {
      const auto part = udata_of_payload(operand);
      parts.insert(parts.end(), {index++, static_cast<std::uint8_t>(part.size())});
      parts.insert(parts.end(), part.begin(), part.end());
    }
    append_udata_u32(inner, 0, expression_concat);
    inner.insert(inner.end(), {1, static_cast<std::uint8_t>(parts.size())});
    inner.insert(inner.end(), parts.begin(), parts.end());
  }
  std::vector<std::uint8_t> out{udata_key_typeof, static_cast<std::uint8_t>(inner.size())};
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

std::vector<std::uint8_t> set_userdata(const Set& set, const std::vector<model::Operand>& raw) {
  std::uint32_t order = byteorder_invalid;
  if (set.key.size() == 1 && raw.empty()) {
    const bool host = key_type_info(set.key.front()).form.order == ByteOrder::host;
    order = host ? byteorder_host : byteorder_network;
  }
  std::vector<std::uint8_t> out;
  append_udata_u32(out, udata_key_byteorder, order);
  if (!raw.empty() && raw.size() <= 6) {  // the notes' lengths are single bytes
    const auto more = udata_typeof(raw);
    out.insert(out.end(), more.begin(), more.end());
  }
  return out;
}

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

class Encoder {
public:
  explicit Encoder(const BatchOptions& options) : writer_{batch_.bytes}, sequence_{options.sequence} {
    batch_.bytes.reserve(std::size_t{48} << 10U);
    batch_.steps.reserve(192);
    batch_.first_sequence = sequence_;
    batch_.steps.push_back({"begin the transaction"});
    writer_.begin(NFNL_MSG_BATCH_BEGIN, AF_UNSPEC, 0, sequence_++, NFNL_SUBSYS_NFTABLES);
    if (options.generation) {
      writer_.put_be32(NFNL_BATCH_GENID, *options.generation);
    }
    writer_.end();
  }

  Batch finish() && {
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

  Outcome replace(const Table& desired, const Table* held, const TablePlan& plan);
  Outcome update_elements(const Table& desired, const Table& held);
  void create_table(const Table& table, std::uint32_t flags, bool exclusive);
  void adopt_table(const Table& table, std::uint32_t flags);
  void delete_table(const Table& table);
  void create_chain(const Table& table, const Chain& chain);
  [[nodiscard]] std::uint32_t last_sequence() const { return sequence_ - 1; }
  Outcome add_rule(const Table& table, const Chain& chain, const model::Rule& rule);

private:
  struct SetWork {
    const Set* desired;
    ElementChange change;
  };

  void start(std::uint16_t type, std::uint16_t flags, const Table& table, BatchStep step);
  void create_counter(const Table& table, const std::string& name, const TablePlan& plan);
  void delete_named(std::uint16_t type, std::uint16_t attribute, const Table& table, const std::string& name,
                    BatchStep step);
  void create_set(const Table& table, const Set& set);
  void change_elements(std::uint16_t type, const Table& table, const Set& set,
                       const std::vector<EncodedElement>& elements);
  void put_key(std::uint16_t flags, Span key);
  void write_element(const EncodedElement& element);
  void write_end(const EncodedElement& element);
  void change_devices(const Table& table, const Chain& desired, const Chain& held);
  void put_hook(const model::BaseChain& base, const std::vector<std::string>& devices);
  void state_policy(const Table& table, const Chain& chain);
  Outcome plan_sets(const Table& desired, const Table* held, std::vector<SetWork>& work);
  void clear(const Table& desired, const Table& held, const std::vector<SetWork>& work);
  void create_chains(const Table& desired, const Table* held, const TablePlan& plan);

  Batch batch_;
  NetlinkWriter writer_;
  std::uint32_t sequence_;
};

void Encoder::start(std::uint16_t type, std::uint16_t flags, const Table& table, BatchStep step) {
  batch_.steps.push_back(step);
  writer_.begin(static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8U) | type), family_number(table.family), flags,
                sequence_++);
}

void Encoder::create_table(const Table& table, std::uint32_t flags, bool exclusive) {
  const auto create = static_cast<std::uint16_t>(NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0));
  start(NFT_MSG_NEWTABLE, create, table, {"create table", table.name});
  writer_.put_text(NFTA_TABLE_NAME, table.name);
  writer_.put_be32(NFTA_TABLE_FLAGS, flags);
  writer_.end();
}

void Encoder::adopt_table(const Table& table, std::uint32_t flags) {
  start(NFT_MSG_NEWTABLE, 0, table, {"take over table", table.name});
  writer_.put_text(NFTA_TABLE_NAME, table.name);
  writer_.put_be32(NFTA_TABLE_FLAGS, flags);
  writer_.end();
}

void Encoder::delete_table(const Table& table) {
  start(NFT_MSG_DELTABLE, 0, table, {"delete table", table.name});
  writer_.put_text(NFTA_TABLE_NAME, table.name);
  writer_.end();
}

void Encoder::create_counter(const Table& table, const std::string& name, const TablePlan& plan) {
  start(NFT_MSG_NEWOBJ, NLM_F_CREATE, table, {"create counter", name});
  writer_.put_text(NFTA_OBJ_TABLE, table.name);
  writer_.put_text(NFTA_OBJ_NAME, name);
  writer_.put_be32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  const auto nest = writer_.open(NFTA_OBJ_DATA);
  if (const auto value = plan.counters.find(name); value != plan.counters.end()) {
    writer_.put_be64(NFTA_COUNTER_BYTES, value->second.bytes);
    writer_.put_be64(NFTA_COUNTER_PACKETS, value->second.packets);
  }
  writer_.close(nest);
  writer_.end();
}

void Encoder::delete_named(std::uint16_t type, std::uint16_t attribute, const Table& table, const std::string& name,
                           BatchStep step) {
  start(type, 0, table, step);
  writer_.put_text(NFTA_TABLE_NAME, table.name);  // attribute 1 names the table in messages of every kind
  writer_.put_text(attribute, name);
  if (type == NFT_MSG_DELOBJ) {
    writer_.put_be32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  }
  writer_.end();
}

void Encoder::create_set(const Table& table, const Set& set) {
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

void Encoder::put_key(std::uint16_t flags, Span key) {
  if (flags != 0) {
    writer_.put_be32(NFTA_SET_ELEM_FLAGS, flags);
  }
  const auto nest = writer_.open(NFTA_SET_ELEM_KEY);
  writer_.put(NFTA_DATA_VALUE, key);
  writer_.close(nest);
}

void Encoder::write_element(const EncodedElement& element) {
  const auto nest = writer_.open(NFTA_LIST_ELEM);
  put_key(0, element.key);
  if (element.verdict) {
    const auto data = writer_.open(NFTA_SET_ELEM_DATA);
    (void)write_verdict(writer_, *element.verdict);  // checked by change_elements' caller, check_verdicts
    writer_.close(data);
  }
  writer_.close(nest);
}

void Encoder::write_end(const EncodedElement& element) {
  const auto nest = writer_.open(NFTA_LIST_ELEM);
  put_key(NFT_SET_ELEM_INTERVAL_END, element.end);
  writer_.close(nest);
}

void Encoder::change_elements(std::uint16_t type, const Table& table, const Set& set,
                              const std::vector<EncodedElement>& elements) {
  const bool adding = type == NFT_MSG_NEWSETELEM;
  for (std::size_t first = 0; first < elements.size(); first += elements_per_message) {
    start(type, adding ? NLM_F_CREATE : 0, table,
          {adding ? "add elements to set" : "delete elements from set", set.name});
    writer_.put_text(NFTA_SET_ELEM_LIST_TABLE, table.name);
    writer_.put_text(NFTA_SET_ELEM_LIST_SET, set.name);
    const auto nest = writer_.open(NFTA_SET_ELEM_LIST_ELEMENTS);
    for (std::size_t i = first; i < std::min(first + elements_per_message, elements.size()); ++i) {
      write_element(elements[i]);
      if (set.interval && !elements[i].end.empty()) {
        write_end(elements[i]);
      }
    }
    writer_.close(nest);
    writer_.end();
  }
}

void Encoder::put_hook(const model::BaseChain& base, const std::vector<std::string>& devices) {
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

void Encoder::create_chain(const Table& table, const Chain& chain) {
  start(NFT_MSG_NEWCHAIN, NLM_F_CREATE, table, {"create chain", chain.name});
  writer_.put_text(NFTA_CHAIN_TABLE, table.name);
  writer_.put_text(NFTA_CHAIN_NAME, chain.name);
  if (chain.base) {
    put_hook(*chain.base, chain.base->devices);
    writer_.put_text(NFTA_CHAIN_TYPE, "filter");
    writer_.put_be32(NFTA_CHAIN_POLICY, NF_DROP);
  }
  writer_.end();
}

void Encoder::state_policy(const Table& table, const Chain& chain) {
  start(NFT_MSG_NEWCHAIN, 0, table, {"set the policy of chain", chain.name});
  writer_.put_text(NFTA_CHAIN_TABLE, table.name);
  writer_.put_text(NFTA_CHAIN_NAME, chain.name);
  writer_.put_be32(NFTA_CHAIN_POLICY, NF_DROP);
  writer_.end();
}

std::vector<std::string> without(const std::vector<std::string>& all, const std::vector<std::string>& these) {
  std::vector<std::string> rest;
  std::copy_if(all.begin(), all.end(), std::back_inserter(rest),
               [&](const std::string& one) { return std::find(these.begin(), these.end(), one) == these.end(); });
  return rest;
}

void Encoder::change_devices(const Table& table, const Chain& desired, const Chain& held) {
  const auto fresh = without(desired.base->devices, held.base->devices);
  const auto gone = without(held.base->devices, desired.base->devices);
  if (!fresh.empty()) {
    start(NFT_MSG_NEWCHAIN, 0, table, {"add devices to chain", desired.name});
    writer_.put_text(NFTA_CHAIN_TABLE, table.name);
    writer_.put_text(NFTA_CHAIN_NAME, desired.name);
    put_hook(*desired.base, fresh);
    writer_.end();
  }
  if (!gone.empty()) {
    start(NFT_MSG_DELCHAIN, 0, table, {"remove devices from chain", desired.name});
    writer_.put_text(NFTA_CHAIN_TABLE, table.name);
    writer_.put_text(NFTA_CHAIN_NAME, desired.name);
    put_hook(*desired.base, gone);
    writer_.end();
  }
}

Outcome Encoder::add_rule(const Table& table, const Chain& chain, const model::Rule& rule) {
  start(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table, {"add rule", rule.comment, chain.name, "chain"});
  writer_.put_text(NFTA_RULE_TABLE, table.name);
  writer_.put_text(NFTA_RULE_CHAIN, chain.name);
  const auto expressions = writer_.open(NFTA_RULE_EXPRESSIONS);
  const Problem problem = write_expressions(writer_, rule);
  writer_.close(expressions);
  if (!problem.empty()) {
    return fail(fmt::format("nft: {}: {}", batch_.words(sequence_ - 1), problem));
  }
  if (!rule.comment.empty()) {
    // One user datum: type NFTNL_UDATA_RULE_COMMENT (0), length, text with its zero.
    const std::string comment = safe_comment(rule.comment);
    std::array<std::uint8_t, 130> udata{0, static_cast<std::uint8_t>(comment.size() + 1)};
    std::copy(comment.begin(), comment.end(), udata.begin() + 2);
    writer_.put(NFTA_RULE_USERDATA, Span{udata}.first(comment.size() + 3));
  }
  writer_.end();
  return done();
}

bool same_place(const Chain& left, const Chain& right) {
  if (!left.base || !right.base) {
    return left.base.has_value() == right.base.has_value();
  }
  return left.base->hook == right.base->hook && left.base->priority == right.base->priority;
}

Problem check_set(const Set& set) {
  if (set.key.empty()) {
    return "it has no key";
  }
  for (const model::SetElement& element : set.elements) {
    std::vector<std::uint8_t> unused;
    NetlinkWriter writer{unused};
    if (element.verdict) {
      Problem problem = write_verdict(writer, *element.verdict);
      if (!problem.empty()) {
        return problem;
      }
    }
  }
  return name_problem(set.name).value_or("");
}

Outcome Encoder::plan_sets(const Table& desired, const Table* held, std::vector<SetWork>& work) {
  for (const Set& set : desired.sets) {
    const Set* before = held != nullptr ? find_named(held->sets, set.name) : nullptr;
    if (before != nullptr && !same_definition(*before, set)) {
      before = nullptr;
    }
    const Problem problem = before == nullptr || before->elements != set.elements ? check_set(set) : "";
    if (!problem.empty()) {
      return fail(fmt::format("nft: set '{}': {}", set.name, problem));
    }
    auto change = element_change(before, set);
    if (!change) {
      return fail(change.error().within("nft"));
    }
    work.push_back({&set, std::move(*change)});
  }
  return done();
}

/// Takes away what is not wanted any more, from the outside in: rules, elements, sets, chains, counters.
void Encoder::clear(const Table& desired, const Table& held, const std::vector<SetWork>& work) {
  if (!held.chains.empty()) {
    start(NFT_MSG_DELRULE, 0, desired, {"flush table", desired.name});
    writer_.put_text(NFTA_RULE_TABLE, desired.name);
    writer_.end();
  }
  for (const Set& set : held.sets) {
    const Set* wanted = find_named(desired.sets, set.name);
    if (wanted == nullptr || !same_definition(*wanted, set)) {
      delete_named(NFT_MSG_DELSET, NFTA_SET_NAME, desired, set.name, {"delete set", set.name});
    }
  }
  for (const SetWork& one : work) {
    change_elements(NFT_MSG_DELSETELEM, desired, *one.desired, one.change.gone);
  }
  for (const Chain& chain : held.chains) {
    const Chain* wanted = find_named(desired.chains, chain.name);
    if (wanted == nullptr || !same_place(*wanted, chain)) {
      delete_named(NFT_MSG_DELCHAIN, NFTA_CHAIN_NAME, desired, chain.name, {"delete chain", chain.name});
    }
  }
  for (const std::string& counter : held.counters) {
    if (std::find(desired.counters.begin(), desired.counters.end(), counter) == desired.counters.end()) {
      delete_named(NFT_MSG_DELOBJ, NFTA_OBJ_NAME, desired, counter, {"delete counter", counter});
    }
  }
}

void Encoder::create_chains(const Table& desired, const Table* held, const TablePlan& plan) {
  for (const Chain& chain : desired.chains) {
    const Chain* before = held != nullptr ? find_named(held->chains, chain.name) : nullptr;
    if (before == nullptr || !same_place(*before, chain)) {
      create_chain(desired, chain);
      continue;
    }
    if (chain.base && plan.restate_policies) {
      state_policy(desired, chain);
    }
    if (chain.base && chain.base->devices != before->base->devices) {
      change_devices(desired, chain, *before);
    }
  }
}

Outcome Encoder::replace(const Table& desired, const Table* held, const TablePlan& plan) {
  if (held != nullptr && plan.action == TableAction::recreate) {
    delete_table(*held);
    held = nullptr;
  }
  switch (plan.action) {
    case TableAction::keep: break;
    case TableAction::adopt: adopt_table(desired, plan.flags); break;
    case TableAction::create:
    case TableAction::recreate: create_table(desired, plan.flags, true); break;
  }
  std::vector<SetWork> work;
  if (const auto planned = plan_sets(desired, held, work); !planned) {
    return fail(planned.error());
  }
  if (held != nullptr) {
    clear(desired, *held, work);
  }
  for (const std::string& counter : desired.counters) {
    if (held == nullptr || std::find(held->counters.begin(), held->counters.end(), counter) == held->counters.end()) {
      create_counter(desired, counter, plan);
    }
  }
  for (const Set& set : desired.sets) {
    const Set* before = held != nullptr ? find_named(held->sets, set.name) : nullptr;
    if (before == nullptr || !same_definition(*before, set)) {
      create_set(desired, set);
    }
  }
  create_chains(desired, held, plan);
  for (const SetWork& one : work) {
    change_elements(NFT_MSG_NEWSETELEM, desired, *one.desired, one.change.fresh);
  }
  for (const Chain& chain : desired.chains) {
    for (const model::Rule& rule : chain.rules) {
      if (const auto added = add_rule(desired, chain, rule); !added) {
        return added;
      }
    }
  }
  return done();
}

Outcome Encoder::update_elements(const Table& desired, const Table& held) {
  std::vector<SetWork> work;
  if (const auto planned = plan_sets(desired, &held, work); !planned) {
    return fail(planned.error());
  }
  for (const SetWork& one : work) {
    change_elements(NFT_MSG_DELSETELEM, desired, *one.desired, one.change.gone);
  }
  for (const SetWork& one : work) {
    change_elements(NFT_MSG_NEWSETELEM, desired, *one.desired, one.change.fresh);
  }
  return done();
}

Outcome check_names(const Table& table) {
  std::vector<std::string_view> names{table.name};
  for (const Chain& chain : table.chains) {
    names.emplace_back(chain.name);
  }
  names.insert(names.end(), table.counters.begin(), table.counters.end());
  for (const std::string_view name : names) {
    if (const auto problem = name_problem(name)) {
      return fail(fmt::format("nft: '{}': {}", name, *problem));
    }
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

Result<Batch> encode_replacement(const Ruleset& desired, const Ruleset& held, const std::vector<TablePlan>& plans,
                                 const BatchOptions& options) {
  Encoder encoder{options};
  for (const Table& table : held.tables) {
    if (find_table(desired, table) == nullptr) {
      encoder.delete_table(table);
    }
  }
  for (const Table& table : desired.tables) {
    if (const auto named = check_names(table); !named) {
      return fail(named.error());
    }
    const auto plan =
        std::find_if(plans.begin(), plans.end(), [&](const TablePlan& one) { return one.family == table.family; });
    const Table* before = find_table(held, table);
    const TablePlan otherwise{table.family, before == nullptr ? TableAction::create : TableAction::keep, 0, true, {}};
    if (const auto replaced = encoder.replace(table, before, plan == plans.end() ? otherwise : *plan); !replaced) {
      return fail(replaced.error());
    }
  }
  return std::move(encoder).finish();
}

bool differ_only_in_elements(const Ruleset& left, const Ruleset& right) {
  return std::equal(left.tables.begin(), left.tables.end(), right.tables.begin(), right.tables.end(),
                    same_but_elements);
}

Result<Batch> encode_element_update(const Ruleset& desired, const Ruleset& held, const BatchOptions& options) {
  Encoder encoder{options};
  for (const Table& table : desired.tables) {
    const Table* before = find_table(held, table);
    if (before == nullptr) {
      return fail(fmt::format("nft: table '{}' is not there", table.name));
    }
    if (const auto updated = encoder.update_elements(table, *before); !updated) {
      return fail(updated.error());
    }
  }
  return std::move(encoder).finish();
}

Batch encode_removal(const Ruleset& held, const BatchOptions& options) {
  Encoder encoder{options};
  for (const Table& table : held.tables) {
    encoder.delete_table(table);
  }
  return std::move(encoder).finish();
}

ProbeBatch encode_probe(std::uint32_t sequence) {
  // Static: the words of the batch point into them.
  static const Table owner{model::TableFamily::inet, "killswitch_probe_owner", {}, {}, {}};
  static const Table persist{model::TableFamily::inet, "killswitch_probe_persist", {}, {}, {}};
  static const Table missing{model::TableFamily::inet, "killswitch_probe_missing", {}, {}, {}};
  static const Chain chain{"probe", std::nullopt, {}};
  static const model::Rule rule{
      {model::Match{{{model::Field::fib_daddr_iif_type}}, model::Match::Relation::equal, {}, 2U, {}}}, {}, {}, "fib"};
  Encoder encoder{{sequence, std::nullopt}};
  ProbeBatch probe;
  encoder.create_table(owner, table_flag_owner, true);
  probe.owner = encoder.last_sequence();
  encoder.create_table(persist, table_flag_owner | table_flag_persist, true);
  probe.owner_persist = encoder.last_sequence();
  // A plain table carries the fib rule, so that its fate does not hang on the flags.
  static const Table plain{model::TableFamily::inet, "killswitch_probe_fib", {}, {}, {}};
  encoder.create_table(plain, 0, true);
  encoder.create_chain(plain, chain);
  (void)encoder.add_rule(plain, chain, rule);  // a constant that can be expressed
  probe.fib = encoder.last_sequence();
  // Deleting what does not exist is what makes the kernel refuse the whole batch.
  encoder.delete_table(missing);
  probe.batch = std::move(encoder).finish();
  return probe;
}

Result<std::vector<std::uint8_t>> encode_expressions(const model::Rule& rule) {
  std::vector<std::uint8_t> bytes;
  NetlinkWriter writer{bytes};
  const Problem problem = write_expressions(writer, rule);
  if (!problem.empty()) {
    return fail(problem);
  }
  return bytes;
}

}  // namespace killswitch::codec
