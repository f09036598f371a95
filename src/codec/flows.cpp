#include "killswitch/codec/flows.hpp"

#include "killswitch/codec/netlink.hpp"

#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <algorithm>
#include <cstring>
#include <optional>

namespace killswitch::codec {
namespace {

using model::Family;
using model::IpAddress;

constexpr std::uint16_t tracking_new = (NFNL_SUBSYS_CTNETLINK << 8U) | IPCTNL_MSG_CT_NEW;
constexpr std::uint16_t tracking_get = (NFNL_SUBSYS_CTNETLINK << 8U) | IPCTNL_MSG_CT_GET;
constexpr std::uint16_t tracking_delete = (NFNL_SUBSYS_CTNETLINK << 8U) | IPCTNL_MSG_CT_DELETE;

constexpr std::uint32_t bit(unsigned state) {
  return std::uint32_t{1} << state;
}
// All states in which a socket has a peer that it would still talk to. The kernel lists a UDP socket with a peer as
// established, one without as closed. TCP_NEW_SYN_RECV is listed as TCP_SYN_RECV. @source net/tcp_states.h
constexpr std::uint32_t states_with_peer = bit(TCP_ESTABLISHED) | bit(TCP_SYN_SENT) | bit(TCP_SYN_RECV) |
                                           bit(TCP_FIN_WAIT1) | bit(TCP_FIN_WAIT2) | bit(TCP_CLOSE_WAIT) |
                                           bit(TCP_LAST_ACK) | bit(TCP_CLOSING);

/// An IPv6 address, or the IPv4 address that it stands for (RFC 4291, 2.5.5.2).
IpAddress unmapped(Span octets) {
  constexpr std::array<std::uint8_t, 12> prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(prefix.begin(), prefix.end(), octets.begin()) ? make_ip_address(Family::ipv4, octets.subspan(12))
                                                                  : make_ip_address(Family::ipv6, octets);
}

/// @param attributes each with its padding
template <typename Body>
std::vector<std::uint8_t> message(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence, const Body& body,
                                  Span attributes = {}) {
  std::vector<std::uint8_t> bytes(MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof body));
  nlmsghdr* header = mnl_nlmsg_put_header(bytes.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
  header->nlmsg_seq = sequence;
  std::memcpy(mnl_nlmsg_put_extra_header(header, sizeof body), &body, sizeof body);
  header->nlmsg_len += static_cast<std::uint32_t>(attributes.size());
  bytes.insert(bytes.end(), attributes.begin(), attributes.end());
  return bytes;
}

/// One attribute with its padding, behind `bytes`.
void append(std::vector<std::uint8_t>& bytes, const nlattr& attribute) {
  const auto* start = reinterpret_cast<const std::uint8_t*>(&attribute);
  bytes.insert(bytes.end(), start, start + attribute.nla_len);
  bytes.resize(MNL_ALIGN(bytes.size()));
}

Result<HeldFlow> decode_socket(Span payload) {
  const auto body = read_struct<inet_diag_msg>(payload);
  if (!body || (body->idiag_family != AF_INET && body->idiag_family != AF_INET6)) {
    return fail("sock_diag: a socket that cannot be read");
  }
  const inet_diag_sockid& id = body->id;
  const auto address = [&](const __be32(&words)[4]) {
    const Span octets{reinterpret_cast<const std::uint8_t*>(words), sizeof words};
    return body->idiag_family == AF_INET ? make_ip_address(Family::ipv4, octets.first(4)) : unmapped(octets);
  };
  HeldFlow held;
  held.family = body->idiag_family;
  held.flow = {0, address(id.idiag_src), {ntohs(id.idiag_sport)}, address(id.idiag_dst), {ntohs(id.idiag_dport)}};
  held.inode = body->idiag_inode;
  held.name.resize(sizeof id);
  std::memcpy(held.name.data(), &id, sizeof id);
  return held;
}

std::optional<IpAddress> tuple_address(const Attributes& ip, std::size_t type4, std::size_t type6) {
  if (ip.bytes(type4).size() == 4) {
    return make_ip_address(Family::ipv4, ip.bytes(type4));
  }
  if (ip.bytes(type6).size() == 16) {
    return make_ip_address(Family::ipv6, ip.bytes(type6));
  }
  return std::nullopt;
}

model::Port tuple_port(const Attributes& proto, std::size_t type) {
  const auto port = read_struct<std::uint16_t>(proto.bytes(type));
  return {port ? ntohs(*port) : std::uint16_t{0}};
}

Result<HeldFlow> decode_entry(Span payload) {
  const auto header = read_struct<nfgenmsg>(payload);
  const Attributes attributes{after(payload, sizeof(nfgenmsg))};
  const auto tuple = attributes.nest(CTA_TUPLE_ORIG);
  const auto ip = tuple.nest(CTA_TUPLE_IP);
  const auto proto = tuple.nest(CTA_TUPLE_PROTO);
  const auto source = tuple_address(ip, CTA_IP_V4_SRC, CTA_IP_V6_SRC);
  const auto destination = tuple_address(ip, CTA_IP_V4_DST, CTA_IP_V6_DST);
  const auto number = read_struct<std::uint8_t>(proto.bytes(CTA_PROTO_NUM));
  if (!header || !attributes.valid() || !source || !destination || !number) {
    return fail("ctnetlink: an entry that cannot be read");
  }
  HeldFlow held;
  held.family = header->nfgen_family;
  held.flow = {*number, *source, tuple_port(proto, CTA_PROTO_SRC_PORT), *destination,
               tuple_port(proto, CTA_PROTO_DST_PORT)};
  for (const std::uint16_t type : {CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE}) {
    if (const nlattr* attribute = attributes.find(type); attribute != nullptr) {
      append(held.name, *attribute);
    }
  }
  return held;
}

/// One message that belongs to the request.
Outcome take(FlowAnswer& answer, const nlmsghdr& header, Span payload) {
  if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
    const auto code = read_struct<std::int32_t>(payload);  // the end of a listing carries one only when it broke off
    if (header.nlmsg_type == NLMSG_ERROR && !code) {
      return fail("netlink: an answer that is cut short");
    }
    answer.finished = true;
    answer.errno_value = code && *code < 0 ? -*code : 0;
    return done();
  }
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY && header.nlmsg_type != tracking_new) {
    return done();
  }
  auto held = header.nlmsg_type == tracking_new ? decode_entry(payload) : decode_socket(payload);
  if (!held) {
    return fail(held.error());
  }
  answer.flows.push_back(std::move(*held));
  return done();
}

}  // namespace

bool must_be_cut(const Flow& flow, std::span<const model::Endpoint> spared) {
  const bool with_itself =
      (is_loopback(flow.source) && is_loopback(flow.destination)) || flow.source == flow.destination;
  const auto carries = [&](const model::Endpoint& endpoint) {
    const std::uint8_t protocol = endpoint.protocol == model::Protocol::udp ? IPPROTO_UDP : IPPROTO_TCP;
    return flow.protocol == protocol && flow.destination == endpoint.address && flow.destination_port == endpoint.port;
  };
  return !with_itself && std::none_of(spared.begin(), spared.end(), carries);
}

std::vector<std::uint8_t> encode_socket_listing(std::uint8_t family, std::uint8_t protocol, std::uint32_t sequence) {
  inet_diag_req_v2 request{};
  request.sdiag_family = family;
  request.sdiag_protocol = protocol;
  request.idiag_states = states_with_peer;
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, request);
}

std::vector<std::uint8_t> encode_socket_query(const model::Packet& sent, std::uint32_t sequence) {
  inet_diag_req_v2 request{};
  request.sdiag_family = sent.source.family == Family::ipv4 ? AF_INET : AF_INET6;
  request.sdiag_protocol = sent.protocol;
  request.idiag_states = UINT32_MAX;
  auto& id = request.id;
  // For UDP the kernel takes the two ends for those of a packet that arrives. @source udp_dump_one(),
  // net/ipv4/udp_diag.c
  const bool arriving = sent.protocol == IPPROTO_UDP;
  const auto put = [](auto& address, std::uint16_t& port, const IpAddress& from,
                      const std::optional<model::Port>& number) {
    std::memcpy(&address, from.octets().data(), from.size());
    port = htons(number.value_or(model::Port{}).number);
  };
  put(id.idiag_src, id.idiag_sport, arriving ? sent.destination : sent.source,
      arriving ? sent.destination_port : sent.source_port);
  put(id.idiag_dst, id.idiag_dport, arriving ? sent.source : sent.destination,
      arriving ? sent.source_port : sent.destination_port);
  id.idiag_if = sent.oif.value_or(model::IfIndex{}).number;
  id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return message(SOCK_DIAG_BY_FAMILY, 0, sequence, request);
}

std::vector<std::uint8_t> encode_socket_destroy(const HeldFlow& held, std::uint32_t sequence) {
  inet_diag_req_v2 request{};
  request.sdiag_family = held.family;
  request.sdiag_protocol = held.flow.protocol;
  std::memcpy(&request.id, held.name.data(), std::min(held.name.size(), sizeof request.id));
  return message(SOCK_DESTROY, NLM_F_ACK, sequence, request);
}

std::vector<std::uint8_t> encode_tracking_listing(std::uint32_t sequence) {
  return message(tracking_get, NLM_F_DUMP, sequence, nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
}

std::vector<std::uint8_t> encode_tracking_delete(const HeldFlow& held, std::uint32_t sequence) {
  return message(tracking_delete, NLM_F_ACK, sequence, nfgenmsg{held.family, NFNETLINK_V0, 0}, held.name);
}

Result<FlowAnswer> decode_flows(std::span<const std::uint8_t> datagram, std::uint32_t sequence) {
  FlowAnswer answer;
  while (!datagram.empty()) {
    const auto header = read_struct<nlmsghdr>(datagram);
    if (!header || header->nlmsg_len < NLMSG_HDRLEN || header->nlmsg_len > datagram.size()) {
      return fail("netlink: a message is longer or shorter than its place");
    }
    const Span payload = datagram.subspan(NLMSG_HDRLEN, header->nlmsg_len - NLMSG_HDRLEN);
    if (header->nlmsg_seq == sequence) {
      if (const auto taken = take(answer, *header, payload); !taken) {
        return fail(taken.error());
      }
    }
    datagram = after(datagram, header->nlmsg_len);
  }
  return answer;
}

}  // namespace killswitch::codec
