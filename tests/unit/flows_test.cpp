// Flows as sock_diag and ctnetlink list them, and which of them end when the lock closes.
#include "killswitch/codec/flows.hpp"
#include "killswitch/codec/netlink.hpp"

#include "support/catch.hpp"

#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <cerrno>
#include <cstring>
#include <string>

namespace {

using namespace killswitch;
using codec::Flow;
using codec::FlowAnswer;
using codec::HeldFlow;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint32_t asked = 7;

model::IpAddress address(const char* text) {
  return *model::parse_ip_address(text);
}

Flow flow(std::uint8_t protocol, const char* source, const char* destination, std::uint16_t port) {
  return {protocol, address(source), {40000}, address(destination), {port}};
}

template <typename T>
void append(Bytes& bytes, const T& value) {
  const auto at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <typename T>
Bytes message(std::uint16_t type, const T& body, const Bytes& rest = {}, std::uint32_t sequence = asked) {
  Bytes bytes;
  append(bytes, nlmsghdr{static_cast<std::uint32_t>(NLMSG_HDRLEN + sizeof body + rest.size()), type, 0, sequence, 0});
  append(bytes, body);
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  return bytes;
}

inet_diag_msg socket_body(std::uint8_t family, const Bytes& source, const Bytes& destination) {
  inet_diag_msg body{};
  body.idiag_family = family;
  body.idiag_state = TCP_ESTABLISHED;
  body.id.idiag_sport = htons(40000);
  body.id.idiag_dport = htons(443);
  std::memcpy(body.id.idiag_src, source.data(), source.size());
  std::memcpy(body.id.idiag_dst, destination.data(), destination.size());
  body.id.idiag_cookie[0] = 99;
  return body;
}

Bytes name_of(const inet_diag_msg& body) {
  Bytes name;
  append(name, body.id);
  return name;
}

const Bytes mapped_here{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
const Bytes mapped_there{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2};

Bytes entry(bool whole = true) {
  Bytes buffer(256);
  nlmsghdr* attributes = mnl_nlmsg_put_header(buffer.data());
  const auto put = [&](std::uint16_t type, const Bytes& value) {
    mnl_attr_put(attributes, type, value.size(), value.data());
  };
  nlattr* tuple = mnl_attr_nest_start(attributes, CTA_TUPLE_ORIG);
  nlattr* ip = mnl_attr_nest_start(attributes, CTA_TUPLE_IP);
  put(CTA_IP_V4_SRC, {192, 0, 2, 1});
  if (whole) {
    put(CTA_IP_V4_DST, {192, 0, 2, 2});
  }
  mnl_attr_nest_end(attributes, ip);
  nlattr* proto = mnl_attr_nest_start(attributes, CTA_TUPLE_PROTO);
  put(CTA_PROTO_NUM, {IPPROTO_UDP});
  put(CTA_PROTO_SRC_PORT, {0x9c, 0x40});
  put(CTA_PROTO_DST_PORT, {0, 53});
  mnl_attr_nest_end(attributes, proto);
  mnl_attr_nest_end(attributes, tuple);
  put(CTA_ID, {1, 2, 3, 4});
  return {buffer.begin() + MNL_NLMSG_HDRLEN, buffer.begin() + attributes->nlmsg_len};
}

constexpr std::uint16_t tracking_new = (NFNL_SUBSYS_CTNETLINK << 8U) | IPCTNL_MSG_CT_NEW;

TEST_CASE("what must end and what stays") {
  const std::vector<model::Endpoint> spared = {{address("198.51.100.49"), {1194}, model::Protocol::udp},
                                               {address("2001:db8::220"), {443}, model::Protocol::tcp}};
  struct Row {
    Flow flow;
    bool cut;
  };
  const Row rows[] = {
      {flow(IPPROTO_TCP, "192.168.43.10", "203.0.113.7", 443), true},
      {flow(IPPROTO_TCP, "2001:db8:43::10", "2001:db8:1::7", 443), true},
      {flow(IPPROTO_UDP, "192.168.43.10", "192.168.43.1", 53), true},
      {flow(IPPROTO_ICMP, "192.168.43.10", "203.0.113.7", 0), true},
      {flow(IPPROTO_UDP, "192.168.43.10", "198.51.100.49", 1194), false},
      {flow(IPPROTO_TCP, "192.168.43.10", "198.51.100.49", 1194), true},
      {flow(IPPROTO_UDP, "192.168.43.10", "198.51.100.49", 443), true},
      {flow(IPPROTO_UDP, "192.168.43.10", "198.51.100.50", 1194), true},
      {flow(IPPROTO_TCP, "2001:db8:43::10", "2001:db8::220", 443), false},
      {flow(IPPROTO_TCP, "127.0.0.1", "127.0.0.53", 53), false},
      {flow(IPPROTO_TCP, "::1", "::1", 631), false},
      {flow(IPPROTO_TCP, "192.168.43.10", "192.168.43.10", 22), false},
      {flow(IPPROTO_TCP, "127.0.0.1", "203.0.113.7", 443), true},
      {flow(IPPROTO_TCP, "203.0.113.7", "127.0.0.1", 443), true},
      {flow(IPPROTO_TCP, "2001:db8::1", "::1", 443), true},
  };
  for (const auto& row : rows) {
    INFO(model::to_string(row.flow.source) << " to " << model::to_string(row.flow.destination));
    CHECK(codec::must_be_cut(row.flow, spared) == row.cut);
  }
  CHECK(codec::must_be_cut(rows[4].flow, {}));
}

TEST_CASE("sockets: both families, IPv4 in IPv6 notation, other requests' answers, the end") {
  const auto body4 = socket_body(AF_INET, {192, 0, 2, 1}, {192, 0, 2, 2});
  const auto body6 = socket_body(AF_INET6, mapped_here, mapped_there);
  Bytes datagram = message(SOCK_DIAG_BY_FAMILY, body4);
  for (const auto& more : {message(SOCK_DIAG_BY_FAMILY, body6), message(SOCK_DIAG_BY_FAMILY, body4, {}, asked + 1),
                           message(NLMSG_DONE, std::int32_t{0})}) {
    datagram.insert(datagram.end(), more.begin(), more.end());
  }
  const auto answer = codec::decode_flows(datagram, asked);
  REQUIRE(answer);
  const Flow expected{0, address("192.0.2.1"), {40000}, address("192.0.2.2"), {443}};
  CHECK(
      *answer ==
      FlowAnswer{{HeldFlow{expected, AF_INET, name_of(body4)}, HeldFlow{expected, AF_INET6, name_of(body6)}}, true, 0});
}

TEST_CASE("an entry of connection tracking is named by its tuple and number") {
  const nfgenmsg header{AF_INET, NFNETLINK_V0, 0};
  const auto answer = codec::decode_flows(message(tracking_new, header, entry()), asked);
  REQUIRE(answer);
  REQUIRE(answer->flows.size() == 1);
  const auto& held = answer->flows.front();
  CHECK(held.flow == flow(IPPROTO_UDP, "192.0.2.1", "192.0.2.2", 53));
  CHECK(held.name == entry());
  const auto request = codec::encode_tracking_delete(held, 9);
  CHECK(Bytes{request.begin() + NLMSG_HDRLEN + sizeof header, request.end()} == entry());
  nlmsghdr written{};
  std::memcpy(&written, request.data(), sizeof written);
  CHECK(written.nlmsg_len == request.size());
  CHECK(written.nlmsg_flags == (NLM_F_REQUEST | NLM_F_ACK));
}

TEST_CASE("refusals, and listings that break off") {
  nlmsgerr refusal{};
  refusal.error = -EOPNOTSUPP;
  CHECK(*codec::decode_flows(message(NLMSG_ERROR, refusal), asked) == FlowAnswer{{}, true, EOPNOTSUPP});
  refusal.error = 0;
  CHECK(*codec::decode_flows(message(NLMSG_ERROR, refusal), asked) == FlowAnswer{{}, true, 0});
  CHECK(*codec::decode_flows(message(NLMSG_DONE, std::int32_t{-ENOMEM}), asked) == FlowAnswer{{}, true, ENOMEM});
}

TEST_CASE("nothing is believed of what breaks its format") {
  const nfgenmsg header{AF_INET, NFNETLINK_V0, 0};
  auto unknown = socket_body(AF_INET, {192, 0, 2, 1}, {192, 0, 2, 2});
  const Bytes whole = message(SOCK_DIAG_BY_FAMILY, unknown);
  for (std::size_t length = 1; length < whole.size(); ++length) {
    CHECK_FALSE(codec::decode_flows(std::span{whole}.first(length), asked));
  }
  unknown.idiag_family = AF_UNIX;
  CHECK_FALSE(codec::decode_flows(message(SOCK_DIAG_BY_FAMILY, unknown), asked));
  CHECK_FALSE(codec::decode_flows(message(SOCK_DIAG_BY_FAMILY, std::uint32_t{0}), asked));
  CHECK_FALSE(codec::decode_flows(message(tracking_new, header, entry(false)), asked));
  CHECK_FALSE(codec::decode_flows(message(tracking_new, header), asked));
  CHECK(*codec::decode_flows({}, asked) == FlowAnswer{});
}

TEST_CASE("a request to end a socket names it as it was listed") {
  const auto body = socket_body(AF_INET6, mapped_here, mapped_there);
  HeldFlow held{flow(IPPROTO_TCP, "192.0.2.1", "192.0.2.2", 443), AF_INET6, name_of(body)};
  const auto request = codec::encode_socket_destroy(held, 9);
  REQUIRE(request.size() == NLMSG_HDRLEN + sizeof(inet_diag_req_v2));
  inet_diag_req_v2 written{};
  std::memcpy(&written, request.data() + NLMSG_HDRLEN, sizeof written);
  CHECK(written.sdiag_family == AF_INET6);
  CHECK(written.sdiag_protocol == IPPROTO_TCP);
  CHECK(std::memcmp(&written.id, &body.id, sizeof body.id) == 0);
}

}  // namespace
