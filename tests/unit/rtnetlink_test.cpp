// rtnetlink messages laid out as the kernel sends them, and broken in every way that lengths allow.
#include "killswitch/codec/rtnetlink.hpp"

#include "support/catch.hpp"

#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string_view>

namespace {

using namespace killswitch;
using codec::decode_rtnetlink;
using codec::RtnetlinkMessage;
using Bytes = std::vector<std::uint8_t>;

template <typename T>
Bytes raw(const T& value) {
  Bytes bytes(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

Bytes text(std::string_view value) {
  Bytes bytes{value.begin(), value.end()};
  bytes.push_back(0);
  return bytes;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes padded(Bytes bytes) {
  bytes.resize((bytes.size() + 3U) & ~std::size_t{3U});
  return bytes;
}

Bytes attribute(unsigned type, const Bytes& payload) {
  return padded(
      raw(nlattr{static_cast<std::uint16_t>(sizeof(nlattr) + payload.size()), static_cast<std::uint16_t>(type)}) +
      payload);
}

Bytes message(std::uint16_t type, const Bytes& payload, std::uint16_t flags = 0, std::uint32_t sequence = 0) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof(nlmsghdr) + payload.size());
  header.nlmsg_type = type;
  header.nlmsg_flags = flags;
  header.nlmsg_seq = sequence;
  return padded(raw(header) + payload);
}

Bytes link_body(int index, unsigned flags = 0, std::uint8_t family = AF_UNSPEC) {
  ifinfomsg body{};
  body.ifi_family = family;
  body.ifi_index = index;
  body.ifi_flags = flags;
  return raw(body);
}

Bytes address_body(std::uint8_t family, std::uint8_t prefix_length, std::uint32_t index) {
  ifaddrmsg body{};
  body.ifa_family = family;
  body.ifa_prefixlen = prefix_length;
  body.ifa_index = index;
  return raw(body);
}

Bytes kind(std::string_view name) {
  return attribute(IFLA_LINKINFO | NLA_F_NESTED, attribute(IFLA_INFO_KIND, text(name)));
}

model::Link link(std::uint32_t index, std::string name) {
  model::Link link;
  link.index.number = index;
  link.name = std::move(name);
  return link;
}

model::InterfaceAddress address(std::string_view value) {
  return *model::parse_interface_address(value);
}

std::vector<RtnetlinkMessage> decoded(const Bytes& bytes) {
  auto messages = decode_rtnetlink(bytes);
  INFO((messages ? std::string{} : messages.error().message()));
  REQUIRE(messages.has_value());
  return *messages;
}

std::vector<RtnetlinkMessage> one(codec::RtnetlinkContent content, std::uint32_t sequence = 0) {
  return {{sequence, false, std::move(content)}};
}

bool refused(const Bytes& bytes) {
  return !decode_rtnetlink(bytes).has_value();
}

}  // namespace

TEST_CASE("a link with everything that is a fact") {
  model::Link expected = link(7, "tun0");
  expected.kind = "tun";
  expected.master = model::IfIndex{4};
  expected.up = true;
  const auto bytes =
      message(RTM_NEWLINK, link_body(7, IFF_UP | IFF_RUNNING) + attribute(IFLA_IFNAME, text("tun0")) +
                               attribute(IFLA_MTU, raw(1500U)) + attribute(IFLA_MASTER, raw(4U)) + kind("tun"));
  CHECK(decoded(bytes) == one(model::LinkChanged{expected}));
}

TEST_CASE("a link with nothing but a name is down, of hardware and in no bridge") {
  const auto bytes = message(RTM_NEWLINK, link_body(2) + attribute(IFLA_IFNAME, text("wlo1")));
  CHECK(decoded(bytes) == one(model::LinkChanged{link(2, "wlo1")}));
}

TEST_CASE("master 0 is no master") {
  const auto bytes =
      message(RTM_NEWLINK, link_body(2) + attribute(IFLA_IFNAME, text("eth0")) + attribute(IFLA_MASTER, raw(0U)));
  CHECK(decoded(bytes) == one(model::LinkChanged{link(2, "eth0")}));
}

TEST_CASE("alternative names do not replace the name") {
  const auto names = attribute(IFLA_PROP_LIST | NLA_F_NESTED, attribute(IFLA_ALT_IFNAME, text("tun0")));
  CHECK(decoded(message(RTM_NEWLINK, link_body(2) + names + attribute(IFLA_IFNAME, text("eth0")))) ==
        one(model::LinkChanged{link(2, "eth0")}));
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + names)));
}

TEST_CASE("a port of a bridge has a slave kind and no kind") {
  const auto info = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_SLAVE_KIND, text("bridge")));
  model::Link expected = link(2, "eth0");
  expected.master = model::IfIndex{3};
  CHECK(decoded(message(RTM_NEWLINK, link_body(2) + attribute(IFLA_IFNAME, text("eth0")) + info +
                                         attribute(IFLA_MASTER, raw(3U)))) == one(model::LinkChanged{expected}));
}

TEST_CASE("rtnetlink: a VLAN names its carrier and its tag; with less it is no VLAN that anything is known of") {
  const auto vlan = [](const Bytes& data) {
    return attribute(IFLA_LINKINFO | NLA_F_NESTED,
                     attribute(IFLA_INFO_KIND, text("vlan")) + attribute(IFLA_INFO_DATA | NLA_F_NESTED, data));
  };
  const Bytes name = attribute(IFLA_IFNAME, text("eth0.5"));
  const Bytes carrier = attribute(IFLA_LINK, raw(2U));
  const Bytes id = attribute(IFLA_VLAN_ID, raw(std::uint16_t{5}));
  const Bytes protocol = attribute(IFLA_VLAN_PROTOCOL, Bytes{0x88, 0xa8});
  model::Link expected = link(9, "eth0.5");
  expected.kind = "vlan";
  CHECK(decoded(message(RTM_NEWLINK, link_body(9) + name + carrier + vlan(id))) == one(model::LinkChanged{expected}));
  const Bytes elsewhere = attribute(IFLA_LINK_NETNSID, raw(1U));
  CHECK(decoded(message(RTM_NEWLINK, link_body(9) + name + carrier + elsewhere + vlan(id + protocol))) ==
        one(model::LinkChanged{expected}));
  expected.vlan = model::Vlan{model::IfIndex{2}, 0x88a8, 5};
  CHECK(decoded(message(RTM_NEWLINK, link_body(9) + name + carrier + vlan(id + protocol))) ==
        one(model::LinkChanged{expected}));
}

TEST_CASE("bridge ports that come and go are not links that come and go") {
  CHECK(decoded(message(RTM_DELLINK, link_body(5, 0, AF_BRIDGE) + attribute(IFLA_IFNAME, text("veth1")))).empty());
  CHECK(decoded(message(RTM_NEWLINK, link_body(5, 0, AF_BRIDGE) + attribute(IFLA_MASTER, raw(3U)))).empty());
}

TEST_CASE("a removed link needs no attributes") {
  CHECK(decoded(message(RTM_DELLINK, link_body(5))) == one(model::LinkRemoved{model::IfIndex{5}}));
}

TEST_CASE("names that the kernel would refuse are refused, others are not") {
  for (const std::string_view name : {"", ".", "..", "a/b", "a b", "a:b", "sixteen-letters-", "tab\there"}) {
    INFO(name);
    CHECK(refused(message(RTM_NEWLINK, link_body(2) + attribute(IFLA_IFNAME, text(name)))));
  }
  for (const std::string_view name : {"fifteen-letters", "eth0.100", "veth@x", "\"quoted\"", "\xc3\xa9"}) {
    INFO(name);
    CHECK(decoded(message(RTM_NEWLINK, link_body(2) + attribute(IFLA_IFNAME, text(name)))) ==
          one(model::LinkChanged{link(2, std::string{name})}));
  }
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + attribute(IFLA_IFNAME, Bytes{'a', 0, 'b', 0}))));
  CHECK(decoded(message(RTM_NEWLINK, link_body(2) + attribute(IFLA_IFNAME, Bytes{'l', 'o'}))) ==
        one(model::LinkChanged{link(2, "lo")}));
}

TEST_CASE("links that break the format") {
  const Bytes name = attribute(IFLA_IFNAME, text("eth0"));
  CHECK(refused(message(RTM_NEWLINK, link_body(0) + name)));
  CHECK(refused(message(RTM_NEWLINK, link_body(-1) + name)));
  CHECK(refused(message(RTM_DELLINK, link_body(0))));
  CHECK(refused(message(RTM_NEWLINK, link_body(2))));
  CHECK(refused(message(RTM_NEWLINK, Bytes(15))));
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + name + attribute(IFLA_MASTER, Bytes(2)))));
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + name + attribute(IFLA_MASTER, Bytes(8)))));
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + name + kind(""))));
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + name + kind(std::string(65, 'k')))));
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + name + attribute(IFLA_LINKINFO, Bytes{9, 0, 1, 0}))));
}

TEST_CASE("attributes whose lengths do not add up") {
  const Bytes name = attribute(IFLA_IFNAME, text("eth0"));
  for (const unsigned length : {0U, 1U, 3U, 9U, 1000U, 65535U}) {
    INFO(length);
    CHECK(refused(message(RTM_NEWLINK,
                          link_body(2) + name + raw(nlattr{static_cast<std::uint16_t>(length), IFLA_MTU}) + Bytes(4))));
  }
  CHECK(refused(message(RTM_NEWLINK, link_body(2) + name + Bytes(2))));
}

TEST_CASE("addresses: the interface's own one, not its peer's") {
  const Bytes local{10, 8, 0, 6};
  const Bytes peer{10, 8, 0, 5};
  CHECK(decoded(message(RTM_NEWADDR,
                        address_body(AF_INET, 32, 7) + attribute(IFA_ADDRESS, peer) + attribute(IFA_LOCAL, local))) ==
        one(model::AddressAdded{model::IfIndex{7}, address("10.8.0.6/32")}));
  const auto six = address("2001:db8::7/64");
  const Bytes six_bytes{six.address.bytes.begin(), six.address.bytes.end()};
  CHECK(decoded(message(RTM_DELADDR, address_body(AF_INET6, 64, 7) + attribute(IFA_ADDRESS, six_bytes))) ==
        one(model::AddressRemoved{model::IfIndex{7}, six}));
}

TEST_CASE("addresses that break the format, and families that are no facts") {
  const Bytes four{192, 0, 2, 1};
  CHECK(refused(message(RTM_NEWADDR, Bytes(4))));
  CHECK(refused(message(RTM_NEWADDR, address_body(AF_INET, 24, 7))));
  CHECK(refused(message(RTM_NEWADDR, address_body(AF_INET, 33, 7) + attribute(IFA_LOCAL, four))));
  CHECK(refused(message(RTM_NEWADDR, address_body(AF_INET, 24, 0) + attribute(IFA_LOCAL, four))));
  CHECK(refused(message(RTM_NEWADDR, address_body(AF_INET, 24, 7) + attribute(IFA_LOCAL, Bytes(3)))));
  CHECK(refused(message(RTM_NEWADDR, address_body(AF_INET, 24, 7) + attribute(IFA_LOCAL, Bytes(16)))));
  CHECK(refused(message(RTM_NEWADDR, address_body(AF_INET6, 64, 7) + attribute(IFA_ADDRESS, four))));
  CHECK(decoded(message(RTM_NEWADDR, address_body(AF_PHONET, 0, 7))).empty());
}

TEST_CASE("routes: wide ones through one interface") {
  const auto route = [](std::uint8_t family, std::uint8_t length, std::uint8_t type = RTN_UNICAST) {
    rtmsg body{};
    body.rtm_family = family;
    body.rtm_dst_len = length;
    body.rtm_type = type;
    return raw(body);
  };
  const Bytes through7 = attribute(RTA_OIF, raw(std::uint32_t{7}));
  const auto only = [](const Bytes& datagram) {
    const auto messages = decode_rtnetlink(datagram);
    REQUIRE(messages);
    REQUIRE(messages->size() == 1);
    return messages->front().content;
  };
  const auto left_out = [](const Bytes& datagram) {
    const auto messages = decode_rtnetlink(datagram);
    return messages && messages->empty();
  };
  const codec::RtnetlinkContent whole = model::RouteAdded{{7}, *model::parse_prefix("0.0.0.0/0"), false};
  CHECK(only(message(RTM_NEWROUTE, route(AF_INET, 0) + through7)) == whole);
  const Bytes half = attribute(RTA_DST, {128, 0, 0, 0});
  CHECK(only(message(RTM_NEWROUTE, route(AF_INET, 1) + half + through7, NLM_F_REPLACE)) ==
        codec::RtnetlinkContent{model::RouteAdded{{7}, *model::parse_prefix("128.0.0.0/1"), true}});
  CHECK(only(message(RTM_DELROUTE, route(AF_INET6, 0) + through7)) ==
        codec::RtnetlinkContent{model::RouteRemoved{{7}, *model::parse_prefix("::/0")}});

  const Bytes host = attribute(RTA_DST, {198, 51, 100, 49});
  const codec::RtnetlinkContent touched = model::HostRouteTouched{*model::parse_ip_address("198.51.100.49")};
  CHECK(only(message(RTM_NEWROUTE, route(AF_INET, 32) + host + through7)) == touched);
  CHECK(only(message(RTM_DELROUTE, route(AF_INET, 32) + host)) == touched);
  CHECK(left_out(message(RTM_NEWROUTE, route(AF_INET, 32, RTN_LOCAL) + host + through7)));

  CHECK(left_out(message(RTM_NEWROUTE, route(AF_INET, 4) + half + through7)));
  CHECK(left_out(message(RTM_NEWROUTE, route(AF_INET, 0, RTN_UNREACHABLE) + through7)));
  CHECK(left_out(message(RTM_NEWROUTE, route(AF_INET, 0))));
  CHECK(left_out(message(RTM_NEWROUTE, route(AF_MPLS, 0) + through7)));
  CHECK_FALSE(decode_rtnetlink(message(RTM_NEWROUTE, Bytes(4, 0))));
  CHECK_FALSE(decode_rtnetlink(message(RTM_NEWROUTE, route(AF_INET6, 1) + half + through7)));
}

TEST_CASE("answers: done, acknowledged, refused") {
  const auto error = [](int value) { return raw(nlmsgerr{value, {}}); };
  CHECK(decoded(message(NLMSG_DONE, raw(0), NLM_F_MULTI, 9)) == one(codec::DumpDone{0}, 9));
  CHECK(decoded(message(NLMSG_DONE, {}, NLM_F_MULTI, 9)) == one(codec::DumpDone{0}, 9));
  CHECK(decoded(message(NLMSG_DONE, raw(-EINVAL), NLM_F_MULTI, 9)) == one(codec::DumpDone{EINVAL}, 9));
  CHECK(decoded(message(NLMSG_ERROR, error(0), 0, 9)) == one(codec::KernelAnswer{0}, 9));
  CHECK(decoded(message(NLMSG_ERROR, error(-EPERM), 0, 9)) == one(codec::KernelAnswer{EPERM}, 9));
  CHECK(refused(message(NLMSG_ERROR, error(EPERM))));
  CHECK(refused(message(NLMSG_ERROR, error(std::numeric_limits<int>::min()))));
  CHECK(refused(message(NLMSG_ERROR, {})));
  CHECK(refused(message(NLMSG_DONE, Bytes(3))));
}

TEST_CASE("several messages of one datagram, an interrupted dump among them") {
  const Bytes name = attribute(IFLA_IFNAME, text("lo"));
  const auto bytes = message(RTM_NEWLINK, link_body(1) + name, NLM_F_MULTI, 3) + message(RTM_NEWROUTE, Bytes(12)) +
                     message(RTM_NEWLINK, link_body(2) + name, NLM_F_MULTI | NLM_F_DUMP_INTR, 3) +
                     message(NLMSG_DONE, raw(0), NLM_F_MULTI, 3);
  const std::vector<RtnetlinkMessage> expected{{3, false, model::LinkChanged{link(1, "lo")}},
                                               {3, true, model::LinkChanged{link(2, "lo")}},
                                               {3, false, codec::DumpDone{}}};
  CHECK(decoded(bytes) == expected);
}

TEST_CASE("a datagram cut at any place is an error or fewer messages, never another fact") {
  const auto whole = message(RTM_NEWLINK, link_body(7, IFF_UP) + attribute(IFLA_IFNAME, text("tun0")) + kind("tun")) +
                     message(RTM_DELLINK, link_body(7));
  const auto all = decoded(whole);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    INFO(length);
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    if (const auto messages = decode_rtnetlink(cut)) {
      REQUIRE(messages->size() < all.size());
      CHECK(std::equal(messages->begin(), messages->end(), all.begin()));
    }
  }
}

TEST_CASE("messages whose own length does not add up") {
  for (const std::uint32_t length : {0U, 1U, 15U, 18U, 0xffffffffU}) {
    nlmsghdr header{};
    header.nlmsg_len = length;
    header.nlmsg_type = RTM_NEWLINK;
    INFO(length);
    CHECK(refused(raw(header)));
  }
}

TEST_CASE("requests for dumps") {
  ifinfomsg link_request{};
  CHECK(codec::encode_link_dump(5) ==
        message(RTM_GETLINK, raw(link_request) + attribute(IFLA_EXT_MASK, raw(unsigned{RTEXT_FILTER_SKIP_STATS})),
                NLM_F_REQUEST | NLM_F_DUMP, 5));
  ifaddrmsg address_request{};
  CHECK(codec::encode_address_dump(6) == message(RTM_GETADDR, raw(address_request), NLM_F_REQUEST | NLM_F_DUMP, 6));
}
