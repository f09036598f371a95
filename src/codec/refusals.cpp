#include "killswitch/codec/refusals.hpp"

#include "killswitch/codec/netlink.hpp"
#include "killswitch/codec/nft_rule.hpp"
#include "nft_message.hpp"
#include "nft_objects.hpp"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <algorithm>
#include <cstring>

namespace killswitch::codec {
namespace {

using namespace model;

constexpr const char* table_of_copies = "killswitch_blocked";
constexpr std::uint16_t group = 0x6b74;      // the one before it is the daemon's, for names of the server
constexpr std::uint32_t copied_bytes = 160;  // headers, and what a quoted packet begins with
constexpr std::uint32_t nft_table_owner = 0x2;
constexpr std::int32_t in_front_of_the_filter = -50;  // behind destination NAT (-100): where the packet really goes

Match equal(Field field, std::uint32_t number) {
  Match match;
  match.operands = {Operand{field, PayloadBase::transport, 0, 0}};
  match.value = number;
  return match;
}

class Writer {
public:
  explicit Writer(std::uint32_t sequence) : buffer_(message_room), sequence_{sequence} {
    take(nftnl_batch_begin(reinterpret_cast<char*>(buffer_.data()), sequence_++));
  }

  std::vector<std::uint8_t> finish() && {
    reinterpret_cast<nlmsghdr*>(bytes_.data() + last_)->nlmsg_flags |= NLM_F_ACK;
    take(nftnl_batch_end(reinterpret_cast<char*>(buffer_.data()), sequence_++));
    return std::move(bytes_);
  }

  void table() {
    const TableObject object{allocated(nftnl_table_alloc())};
    nftnl_table_set_str(object.get(), NFTNL_TABLE_NAME, table_of_copies);
    nftnl_table_set_u32(object.get(), NFTNL_TABLE_FLAGS, nft_table_owner);
    put(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL,
        [&](nlmsghdr* message) { nftnl_table_nlmsg_build_payload(message, object.get()); });
  }

  /// A base chain that lets everything pass.
  void chain(const char* name, std::uint32_t hook) {
    const ChainObject object{allocated(nftnl_chain_alloc())};
    nftnl_chain_set_str(object.get(), NFTNL_CHAIN_TABLE, table_of_copies);
    nftnl_chain_set_str(object.get(), NFTNL_CHAIN_NAME, name);
    nftnl_chain_set_str(object.get(), NFTNL_CHAIN_TYPE, "filter");
    nftnl_chain_set_u32(object.get(), NFTNL_CHAIN_HOOKNUM, hook);
    nftnl_chain_set_s32(object.get(), NFTNL_CHAIN_PRIO, in_front_of_the_filter);
    nftnl_chain_set_u32(object.get(), NFTNL_CHAIN_POLICY, NF_ACCEPT);
    put(NFT_MSG_NEWCHAIN, NLM_F_CREATE,
        [&](nlmsghdr* message) { nftnl_chain_nlmsg_build_payload(message, object.get()); });
  }

  void pass_over(const char* chain, std::vector<Match> matches) {
    Verdict accept;
    accept.kind = Verdict::Kind::accept;
    rule(chain, {std::move(matches), {}, accept, {}}, false);
  }

  void copy(const char* chain, std::vector<Match> matches) { rule(chain, {std::move(matches), {}, {}, {}}, true); }

private:
  void rule(const char* chain, const Rule& rule, bool copies) {
    const RuleObject object{allocated(nftnl_rule_alloc())};
    nftnl_rule_set_str(object.get(), NFTNL_RULE_TABLE, table_of_copies);
    nftnl_rule_set_str(object.get(), NFTNL_RULE_CHAIN, chain);
    [[maybe_unused]] const Problem none = add_expressions(*object, rule);  // fields and numbers that all kernels know
    if (copies) {
      add_limit(object.get());
      add_log(object.get());
    }
    put(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
        [&](nlmsghdr* message) { nftnl_rule_nlmsg_build_payload(message, object.get()); });
  }

  static void add_limit(nftnl_rule* rule) {
    nftnl_expr* limit = allocated(nftnl_expr_alloc("limit"));
    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_RATE, most_refusals_a_second);
    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_UNIT, 1);  // seconds
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_BURST, most_refusals_a_second);
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
    nftnl_rule_add_expr(rule, limit);
  }

  static void add_log(nftnl_rule* rule) {
    nftnl_expr* log = allocated(nftnl_expr_alloc("log"));
    nftnl_expr_set_u16(log, NFTNL_EXPR_LOG_GROUP, group);
    nftnl_expr_set_u32(log, NFTNL_EXPR_LOG_SNAPLEN, copied_bytes);
    nftnl_expr_set_u16(log, NFTNL_EXPR_LOG_QTHRESHOLD, 1);  // each at once
    nftnl_rule_add_expr(rule, log);
  }

  template <typename Write>
  void put(std::uint16_t type, std::uint16_t flags, Write write) {
    nlmsghdr* message =
        nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(buffer_.data()), type, NFPROTO_INET, flags, sequence_++);
    write(message);
    take(message);
  }

  void take(const nlmsghdr* message) {
    last_ = bytes_.size();
    const auto length = static_cast<std::ptrdiff_t>(message->nlmsg_len);
    bytes_.insert(bytes_.end(), buffer_.begin(), buffer_.begin() + length);
    std::fill_n(buffer_.begin(), length, std::uint8_t{0});
  }

  std::vector<std::uint8_t> buffer_;
  std::vector<std::uint8_t> bytes_;
  std::size_t last_{0};
  std::uint32_t sequence_;
};

// --- packets --------------------------------------------------------------------------------------------------------

std::uint16_t two_bytes(Span bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

std::uint32_t four_bytes(Span bytes) {
  return bytes.size() < 4 ? 0U : std::uint32_t{two_bytes(bytes, 0)} << 16U | two_bytes(bytes, 2);
}

/// Ports or the type of ICMP, where there is a transport header.
void read_transport(Packet& packet, Span bytes) {
  constexpr std::uint8_t icmp = 1, tcp = 6, udp = 17, icmpv6 = 58, sctp = 132;
  packet.transport.assign(bytes.begin(), bytes.end());
  if (packet.fragment_offset != 0) {
    return;
  }
  const bool ports = packet.protocol == tcp || packet.protocol == udp || packet.protocol == sctp;
  if (ports && bytes.size() >= 4) {
    packet.source_port = Port{two_bytes(bytes, 0)};
    packet.destination_port = Port{two_bytes(bytes, 2)};
  } else if ((packet.protocol == icmp || packet.protocol == icmpv6) && !bytes.empty()) {
    packet.icmp_type = bytes[0];
  }
}

bool read_ipv4(Packet& packet, Span bytes) {
  const std::size_t header = bytes.size() < 20 ? 0 : (bytes[0] & 0x0fU) * std::size_t{4};
  if (header < 20 || header > bytes.size()) {
    return false;
  }
  packet.protocol = bytes[9];
  packet.hop_limit = bytes[8];
  packet.fragment_offset = static_cast<std::uint16_t>((two_bytes(bytes, 6) & 0x1fffU) * 8);
  packet.more_fragments = (bytes[6] & 0x20U) != 0;
  packet.source = make_ip_address(Family::ipv4, bytes.subspan(12, 4));
  packet.destination = make_ip_address(Family::ipv4, bytes.subspan(16, 4));
  read_transport(packet, bytes.subspan(header));
  return true;
}

bool read_ipv6(Packet& packet, Span bytes) {
  constexpr std::uint8_t hop_by_hop = 0, routing = 43, fragment = 44, destination = 60;
  if (bytes.size() < 40) {
    return false;
  }
  packet.protocol = bytes[6];
  packet.hop_limit = bytes[7];
  packet.source = make_ip_address(Family::ipv6, bytes.subspan(8, 16));
  packet.destination = make_ip_address(Family::ipv6, bytes.subspan(24, 16));
  std::size_t at = 40;
  const auto is_extension = [](std::uint8_t number) {
    return number == hop_by_hop || number == routing || number == fragment || number == destination;
  };
  while (is_extension(packet.protocol) && at + 8 <= bytes.size() && packet.fragment_offset == 0) {
    const bool is_fragment = packet.protocol == fragment;
    if (is_fragment) {
      packet.fragment_offset = static_cast<std::uint16_t>(two_bytes(bytes, at + 2) & 0xfff8U);
      packet.more_fragments = (bytes[at + 3] & 1U) != 0;
    }
    packet.protocol = bytes[at];
    at += is_fragment ? 8 : (bytes[at + 1] + std::size_t{1}) * 8;
  }
  read_transport(packet, at < bytes.size() ? bytes.subspan(at) : Span{});
  return true;
}

std::optional<Packet> read_packet(Span attributes) {
  Packet packet;
  Span header;
  Span payload;
  const bool whole = for_each_attribute(attributes, [&](const nlattr& attribute) {
    const Span value = payload_of(attribute);
    switch (mnl_attr_get_type(&attribute)) {
      case NFULA_PACKET_HDR: header = value; break;
      case NFULA_PAYLOAD: payload = value; break;
      case NFULA_MARK: packet.mark = four_bytes(value); break;
      case NFULA_UID: packet.uid = four_bytes(value); break;
      case NFULA_IFINDEX_INDEV: packet.iif = IfIndex{four_bytes(value)}; break;
      case NFULA_IFINDEX_OUTDEV: packet.oif = IfIndex{four_bytes(value)}; break;
      default: break;
    }
  });
  if (!whole || header.size() < 3 || payload.empty()) {
    return std::nullopt;
  }
  packet.hook = header[2] == NF_INET_FORWARD ? Hook::forward : Hook::output;
  packet.network.assign(payload.begin(), payload.end());
  const bool read = payload[0] >> 4U == 4   ? read_ipv4(packet, payload)
                    : payload[0] >> 4U == 6 ? read_ipv6(packet, payload)
                                            : false;
  return read ? std::optional{std::move(packet)} : std::nullopt;
}

}  // namespace

std::vector<std::uint8_t> encode_refusal_table(const RefusalWatch& watch, std::uint32_t sequence) {
  constexpr std::uint32_t dns = 53, dns_over_tls = 853;
  Writer writer{sequence};
  writer.table();
  writer.chain("output", NF_INET_LOCAL_OUT);
  writer.chain("forward", NF_INET_FORWARD);
  writer.pass_over("output", {equal(Field::oif, loopback_ifindex.number)});
  writer.pass_over("output", {equal(Field::mark, watch.mark)});
  for (const char* chain : {"output", "forward"}) {
    if (watch.tunnel) {
      for (const auto port : {dns, dns_over_tls}) {
        writer.copy(chain, {equal(Field::oif, watch.tunnel->number), equal(Field::th_dport, port)});
      }
      writer.pass_over(chain, {equal(Field::oif, watch.tunnel->number)});
    }
    writer.copy(chain, {});
  }
  return std::move(writer).finish();
}

std::vector<std::uint8_t> encode_refusal_subscription(std::uint32_t sequence) {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> buffer(256);
  const auto configure = [&](std::uint16_t attribute, const void* value, std::size_t size) {
    std::fill(buffer.begin(), buffer.end(), std::uint8_t{0});
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
    message->nlmsg_type = NFNL_SUBSYS_ULOG << 8U | NFULNL_MSG_CONFIG;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    message->nlmsg_seq = sequence++;
    auto* extra = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
    extra->nfgen_family = AF_UNSPEC;
    extra->version = NFNETLINK_V0;
    extra->res_id = htons(group);
    mnl_attr_put(message, attribute, size, value);
    bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(message->nlmsg_len));
  };
  nfulnl_msg_config_cmd bind{};
  bind.command = NFULNL_CFG_CMD_BIND;
  configure(NFULA_CFG_CMD, &bind, sizeof bind);
  nfulnl_msg_config_mode mode{};
  mode.copy_mode = NFULNL_COPY_PACKET;
  mode.copy_range = htonl(copied_bytes);
  configure(NFULA_CFG_MODE, &mode, sizeof mode);
  return bytes;
}

Result<RefusalNotes> decode_refusals(std::span<const std::uint8_t> datagram) {
  RefusalNotes notes;
  const bool whole = for_each_message(datagram, [&notes](const nlmsghdr& message) {
    const Span payload = payload_of(message);
    if (message.nlmsg_type == NLMSG_ERROR && payload.size() >= sizeof(int)) {
      int error = 0;
      std::memcpy(&error, payload.data(), sizeof error);
      notes.answers.push_back(error < 0 ? -error : error);
    } else if (message.nlmsg_type == (NFNL_SUBSYS_ULOG << 8U | NFULNL_MSG_PACKET) &&
               payload.size() >= sizeof(nfgenmsg)) {
      if (auto packet = read_packet(attributes_of(message))) {
        notes.packets.push_back(std::move(*packet));
      }
    }
  });
  if (!whole) {
    return fail("a message about refused packets is cut short");
  }
  return notes;
}

}  // namespace killswitch::codec
