#include "killswitch/codec/nft_dump.hpp"
#include "nft_message.hpp"
#include "nft_objects.hpp"

#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <sys/socket.h>

namespace killswitch::codec {
namespace {

using model::TableFamily;

// Headers, two names of at most 256 bytes and a number.
constexpr std::size_t request_room = 1024;

/// `write(nlmsghdr*)` appends what the answer is to be limited to.
template <typename Write>
std::vector<std::uint8_t> request(std::uint16_t type, std::uint8_t family, std::uint16_t flags, std::uint32_t sequence,
                                  Write write) {
  std::vector<std::uint8_t> bytes(request_room);
  nlmsghdr* message = nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(bytes.data()), type, family, flags, sequence);
  write(message);
  bytes.resize(message->nlmsg_len);
  return bytes;
}

void write_set(nlmsghdr* message, const std::string& table) {
  const SetObject object{allocated(nftnl_set_alloc())};
  nftnl_set_set_str(object.get(), NFTNL_SET_TABLE, table.c_str());
  nftnl_set_nlmsg_build_payload(message, object.get());
}

void write_elements(nlmsghdr* message, const std::string& table, const std::string& set) {
  const SetObject object{allocated(nftnl_set_alloc())};
  nftnl_set_set_str(object.get(), NFTNL_SET_TABLE, table.c_str());
  nftnl_set_set_str(object.get(), NFTNL_SET_NAME, set.c_str());
  nftnl_set_elems_nlmsg_build_payload(message, object.get());
}

void write_rule(nlmsghdr* message, const std::string& table) {
  const RuleObject object{allocated(nftnl_rule_alloc())};
  nftnl_rule_set_str(object.get(), NFTNL_RULE_TABLE, table.c_str());
  nftnl_rule_nlmsg_build_payload(message, object.get());
}

void write_counter(nlmsghdr* message, const std::string& table) {
  const StatefulObject object{allocated(nftnl_obj_alloc())};
  nftnl_obj_set_str(object.get(), NFTNL_OBJ_TABLE, table.c_str());
  nftnl_obj_set_u32(object.get(), NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
  nftnl_obj_nlmsg_build_payload(message, object.get());
}

}  // namespace

std::vector<std::uint8_t> encode_dump_request(const DumpScope& scope, std::uint32_t sequence) {
  const auto dump = [&](std::uint16_t type, auto write) {
    return request(type, family_number(scope.family), NLM_F_DUMP, sequence, write);
  };
  const auto everything = [](nlmsghdr*) {};
  // A name that is longer than the kernel's longest names nothing.
  const std::string set = scope.set.substr(0, NFT_SET_MAXNAMELEN - 1);
  const std::string table = scope.table.substr(0, NFT_TABLE_MAXNAMELEN - 1);
  switch (scope.kind) {
    // Asked for by name tables and chains would not be a dump; the families hold few of them.
    case DumpKind::tables: return dump(NFT_MSG_GETTABLE, everything);
    case DumpKind::chains: return dump(NFT_MSG_GETCHAIN, everything);
    case DumpKind::sets: return dump(NFT_MSG_GETSET, [&](nlmsghdr* message) { write_set(message, table); });
    case DumpKind::elements:
      return dump(NFT_MSG_GETSETELEM, [&](nlmsghdr* message) { write_elements(message, table, set); });
    case DumpKind::rules: return dump(NFT_MSG_GETRULE, [&](nlmsghdr* message) { write_rule(message, table); });
    case DumpKind::counters: break;
  }
  return dump(NFT_MSG_GETOBJ, [&](nlmsghdr* message) { write_counter(message, table); });
}

std::vector<std::uint8_t> encode_generation_request(std::uint32_t sequence) {
  return request(NFT_MSG_GETGEN, AF_UNSPEC, 0, sequence, [](nlmsghdr*) {});
}

}  // namespace killswitch::codec
