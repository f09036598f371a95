#include "killswitch/codec/nft_dump.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/netlink.hpp"
#include "killswitch/codec/nft_rule_decode.hpp"
#include "nft_objects.hpp"
#include "nft_read.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Hook;
using model::TableFamily;

std::optional<TableFamily> family_of(std::uint8_t number) {
  switch (number) {
    case NFPROTO_INET: return TableFamily::inet;
    case NFPROTO_NETDEV: return TableFamily::netdev;
    default: return std::nullopt;
  }
}

std::optional<Hook> hook_of(TableFamily family, std::uint32_t number) {
  if (family == TableFamily::netdev) {
    return number == NF_NETDEV_EGRESS ? std::optional{Hook::egress} : std::nullopt;
  }
  switch (number) {
    case NF_INET_PRE_ROUTING: return Hook::prerouting;
    case NF_INET_LOCAL_IN: return Hook::input;
    case NF_INET_FORWARD: return Hook::forward;
    case NF_INET_LOCAL_OUT: return Hook::output;
    case NF_INET_POST_ROUTING: return Hook::postrouting;
    default: return std::nullopt;
  }
}

constexpr Known generation_attributes[] = {{NFTA_GEN_ID, Form::u32}};
constexpr Known table_attributes[] = {
    {NFTA_TABLE_NAME, Form::text}, {NFTA_TABLE_FLAGS, Form::u32}, {NFTA_TABLE_OWNER, Form::u32}};
// Devices by a prefix of their name (newer kernels) are left out: their absence is then the difference.
constexpr Known device_attributes[] = {{NFTA_DEVICE_NAME, Form::text}};
constexpr Known hook_attributes[] = {{NFTA_HOOK_HOOKNUM, Form::u32},
                                     {NFTA_HOOK_PRIORITY, Form::u32},
                                     {NFTA_HOOK_DEV, Form::text},
                                     {NFTA_HOOK_DEVS, Form::nest, device_attributes}};
constexpr Known chain_attributes[] = {{NFTA_CHAIN_TABLE, Form::text},
                                      {NFTA_CHAIN_NAME, Form::text},
                                      {NFTA_CHAIN_HOOK, Form::nest, hook_attributes},
                                      {NFTA_CHAIN_POLICY, Form::u32},
                                      {NFTA_CHAIN_TYPE, Form::text}};
constexpr Known counter_values[] = {{NFTA_COUNTER_BYTES, Form::u64}, {NFTA_COUNTER_PACKETS, Form::u64}};
constexpr Known counter_attributes[] = {{NFTA_OBJ_TABLE, Form::text},
                                        {NFTA_OBJ_NAME, Form::text},
                                        {NFTA_OBJ_TYPE, Form::u32},
                                        {NFTA_OBJ_DATA, Form::nest, counter_values}};

std::vector<std::string> devices_of(const nftnl_chain* chain) {
  std::vector<std::string> devices;
  const char* const* names = nftnl_chain_get_array(chain, NFTNL_CHAIN_DEVICES);
  for (; names != nullptr && *names != nullptr; ++names) {
    devices.emplace_back(*names);
  }
  if (devices.empty() && nftnl_chain_is_set(chain, NFTNL_CHAIN_DEV)) {
    devices.emplace_back(nftnl_chain_get_str(chain, NFTNL_CHAIN_DEV));
  }
  return devices;
}

/// One of each kind is counted: what the owned tables do, their twins never see.
bool is_shown(const model::Table& table) {
  return table.name == model::table_name;
}

std::optional<int> errno_of(Span payload) {
  std::int32_t value = 0;
  if (payload.size() < sizeof value) {
    return std::nullopt;
  }
  std::copy_n(payload.data(), sizeof value, reinterpret_cast<std::uint8_t*>(&value));
  // Errors are small negative numbers; anything else is no error of the kernel.
  return value <= 0 && value > -4096 ? std::optional{-value} : std::nullopt;
}

}  // namespace

Result<DumpProgress> DumpDecoder::feed(Span datagram, std::uint32_t sequence) {
  DumpProgress progress;
  const bool sound = for_each_message(datagram, [&](const nlmsghdr& header) {
    if (header.nlmsg_seq != sequence) {
      return;
    }
    progress.interrupted = progress.interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
      const auto error = errno_of(payload_of(header));
      progress.done = true;
      progress.errno_value = error.value_or(header.nlmsg_type == NLMSG_ERROR ? EPROTO : 0);
      return;
    }
    if (header.nlmsg_type >> 8U == NFNL_SUBSYS_NFTABLES && payload_of(header).size() >= sizeof(nfgenmsg)) {
      message(header);
    }
  });
  if (!sound) {
    return fail("nf_tables: a message that is longer than its datagram");
  }
  return progress;
}

void DumpDecoder::message(const nlmsghdr& message) {
  const std::uint16_t type = message.nlmsg_type & 0xffU;
  if (type == NFT_MSG_NEWGEN) {
    generation_message(message);
    return;
  }
  // nfgen_family is the first byte. Attribute 1 is the name of the table in messages of every kind; other programs'
  // tables are looked at no further.
  const auto family = family_of(payload_of(message).front());
  const std::string_view name = Attributes{attributes_of(message)}.text(NFTA_TABLE_NAME);
  if (!family || (name != model::table_name && name != model::twin_table_name)) {
    return;
  }
  if (type == NFT_MSG_NEWTABLE) {
    table_message(message, {*family, std::string{name}});
    return;
  }
  const auto& tables = observation_.ruleset.tables;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    if (!is(tables[i], *family, name)) {
      continue;
    }
    switch (type) {
      case NFT_MSG_NEWCHAIN: chain_message(message, i); break;
      case NFT_MSG_NEWSET: set_message(message, i); break;
      case NFT_MSG_NEWSETELEM: elements_message(message, i); break;
      case NFT_MSG_NEWRULE: rule_message(message, i); break;
      case NFT_MSG_NEWOBJ: counter_message(message, i); break;
      default: break;
    }
  }
}

void DumpDecoder::generation_message(const nlmsghdr& message) {
  const GenerationObject object{allocated(nftnl_gen_alloc())};
  const bool sound = read(message, generation_attributes, object, nftnl_gen_nlmsg_parse);
  generation_ = sound ? nftnl_gen_get_u32(object.get(), NFTNL_GEN_ID) : 0;
}

void DumpDecoder::table_message(const nlmsghdr& message, HeldTable table) {
  const TableObject object{allocated(nftnl_table_alloc())};
  if (!read(message, table_attributes, object, nftnl_table_nlmsg_parse)) {
    observation_.differences.emplace_back("a table that breaks the format");
    return;
  }
  for (const HeldTable& one : held_) {
    if (one.family == table.family && one.name == table.name) {
      return;
    }
  }
  table.flags = nftnl_table_get_u32(object.get(), NFTNL_TABLE_FLAGS);
  table.owner = nftnl_table_get_u32(object.get(), NFTNL_TABLE_OWNER);
  observation_.ruleset.tables.push_back({table.family, table.name, {}, {}, {}});
  held_.push_back(std::move(table));
  if ((held_.back().flags & table_flag_dormant) != 0) {
    observation_.differences.emplace_back("the table is dormant: it filters nothing");
  }
}

void DumpDecoder::chain_message(const nlmsghdr& message, std::size_t table) {
  const ChainObject object{allocated(nftnl_chain_alloc())};
  if (!read(message, chain_attributes, object, nftnl_chain_nlmsg_parse)) {
    observation_.differences.emplace_back("a chain that breaks the format");
    return;
  }
  model::Chain chain;
  chain.name = text_or_empty(nftnl_chain_get_str(object.get(), NFTNL_CHAIN_NAME));
  if (nftnl_chain_is_set(object.get(), NFTNL_CHAIN_HOOKNUM)) {
    const auto known =
        hook_of(observation_.ruleset.tables[table].family, nftnl_chain_get_u32(object.get(), NFTNL_CHAIN_HOOKNUM));
    const std::string type = text_or_empty(nftnl_chain_get_str(object.get(), NFTNL_CHAIN_TYPE));
    const bool translates = type == "nat";
    if (!known || !(translates || type == "filter")) {
      observation_.differences.push_back(
          fmt::format("chain {} is of a kind that this program never makes", printable(chain.name, 64)));
    }
    if (!nftnl_chain_is_set(object.get(), NFTNL_CHAIN_POLICY) ||
        nftnl_chain_get_u32(object.get(), NFTNL_CHAIN_POLICY) != NF_DROP) {
      observation_.differences.push_back(fmt::format("chain {}: its policy is not drop", printable(chain.name, 64)));
    }
    chain.base =
        model::BaseChain{known.value_or(Hook::egress), nftnl_chain_get_s32(object.get(), NFTNL_CHAIN_PRIO),
                         devices_of(object.get()), translates ? model::ChainType::nat : model::ChainType::filter};
  }
  observation_.ruleset.tables[table].chains.push_back(std::move(chain));
}

void DumpDecoder::rule_message(const nlmsghdr& message, std::size_t table) {
  DecodedRule decoded = decode_rule(message);
  auto& chains = observation_.ruleset.tables[table].chains;
  const auto chain =
      std::find_if(chains.begin(), chains.end(), [&](const auto& one) { return one.name == decoded.chain; });
  if (chain == chains.end()) {
    return;
  }
  if (!decoded.foreign.empty()) {
    observation_.differences.push_back(
        fmt::format("chain {}, rule {}: {}", printable(chain->name, 64), chain->rules.size() + 1, decoded.foreign));
  }
  chain->rules.push_back(std::move(decoded.rule));
}

void DumpDecoder::counter_message(const nlmsghdr& message, std::size_t table) {
  const StatefulObject object{allocated(nftnl_obj_alloc())};
  // Objects of other kinds have other data, which the sieve does not know; libnftnl would read it all the same.
  const Span type = Attributes{attributes_of(message)}.bytes(NFTA_OBJ_TYPE);
  constexpr std::array<std::uint8_t, 4> counter{0, 0, 0, NFT_OBJECT_COUNTER};
  if (!std::equal(type.begin(), type.end(), counter.begin(), counter.end()) ||
      !read(message, counter_attributes, object, nftnl_obj_nlmsg_parse)) {
    return;
  }
  const std::string name = text_or_empty(nftnl_obj_get_str(object.get(), NFTNL_OBJ_NAME));
  observation_.ruleset.tables[table].counters.push_back(name);
  if (!is_shown(observation_.ruleset.tables[table])) {
    return;
  }
  model::CounterValue& value = observation_.counters[name];
  value.packets += nftnl_obj_get_u64(object.get(), NFTNL_OBJ_CTR_PKTS);
  value.bytes += nftnl_obj_get_u64(object.get(), NFTNL_OBJ_CTR_BYTES);
}

/// How safe the tables are that are held worst.
model::Ownership DumpDecoder::ownership() const {
  using model::Ownership;
  const auto held = [this](TableFamily family, std::string_view name) {
    return std::find_if(held_.begin(), held_.end(),
                        [&](const HeldTable& one) { return one.family == family && one.name == name; });
  };
  if (held_.empty()) {
    return Ownership::none;
  }
  Ownership weakest = Ownership::owner_persist;
  for (const HeldTable& one : held_) {
    const auto own = held(one.family, model::table_name);
    if (own == held_.end() || (own->flags & table_flag_owner) == 0) {
      return Ownership::plain;
    }
    const bool doubled = held(one.family, model::twin_table_name) != held_.end();
    const bool persistent = (own->flags & table_flag_persist) != 0;
    weakest =
        std::min(weakest, persistent ? Ownership::owner_persist : (doubled ? Ownership::owner_twin : Ownership::owner));
  }
  return weakest;
}

model::Observation DumpDecoder::finish() {
  for (RawSet& set : sets_) {
    finish_set(set);
  }
  observation_.present = !held_.empty();
  observation_.ownership = ownership();
  return std::move(observation_);
}

std::vector<KernelReply> decode_replies(Span datagram) {
  std::vector<KernelReply> replies;
  (void)for_each_message(datagram, [&](const nlmsghdr& header) {
    if (header.nlmsg_type == NLMSG_ERROR) {
      replies.push_back({header.nlmsg_seq, errno_of(payload_of(header)).value_or(EPROTO)});
    }
  });
  return replies;
}

}  // namespace killswitch::codec
