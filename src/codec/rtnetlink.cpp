#include "killswitch/codec/rtnetlink.hpp"

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

using Bytes = std::span<const std::uint8_t>;

/// Netlink aligns messages and attributes to four bytes. @source NLMSG_ALIGNTO, NLA_ALIGNTO
constexpr std::size_t aligned(std::size_t length) {
  return (length + 3U) & ~std::size_t{3U};
}

/// The structure at the start of `bytes`, which need not be aligned in memory.
template <typename T>
std::optional<T> read(Bytes bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < sizeof(T)) {
    return std::nullopt;
  }
  T value{};
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

/// What follows the first `length` bytes; nothing when there is nothing.
Bytes after(Bytes bytes, std::size_t length) {
  return bytes.subspan(std::min(length, bytes.size()));
}

struct Attribute {
  std::uint16_t type{0};
  Bytes payload;
};

/// All attributes of `bytes`, in their order. The flags of the type (nested, byte order) are taken off.
Result<std::vector<Attribute>> decode_attributes(Bytes bytes) {
  std::vector<Attribute> attributes;
  while (!bytes.empty()) {
    const auto header = read<nlattr>(bytes);
    if (!header || header->nla_len < sizeof(nlattr) || header->nla_len > bytes.size()) {
      return fail("rtnetlink: an attribute is longer or shorter than its place");
    }
    attributes.push_back({static_cast<std::uint16_t>(header->nla_type & NLA_TYPE_MASK),
                          bytes.subspan(sizeof(nlattr), header->nla_len - sizeof(nlattr))});
    bytes = after(bytes, aligned(header->nla_len));
  }
  return attributes;
}

const Attribute* find(const std::vector<Attribute>& attributes, std::uint16_t type) {
  const auto found = std::find_if(attributes.begin(), attributes.end(),
                                  [&](const Attribute& attribute) { return attribute.type == type; });
  return found == attributes.end() ? nullptr : &*found;
}

/// A string attribute; the kernel ends it with a zero byte, which not all senders do.
/// @return nothing for an empty one, one of more than `longest` bytes or one with a zero byte inside.
std::optional<std::string> decode_text(Bytes payload, std::size_t longest) {
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
std::optional<std::string> decode_interface_name(Bytes payload) {
  auto name = decode_text(payload, IFNAMSIZ - 1);
  if (!name || *name == "." || *name == ".." || name->find_first_of("/: \t\n\v\f\r") != std::string::npos) {
    return std::nullopt;
  }
  return name;
}

/// IFLA_LINKINFO → IFLA_INFO_KIND; hardware has neither.
Result<std::string> decode_kind(const std::vector<Attribute>& attributes) {
  const Attribute* info = find(attributes, IFLA_LINKINFO);
  if (info == nullptr) {
    return std::string{};
  }
  const auto nested = decode_attributes(info->payload);
  if (!nested) {
    return fail(nested.error());
  }
  const Attribute* kind = find(*nested, IFLA_INFO_KIND);
  if (kind == nullptr) {
    return std::string{};  // a port of a bridge may have only IFLA_INFO_SLAVE_KIND
  }
  constexpr std::size_t longest_kind = 64;  // MODULE_NAME_LEN, what RTM_NEWLINK accepts
  auto text = decode_text(kind->payload, longest_kind);
  if (!text) {
    return fail("rtnetlink: IFLA_INFO_KIND is not a name");
  }
  return *text;
}

Result<std::optional<model::IfIndex>> decode_master(const std::vector<Attribute>& attributes) {
  const Attribute* master = find(attributes, IFLA_MASTER);
  if (master == nullptr) {
    return std::optional<model::IfIndex>{};
  }
  const auto index = read<std::uint32_t>(master->payload);
  if (!index || master->payload.size() != sizeof(std::uint32_t)) {
    return fail("rtnetlink: IFLA_MASTER is not an interface index");
  }
  return *index == 0 ? std::optional<model::IfIndex>{} : model::IfIndex{*index};
}

using Decoded = Result<std::optional<RtnetlinkContent>>;

Decoded nothing() {
  return std::optional<RtnetlinkContent>{};
}

/// RTM_NEWLINK and RTM_DELLINK. With AF_BRIDGE they speak of a port's place in its bridge (RTM_DELLINK: it left the
/// bridge and still exists); the kernel says the same as IFLA_MASTER of an AF_UNSPEC message.
Decoded decode_link(Bytes payload, bool removed) {
  const auto header = read<ifinfomsg>(payload);
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
  const auto attributes = decode_attributes(after(payload, aligned(sizeof(ifinfomsg))));
  if (!attributes) {
    return fail(attributes.error());
  }
  const Attribute* name_attribute = find(*attributes, IFLA_IFNAME);
  auto name = name_attribute == nullptr ? std::nullopt : decode_interface_name(name_attribute->payload);
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
  link.up = (header->ifi_flags & unsigned{IFF_UP}) != 0;
  return std::optional<RtnetlinkContent>{model::LinkChanged{std::move(link)}};
}

/// RTM_NEWADDR and RTM_DELADDR. IFA_LOCAL is the interface's own address where there is a peer, IFA_ADDRESS is then
/// the peer's; without IFA_LOCAL it is the interface's own.
Decoded decode_address(Bytes payload, bool removed) {
  const auto header = read<ifaddrmsg>(payload);
  if (!header) {
    return fail("rtnetlink: an address message is cut short");
  }
  if (header->ifa_family != AF_INET && header->ifa_family != AF_INET6) {
    return nothing();
  }
  const auto attributes = decode_attributes(after(payload, aligned(sizeof(ifaddrmsg))));
  if (!attributes) {
    return fail(attributes.error());
  }
  const Attribute* local = find(*attributes, IFA_LOCAL);
  const Attribute* own = local != nullptr ? local : find(*attributes, IFA_ADDRESS);
  const auto family = header->ifa_family == AF_INET ? model::Family::ipv4 : model::Family::ipv6;
  const std::size_t size = family == model::Family::ipv4 ? 4 : 16;
  if (own == nullptr || own->payload.size() != size || header->ifa_prefixlen > size * 8 || header->ifa_index == 0) {
    return fail(fmt::format("rtnetlink: an address of interface {} breaks the format", header->ifa_index));
  }
  const model::IfIndex index{header->ifa_index};
  const model::InterfaceAddress address{model::make_ip_address(family, own->payload), header->ifa_prefixlen};
  if (removed) {
    return std::optional<RtnetlinkContent>{model::AddressRemoved{index, address}};
  }
  return std::optional<RtnetlinkContent>{model::AddressAdded{index, address}};
}

/// RTM_NEWROUTE and RTM_DELROUTE: unicast routes to much of the internet through one interface. A route through several
/// has no RTA_OIF and is left out, like those that lead nowhere.
Decoded decode_route(Bytes payload, bool removed, bool replaces) {
  const auto header = read<rtmsg>(payload);
  if (!header) {
    return fail("rtnetlink: a route message is cut short");
  }
  const bool cached = (header->rtm_flags & RTM_F_CLONED) != 0;
  if ((header->rtm_family != AF_INET && header->rtm_family != AF_INET6) || header->rtm_type != RTN_UNICAST || cached) {
    return nothing();
  }
  const auto family = header->rtm_family == AF_INET ? model::Family::ipv4 : model::Family::ipv6;
  model::Prefix destination{model::make_ip_address(family, {}), header->rtm_dst_len};
  if (!model::is_wide_route(destination)) {
    return nothing();
  }
  const auto attributes = decode_attributes(after(payload, aligned(sizeof(rtmsg))));
  if (!attributes) {
    return fail(attributes.error());
  }
  if (const Attribute* address = find(*attributes, RTA_DST)) {
    if (address->payload.size() != destination.address.size()) {
      return fail("rtnetlink: the destination of a route breaks the format");
    }
    destination.address = model::make_ip_address(family, address->payload);
  }
  const Attribute* interface = find(*attributes, RTA_OIF);
  const auto index = interface == nullptr ? std::nullopt : read<std::uint32_t>(interface->payload);
  if (!index || *index == 0) {
    return nothing();
  }
  if (removed) {
    return std::optional<RtnetlinkContent>{model::RouteRemoved{{*index}, destination}};
  }
  return std::optional<RtnetlinkContent>{model::RouteAdded{{*index}, destination, replaces}};
}

/// Kernel errors are negative errno values; everything else that is not zero is no error the kernel ever sends.
Result<int> decode_errno(Bytes payload) {
  const auto value = read<std::int32_t>(payload);
  if (!value || *value > 0 || *value == std::numeric_limits<std::int32_t>::min()) {
    return fail("rtnetlink: an error message without a negative error number");
  }
  return -*value;
}

Decoded decode_answer(Bytes payload, std::uint16_t type) {
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

Decoded decode_content(const nlmsghdr& header, Bytes payload) {
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
  while (!datagram.empty()) {
    const auto header = read<nlmsghdr>(datagram);
    if (!header || header->nlmsg_len < sizeof(nlmsghdr) || header->nlmsg_len > datagram.size()) {
      return fail("rtnetlink: a message is longer or shorter than its place");
    }
    auto content = decode_content(*header, datagram.subspan(sizeof(nlmsghdr), header->nlmsg_len - sizeof(nlmsghdr)));
    if (!content) {
      return fail(content.error());
    }
    if (content->has_value()) {
      messages.push_back({header->nlmsg_seq, (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0, std::move(**content)});
    }
    datagram = after(datagram, aligned(header->nlmsg_len));
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
