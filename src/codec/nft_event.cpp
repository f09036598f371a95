#include "killswitch/codec/nft_event.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/netlink.hpp"
#include "killswitch/model/ruleset.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>

namespace killswitch::codec {
namespace {

/// Attribute 1 is the name of the table in messages of every kind; 2 that of the thing in it in most of them: the chain
/// of a rule, the set of an element.
constexpr std::size_t table_attribute = 1;
constexpr std::size_t name_attribute = 2;
constexpr std::size_t chain_name_attribute = NFTA_CHAIN_NAME;
constexpr std::size_t longest_name = 32;  // of a name in a line for people

struct Wording {
  std::uint16_t type;
  int weight;         ///< what weighs more is worse
  const char* words;  ///< "{}" is the name of the chain or set
};

// Chains of a table are deleted with it, rules with their chain.
constexpr Wording wordings[] = {
    {NFT_MSG_DELTABLE, 9, "table deleted"},
    {NFT_MSG_NEWTABLE, 8, "table made or its flags changed"},
    {NFT_MSG_DELCHAIN, 7, "chain {} deleted, or devices taken from it"},
    {NFT_MSG_NEWCHAIN, 6, "chain {} made or changed"},
    {NFT_MSG_NEWRULE, 5, "rule put into chain {}"},
    {NFT_MSG_DELRULE, 4, "rule taken from chain {}"},
    {NFT_MSG_NEWSETELEM, 3, "elements put into set {}"},
    {NFT_MSG_DELSETELEM, 3, "elements taken from set {}"},
    {NFT_MSG_NEWSET, 2, "set {} made or changed"},
    {NFT_MSG_DELSET, 2, "set {} deleted"},
};
constexpr Wording anything_else{0, 1, "something in it changed"};

const Wording& wording_of(std::uint16_t type) {
  for (const Wording& wording : wordings) {
    if (wording.type == type) {
      return wording;
    }
  }
  return anything_else;
}

const char* family_name(std::uint8_t family) {
  switch (family) {
    case NFPROTO_INET: return "inet";
    case NFPROTO_NETDEV: return "netdev";
    default: return nullptr;  // we have no tables there
  }
}

std::uint32_t number_of(Span bytes) {
  std::uint32_t value = 0;
  for (const std::uint8_t byte : bytes.size() == sizeof value ? bytes : Span{}) {
    value = value << 8U | byte;
  }
  return value;
}

}  // namespace

Result<std::vector<model::Touch>> NftEventDecoder::feed(Span datagram) {
  std::vector<model::Touch> touches;
  const bool sound = for_each_message(datagram, [&](const nlmsghdr& message) {
    if (message.nlmsg_pid == own_port_ || message.nlmsg_type >> 8U != NFNL_SUBSYS_NFTABLES ||
        payload_of(message).size() < sizeof(nfgenmsg)) {
      return;
    }
    if ((message.nlmsg_type & 0xffU) != NFT_MSG_NEWGEN) {
      change(message);
    } else if (auto touch = finish(message)) {
      touches.push_back(std::move(*touch));
    }
  });
  if (!sound) {
    forget();
    return fail("nf_tables: a notification that is longer than its datagram");
  }
  return touches;
}

void NftEventDecoder::change(const nlmsghdr& message) {
  const std::uint8_t family_number = payload_of(message).front();
  const char* family = family_name(family_number);
  if (family == nullptr) {
    return;
  }
  const Attributes attributes{attributes_of(message)};
  const auto table = attributes.text(table_attribute);
  if (table != model::table_name && table != model::twin_table_name) {
    return;
  }
  const Wording& wording = wording_of(message.nlmsg_type & 0xffU);
  if (begun_ && begun_->weight >= wording.weight) {
    return;
  }
  const bool is_chain = wording.type == NFT_MSG_NEWCHAIN || wording.type == NFT_MSG_DELCHAIN;
  const auto name = printable(attributes.text(is_chain ? chain_name_attribute : name_attribute), longest_name);
  begun_ = Begun{{{}, 0, fmt::format("{} {}: {}", family, table, fmt::format(fmt::runtime(wording.words), name))},
                 wording.weight};
}

std::optional<model::Touch> NftEventDecoder::finish(const nlmsghdr& message) {
  if (!begun_) {
    return std::nullopt;
  }
  const Attributes attributes{attributes_of(message)};
  model::Touch touch = std::move(begun_->touch);
  begun_.reset();
  touch.program = printable(attributes.text(NFTA_GEN_PROC_NAME), longest_name);
  touch.pid = number_of(attributes.bytes(NFTA_GEN_PROC_PID));
  return touch;
}

}  // namespace killswitch::codec
