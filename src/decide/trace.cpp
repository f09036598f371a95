// The whole way of a packet: which hooks it meets, and what each of them can see of it.
#include "killswitch/decide/evaluate.hpp"

#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

// @source RTN_* in linux/rtnetlink.h
constexpr std::uint32_t rtn_unicast = 1;
constexpr std::uint32_t rtn_local = 2;
constexpr std::uint32_t rtn_broadcast = 3;
constexpr std::uint32_t rtn_multicast = 5;

/// What is sent to loopback comes back by it.
bool returns(const Journey& journey) {
  return journey.way == Way::sent && journey.packet.oif == loopback_ifindex;
}

std::vector<Hook> hooks_of(const Journey& journey) {
  switch (journey.way) {
    case Way::sent:
      return returns(journey)
                 ? std::vector{Hook::output, Hook::postrouting, Hook::egress, Hook::prerouting, Hook::input}
                 : std::vector{Hook::output, Hook::postrouting, Hook::egress};
    case Way::forwarded: return {Hook::prerouting, Hook::forward, Hook::postrouting, Hook::egress};
    case Way::received: return {Hook::prerouting, Hook::input};
    case Way::packet_socket: return {Hook::egress};
  }
  return {};
}

/// A router takes one off the hop limit before it asks what may be forwarded.
void pass_a_router(Packet& packet) {
  const std::size_t offset = packet.destination.family == Family::ipv4 ? 8 : 7;
  --packet.hop_limit;
  if (packet.network.size() > offset) {
    packet.network[offset] = packet.hop_limit;
  }
}

/// What the kernel shows at `hook` of the packet on this way.
Packet seen_at(Hook hook, const Journey& journey) {
  Packet packet = journey.packet;
  packet.hook = hook;
  const bool inwards = hook == Hook::prerouting || hook == Hook::input;
  const bool from_here = !inwards && (journey.way == Way::sent || journey.way == Way::packet_socket);
  if (inwards && returns(journey)) {
    packet.iif = packet.oif;
    packet.fib_type = rtn_local;
  }
  if (from_here || hook == Hook::egress) {
    packet.iif.reset();
    packet.iifkind.clear();
  }
  if (!from_here) {
    packet.uid.reset();
  }
  if (inwards) {
    packet.oif.reset();
    packet.oifkind.clear();
  }
  if (journey.way == Way::forwarded && hook != Hook::prerouting && packet.hop_limit > 0) {
    pass_a_router(packet);
  }
  if (hook == Hook::input && packet.destination.family == Family::ipv4) {
    packet.fragment_offset = 0;
    packet.more_fragments = false;
  }
  if (from_here && hook != Hook::egress) {
    packet.link.clear();
  }
  return packet;
}

/// The last address of the subnet, where that is a broadcast address.
bool is_broadcast_of(const InterfaceAddress& subnet, const IpAddress& address) {
  constexpr std::uint8_t longest_with_broadcast = 30;
  if (address.family != Family::ipv4 || subnet.address.family != Family::ipv4 ||
      subnet.prefix_length > longest_with_broadcast) {
    return false;
  }
  const auto host = 0xffffffffU >> subnet.prefix_length;
  const auto number = [](const IpAddress& one) { return number_of({one.octets().begin(), one.octets().end()}); };
  return subnet.prefix_length != 0 && number(address) == (number(subnet.address) | host);
}

bool is_everyone(const IpAddress& address) {
  const auto octets = address.octets();
  const auto first = octets.front();
  return address.family == Family::ipv4 && (first == 0 || first == 255) &&
         std::all_of(octets.begin(), octets.end(), [first](std::uint8_t octet) { return octet == first; });
}

bool is_multicast(const IpAddress& address) {
  return address.family == Family::ipv4 ? (address.bytes[0] & 0xf0U) == 0xe0 : address.bytes[0] == 0xff;
}

}  // namespace

Trace trace(const Ruleset& ruleset, const Journey& journey) {
  Trace stops;
  for (const Hook hook : hooks_of(journey)) {
    stops.push_back({hook, evaluate(ruleset, seen_at(hook, journey))});
    if (!passes(stops.back().evaluation)) {
      break;
    }
  }
  return stops;
}

bool arrives(const Trace& trace) {
  return std::all_of(trace.begin(), trace.end(), [](const Stop& stop) { return passes(stop.evaluation); });
}

std::uint32_t fib_type_of(const IpAddress& address, IfIndex in, const Links& links) {
  if (is_multicast(address)) {
    return rtn_multicast;
  }
  if (is_everyone(address)) {
    return rtn_broadcast;
  }
  const auto link = links.find(in);
  if (link == links.end()) {
    return rtn_unicast;
  }
  if (in == loopback_ifindex && address.family == Family::ipv4 && address.bytes[0] == 127) {
    return rtn_local;
  }
  for (const auto& held : link->second.addresses) {
    if (held.address == address) {
      return rtn_local;
    }
    if (is_broadcast_of(held, address)) {
      return rtn_broadcast;
    }
  }
  return rtn_unicast;
}

}  // namespace killswitch::decide
