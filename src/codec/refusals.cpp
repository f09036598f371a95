#include "killswitch/codec/refusals.hpp"

#include "killswitch/codec/ip_packet.hpp"
#include "killswitch/codec/netlink.hpp"
#include "killswitch/codec/nflog.hpp"
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
constexpr std::uint16_t group = 0x6b74;      // those on both sides of it are the daemon's
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

/// @return nothing for what is no IP packet
std::optional<Packet> read_packet(const LoggedPacket& logged) {
  auto packet = parse_ip_packet(logged.bytes);
  if (!packet) {
    return packet;
  }
  packet->hook = logged.hook == NF_INET_FORWARD ? Hook::forward : Hook::output;
  packet->mark = logged.mark;
  packet->uid = logged.uid;
  packet->iif = logged.iif;
  packet->oif = logged.oif;
  return packet;
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
  return encode_nflog_bind(group, copied_bytes, sequence);
}

Result<RefusalNotes> decode_refusals(std::span<const std::uint8_t> datagram) {
  RefusalNotes notes;
  const bool whole = for_each_message(datagram, [&notes](const nlmsghdr& message) {
    const Span payload = payload_of(message);
    if (message.nlmsg_type == NLMSG_ERROR && payload.size() >= sizeof(int)) {
      int error = 0;
      std::memcpy(&error, payload.data(), sizeof error);
      notes.answers.push_back(error < 0 ? -error : error);
    }
  });
  if (!whole) {
    return fail("a message about refused packets is cut short");
  }
  for (const auto& logged : decode_nflog(datagram)) {
    if (auto packet = read_packet(logged)) {
      notes.packets.push_back(std::move(*packet));
    }
  }
  return notes;
}

}  // namespace killswitch::codec
