#include "killswitch/codec/rtnetlink.hpp"

#include "killswitch/codec/netlink.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

namespace killswitch::codec {
namespace {

/// The flags of the types (nested, byte order) are taken off.
Result<Attributes> decode_attributes(Span bytes) {
  const Attributes attributes{bytes};
  if (!attributes.valid()) {
    return fail("rtnetlink: an attribute is longer or shorter than its place");
  }
  return attributes;
}

/// A string attribute; the kernel ends it with a zero byte, which not all senders do.
/// @return nothing for an empty one, one of more than `longest` bytes or one with a zero byte inside.
std::optional<std::string> decode_text(Span payload, std::size_t longest) {
  if (!payload.empty() && payload.back() == 0) {
    payload = payload.first(payload.size() - 1);
  }
  if (payload.empty() || payload.size() > longest || std::count(payload.begin(), payload.end(), 0) != 0) {
    return std::nullopt;
  }
  return std::string{payload.begin(), payload.end()};
}

/// The kernel's own rule for names, no stricter: a name that it lets pass must not hide an interface.
/// @source Linux dev_valid_name() in net/core/dev.c
std::optional<std::string> decode_interface_name(Span payload) {
  auto name = decode_text(payload, IFNAMSIZ - 1);
  if (!name || *name == "." || *name == ".." || name->find_first_of("/: \t\n\v\f\r") != std::string::npos) {
    return std::nullopt;
  }
  return name;
}

/// IFLA_LINKINFO → IFLA_INFO_KIND; hardware has neither.
Result<std::string> decode_kind(const Attributes& attributes) {
  const auto nested = decode_attributes(attributes.bytes(IFLA_LINKINFO));
  if (!nested) {
    return fail(nested.error());
  }
  if (!nested->has(IFLA_INFO_KIND)) {
    return std::string{};  // a port of a bridge may have only IFLA_INFO_SLAVE_KIND
  }
  constexpr std::size_t longest_kind = 64;  // MODULE_NAME_LEN, what RTM_NEWLINK accepts
  auto text = decode_text(nested->bytes(IFLA_INFO_KIND), longest_kind);
  if (!text) {
    return fail("rtnetlink: IFLA_INFO_KIND is not a name");
  }
  return *text;
}

Result<std::optional<model::IfIndex>> decode_master(const Attributes& attributes) {
  if (!attributes.has(IFLA_MASTER)) {
    return std::optional<model::IfIndex>{};
  }
  const Span payload = attributes.bytes(IFLA_MASTER);
  const auto index = read_struct<std::uint32_t>(payload);
  if (!index || payload.size() != sizeof(std::uint32_t)) {
    return fail("rtnetlink: IFLA_MASTER is not an interface index");
  }
  return *index == 0 ? std::optional<model::IfIndex>{} : model::IfIndex{*index};
}

/// What is missing or odd makes it no VLAN that anything is known of, and then nothing is let through for it.
std::optional<model::Vlan> decode_vlan(const Attributes& attributes) {
  const Attributes parts = attributes.nest(IFLA_LINKINFO).nest(IFLA_INFO_DATA);
  const auto carrier = read_struct<std::uint32_t>(attributes.bytes(IFLA_LINK));
  const auto id = read_struct<std::uint16_t>(parts.bytes(IFLA_VLAN_ID));
  const auto protocol = read_struct<std::uint16_t>(parts.bytes(IFLA_VLAN_PROTOCOL));
  constexpr std::uint16_t last_id = 4094;
  if (!parts.valid() || attributes.has(IFLA_LINK_NETNSID) || !carrier || *carrier == 0 || !id || *id > last_id ||
      !protocol) {
    return std::nullopt;
  }
  return model::Vlan{{*carrier}, ntohs(*protocol), *id};
}

using Decoded = Result<std::optional<RtnetlinkContent>>;

Decoded nothing() {
  return std::optional<RtnetlinkContent>{};
}

/// RTM_NEWLINK and RTM_DELLINK. With AF_BRIDGE they speak of a port's place in its bridge (RTM_DELLINK: it left the
/// bridge and still exists); the kernel says the same as IFLA_MASTER of an AF_UNSPEC message.
Decoded decode_link(Span payload, bool removed) {
  const auto header = read_struct<ifinfomsg>(payload);
  if (!header) {
    return fail("rtnetlink: a link message is cut short");
  }
  if (header->ifi_family != AF_UNSPEC) {
    return nothing();
  }
  if (header->ifi_index <= 0) {
    return fail("rtnetlink: a link message without an interface index");
  }
  model::Link link;
  link.index.number = static_cast<std::uint32_t>(header->ifi_index);
  if (removed) {
    return std::optional<RtnetlinkContent>{model::LinkRemoved{link.index}};
  }
  const auto attributes = decode_attributes(after(payload, sizeof(ifinfomsg)));
  if (!attributes) {
    return fail(attributes.error());
  }
  auto name = decode_interface_name(attributes->bytes(IFLA_IFNAME));
  if (!name) {
    return fail(fmt::format("rtnetlink: interface {} has no valid name", link.index.number));
  }
  auto kind = decode_kind(*attributes);
  if (!kind) {
    return fail(kind.error());
  }
  auto master = decode_master(*attributes);
  if (!master) {
    return fail(master.error());
  }
  link.name = std::move(*name);
  link.kind = std::move(*kind);
  link.master = *master;
  link.vlan = link.kind == "vlan" ? decode_vlan(*attributes) : std::nullopt;
  link.up = (header->ifi_flags & unsigned{IFF_UP}) != 0;
  return std::optional<RtnetlinkContent>{model::LinkChanged{std::move(link)}};
}

/// RTM_NEWADDR and RTM_DELADDR. IFA_LOCAL is the interface's own address where there is a peer, IFA_ADDRESS is then
/// the peer's; without IFA_LOCAL it is the interface's own.
Decoded decode_address(Span payload, bool removed) {
  const auto header = read_struct<ifaddrmsg>(payload);
  if (!header) {
    return fail("rtnetlink: an address message is cut short");
  }
  if (header->ifa_family != AF_INET && header->ifa_family != AF_INET6) {
    return nothing();
  }
  const auto attributes = decode_attributes(after(payload, sizeof(ifaddrmsg)));
  if (!attributes) {
    return fail(attributes.error());
  }
  const Span own = attributes->bytes(attributes->has(IFA_LOCAL) ? IFA_LOCAL : IFA_ADDRESS);
  const auto family = header->ifa_family == AF_INET ? model::Family::ipv4 : model::Family::ipv6;
  const std::size_t size = family == model::Family::ipv4 ? 4 : 16;
  if (own.size() != size || header->ifa_prefixlen > size * 8 || header->ifa_index == 0) {
    return fail(fmt::format("rtnetlink: an address of interface {} breaks the format", header->ifa_index));
  }
  const model::IfIndex index{header->ifa_index};
  const model::InterfaceAddress address{model::make_ip_address(family, own), header->ifa_prefixlen};
  if (removed) {
    return std::optional<RtnetlinkContent>{model::AddressRemoved{index, address}};
  }
  return std::optional<RtnetlinkContent>{model::AddressAdded{index, address}};
}

/// RTM_NEWROUTE and RTM_DELROUTE: unicast routes to much of the internet through one interface (a route through several
/// has no RTA_OIF and is left out, like those that lead nowhere), and that something happened to one to a single host.
Decoded decode_route(Span payload, bool removed, bool replaces) {
  const auto header = read_struct<rtmsg>(payload);
  if (!header) {
    return fail("rtnetlink: a route message is cut short");
  }
  const bool cached = (header->rtm_flags & RTM_F_CLONED) != 0;
  if ((header->rtm_family != AF_INET && header->rtm_family != AF_INET6) || header->rtm_type != RTN_UNICAST || cached) {
    return nothing();
  }
  const auto family = header->rtm_family == AF_INET ? model::Family::ipv4 : model::Family::ipv6;
  model::Prefix destination{model::make_ip_address(family, {}), header->rtm_dst_len};
  const bool to_one_host = destination.length == 8 * destination.address.size();
  if (!to_one_host && !model::is_wide_route(destination)) {
    return nothing();
  }
  const auto attributes = decode_attributes(after(payload, sizeof(rtmsg)));
  if (!attributes) {
    return fail(attributes.error());
  }
  if (attributes->has(RTA_DST)) {
    const Span address = attributes->bytes(RTA_DST);
    if (address.size() != destination.address.size()) {
      return fail("rtnetlink: the destination of a route breaks the format");
    }
    destination.address = model::make_ip_address(family, address);
  }
  if (to_one_host) {
    return std::optional<RtnetlinkContent>{model::HostRouteTouched{destination.address}};
  }
  const auto index = read_struct<std::uint32_t>(attributes->bytes(RTA_OIF));
  if (!index || *index == 0) {
    return nothing();
  }
  if (removed) {
    return std::optional<RtnetlinkContent>{model::RouteRemoved{{*index}, destination}};
  }
  return std::optional<RtnetlinkContent>{model::RouteAdded{{*index}, destination, replaces}};
}

/// Kernel errors are negative errno values; everything else that is not zero is no error the kernel ever sends.
Result<int> decode_errno(Span payload) {
  const auto value = read_struct<std::int32_t>(payload);
  if (!value || *value > 0 || *value == std::numeric_limits<std::int32_t>::min()) {
    return fail("rtnetlink: an error message without a negative error number");
  }
  return -*value;
}

Decoded decode_answer(Span payload, std::uint16_t type) {
  if (type == NLMSG_DONE && payload.empty()) {
    return std::optional<RtnetlinkContent>{DumpDone{}};  // very old kernels; today the dump's result is there
  }
  const auto errno_value = decode_errno(payload);
  if (!errno_value) {
    return fail(errno_value.error());
  }
  if (type == NLMSG_DONE) {
    return std::optional<RtnetlinkContent>{DumpDone{*errno_value}};
  }
  return std::optional<RtnetlinkContent>{KernelAnswer{*errno_value}};
}

Decoded decode_content(const nlmsghdr& header, Span payload) {
  switch (header.nlmsg_type) {
    case NLMSG_ERROR:
    case NLMSG_DONE: return decode_answer(payload, header.nlmsg_type);
    case RTM_NEWLINK: return decode_link(payload, false);
    case RTM_DELLINK: return decode_link(payload, true);
    case RTM_NEWADDR: return decode_address(payload, false);
    case RTM_DELADDR: return decode_address(payload, true);
    case RTM_NEWROUTE: return decode_route(payload, false, (header.nlmsg_flags & NLM_F_REPLACE) != 0);
    case RTM_DELROUTE: return decode_route(payload, true, false);
    default: return nothing();
  }
}

template <typename T>
void append(std::vector<std::uint8_t>& bytes, const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0, "what follows must stay aligned");
  const auto start = bytes.size();
  bytes.resize(start + sizeof(T));
  std::memcpy(bytes.data() + start, &value, sizeof(T));
}

nlmsghdr dump_header(std::uint16_t type, std::uint32_t sequence, std::size_t payload) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof(nlmsghdr) + payload);
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header.nlmsg_seq = sequence;
  return header;
}

}  // namespace

Result<std::vector<RtnetlinkMessage>> decode_rtnetlink(std::span<const std::uint8_t> datagram) {
  std::vector<RtnetlinkMessage> messages;
  Outcome understood = done();
  const bool sound = for_each_message(datagram, [&](const nlmsghdr& header) {
    auto content = understood ? decode_content(header, payload_of(header)) : nothing();
    if (!content) {
      understood = fail(content.error());
    } else if (content->has_value()) {
      messages.push_back({header.nlmsg_seq, (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0, std::move(**content)});
    }
  });
  if (!understood) {
    return fail(understood.error());
  }
  if (!sound) {
    return fail("rtnetlink: a message is longer or shorter than its place");
  }
  return messages;
}

std::vector<std::uint8_t> encode_link_dump(std::uint32_t sequence) {
  constexpr nlattr attribute{sizeof(nlattr) + sizeof(std::uint32_t), IFLA_EXT_MASK};
  constexpr std::uint32_t filter = RTEXT_FILTER_SKIP_STATS;
  ifinfomsg body{};
  body.ifi_family = AF_UNSPEC;
  std::vector<std::uint8_t> bytes;
  append(bytes, dump_header(RTM_GETLINK, sequence, sizeof(body) + sizeof(attribute) + sizeof(filter)));
  append(bytes, body);
  append(bytes, attribute);
  append(bytes, filter);
  return bytes;
}

std::vector<std::uint8_t> encode_address_dump(std::uint32_t sequence) {
  ifaddrmsg body{};
  body.ifa_family = AF_UNSPEC;
  std::vector<std::uint8_t> bytes;
  append(bytes, dump_header(RTM_GETADDR, sequence, sizeof(body)));
  append(bytes, body);
  return bytes;
}

std::vector<std::uint8_t> encode_route_dump(std::uint32_t sequence) {
  rtmsg body{};
  body.rtm_family = AF_UNSPEC;
  std::vector<std::uint8_t> bytes;
  append(bytes, dump_header(RTM_GETROUTE, sequence, sizeof(body)));
  append(bytes, body);
  return bytes;
}

}  // namespace killswitch::codec
