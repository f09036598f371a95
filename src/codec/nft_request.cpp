#include "killswitch/codec/nft_dump.hpp"
#include "killswitch/codec/nft_wire.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

namespace killswitch::codec {
namespace {

using model::TableFamily;

void put_request(std::vector<std::uint8_t>& out, std::uint16_t type, std::uint8_t family, std::uint32_t sequence,
                 std::uint16_t table_attribute, std::string_view set) {
  NetlinkWriter writer{out};
  writer.begin(static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8U) | type), family, NLM_F_DUMP, sequence);
  if (table_attribute != 0) {
    writer.put_text(table_attribute, model::table_name);
  }
  if (type == NFT_MSG_GETSETELEM) {
    writer.put_text(NFTA_SET_ELEM_LIST_SET, set);
  }
  if (type == NFT_MSG_GETOBJ) {
    writer.put_be32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  }
  writer.end();
}

}  // namespace

std::vector<std::uint8_t> encode_dump_request(DumpKind kind, TableFamily family, std::uint32_t sequence,
                                              std::string_view set) {
  const std::uint8_t number = family == TableFamily::inet ? NFPROTO_INET : NFPROTO_NETDEV;
  std::vector<std::uint8_t> out;
  switch (kind) {
    // Asked for by name these would not be a dump; the families hold few of them.
    case DumpKind::tables: put_request(out, NFT_MSG_GETTABLE, number, sequence, 0, {}); break;
    case DumpKind::chains: put_request(out, NFT_MSG_GETCHAIN, number, sequence, 0, {}); break;
    case DumpKind::sets: put_request(out, NFT_MSG_GETSET, number, sequence, NFTA_SET_TABLE, {}); break;
    case DumpKind::elements:
      put_request(out, NFT_MSG_GETSETELEM, number, sequence, NFTA_SET_ELEM_LIST_TABLE, set);
      break;
    case DumpKind::rules: put_request(out, NFT_MSG_GETRULE, number, sequence, NFTA_RULE_TABLE, {}); break;
    case DumpKind::counters: put_request(out, NFT_MSG_GETOBJ, number, sequence, NFTA_OBJ_TABLE, {}); break;
  }
  return out;
}

std::vector<std::uint8_t> encode_generation_request(std::uint32_t sequence) {
  std::vector<std::uint8_t> out;
  NetlinkWriter writer{out};
  writer.begin((NFNL_SUBSYS_NFTABLES << 8U) | NFT_MSG_GETGEN, AF_UNSPEC, 0, sequence);
  writer.end();
  return out;
}

}  // namespace killswitch::codec
