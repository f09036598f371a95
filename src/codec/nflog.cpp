#include "killswitch/codec/nflog.hpp"

#include "killswitch/codec/netlink.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink_log.h>

#include <array>

namespace killswitch::codec {
namespace {

constexpr std::uint16_t config_type = NFNL_SUBSYS_ULOG << 8U | NFULNL_MSG_CONFIG;
constexpr std::uint16_t packet_type = NFNL_SUBSYS_ULOG << 8U | NFULNL_MSG_PACKET;

std::optional<std::uint32_t> number_behind(const Attributes& attributes, std::uint16_t type) {
  const auto value = read_struct<std::uint32_t>(attributes.bytes(type));
  return value ? std::optional{ntohl(*value)} : std::nullopt;
}

nlmsghdr* begin(std::span<std::uint8_t> room, std::uint16_t group, std::uint32_t sequence) {
  nlmsghdr* message = mnl_nlmsg_put_header(room.data());
  message->nlmsg_type = config_type;
  message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  message->nlmsg_seq = sequence;
  auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = AF_UNSPEC;
  header->version = NFNETLINK_V0;
  header->res_id = htons(group);
  return message;
}

}  // namespace

std::vector<std::uint8_t> encode_nflog_bind(std::uint16_t group, std::uint32_t bytes, std::uint32_t sequence) {
  alignas(nlmsghdr) std::array<std::uint8_t, 256> room{};
  std::vector<std::uint8_t> out;
  const auto append = [&](const nlmsghdr* message) {
    out.insert(out.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(message->nlmsg_len));
    out.resize(MNL_ALIGN(out.size()));
    room.fill(0);
  };
  nlmsghdr* message = begin(room, group, sequence);
  const nfulnl_msg_config_cmd bind{NFULNL_CFG_CMD_BIND};
  mnl_attr_put(message, NFULA_CFG_CMD, sizeof bind, &bind);
  append(message);
  message = begin(room, group, sequence + 1);
  const nfulnl_msg_config_mode mode{htonl(bytes), NFULNL_COPY_PACKET, 0};
  mnl_attr_put(message, NFULA_CFG_MODE, sizeof mode, &mode);
  mnl_attr_put_u32(message, NFULA_CFG_QTHRESH, htonl(1));  // else the kernel gathers a hundred, or a second
  append(message);
  return out;
}

std::vector<LoggedPacket> decode_nflog(std::span<const std::uint8_t> datagram) {
  std::vector<LoggedPacket> packets;
  const bool sound = for_each_message(datagram, [&](const nlmsghdr& message) {
    if (message.nlmsg_type != packet_type || mnl_nlmsg_get_payload_len(&message) < sizeof(nfgenmsg)) {
      return;
    }
    const Attributes attributes{attributes_of(message)};
    const Span header = attributes.bytes(NFULA_PACKET_HDR);
    constexpr std::size_t hook_at = 2;  // @source struct nfulnl_msg_packet_hdr
    if (!attributes.valid() || !attributes.has(NFULA_PAYLOAD) || header.size() <= hook_at) {
      return;
    }
    const auto index = [&](std::uint16_t type) {
      const auto value = number_behind(attributes, type);
      return value ? std::optional{model::IfIndex{*value}} : std::nullopt;
    };
    packets.push_back({.prefix = std::string{attributes.text(NFULA_PREFIX)},
                       .bytes = attributes.bytes(NFULA_PAYLOAD),
                       .hook = header[hook_at],
                       .mark = number_behind(attributes, NFULA_MARK).value_or(0),
                       .uid = number_behind(attributes, NFULA_UID),
                       .iif = index(NFULA_IFINDEX_INDEV),
                       .oif = index(NFULA_IFINDEX_OUTDEV)});
  });
  if (!sound) {
    packets.clear();
  }
  return packets;
}

}  // namespace killswitch::codec
