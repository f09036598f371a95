// The part of the audit that knows what a policy allows: exactly that may pass, and not what stands beside it.
#include "audit_parts.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/rules.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace killswitch::decide {
namespace {

using namespace model;

constexpr std::uint8_t icmp = 1;
constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t udp = 17;
constexpr std::uint8_t icmpv6 = 58;
constexpr std::size_t tcp_header = 20;
constexpr std::size_t flags_offset = 13;
constexpr std::uint8_t syn = 0x02;
constexpr std::uint8_t ack = 0x10;
constexpr std::uint16_t ephemeral = 32768;

bool has_ports(const Packet& packet) {
  return packet.protocol == tcp || packet.protocol == udp;
}

bool asks_for_connection(const Packet& packet) {
  return packet.protocol == tcp &&
         (packet.transport.size() <= flags_offset || (packet.transport[flags_offset] & (syn | ack)) == syn);
}

bool lies_in(const std::vector<Prefix>& prefixes, const IpAddress& address) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const Prefix& one) { return one.contains(address); });
}

bool is_of(const InboundService& service, const Packet& packet, const std::optional<Port>& port) {
  return packet.protocol == protocol_number(service.protocol) && port == service.port;
}

bool is_transport(const World& world, const Packet& packet) {
  const auto endpoints = transport_endpoints(world);
  return has_ports(packet) && packet.destination_port &&
         std::binary_search(endpoints.begin(), endpoints.end(),
                            Endpoint{packet.destination, *packet.destination_port,
                                     packet.protocol == tcp ? Protocol::tcp : Protocol::udp});
}

bool is_to_named_endpoint(const Policy& policy, const Packet& packet) {
  return std::any_of(policy.endpoints.begin(), policy.endpoints.end(), [&](const Endpoint& endpoint) {
    return endpoint.address == packet.destination && packet.destination_port == endpoint.port &&
           packet.protocol == protocol_number(endpoint.protocol);
  });
}

void set_flags(Packet& packet, std::uint8_t flags) {
  packet.transport.assign(tcp_header, 0);
  const auto put = [&packet](std::size_t at, const std::optional<Port>& port) {
    packet.transport[at] = static_cast<std::uint8_t>(port.value_or(Port{}).number >> 8U);
    packet.transport[at + 1] = static_cast<std::uint8_t>(port.value_or(Port{}).number & 0xffU);
  };
  put(0, packet.source_port);
  put(2, packet.destination_port);
  packet.transport[flags_offset] = flags;
}

/// The packet with other ports; a segment of TCP carries `flags`.
Packet with_ports(Packet packet, std::uint16_t source, std::uint16_t destination, std::uint8_t flags) {
  packet.source_port = Port{source};
  packet.destination_port = Port{destination};
  if (packet.protocol == tcp) {
    set_flags(packet, flags);
  }
  return packet;
}

/// An address of `prefix`, and the one in front of it and the one behind it where there are such.
struct Around {
  IpAddress within;
  std::vector<IpAddress> beside;
};

Around around(const Prefix& prefix) {
  Around found{prefix.address, {}};
  const auto bytes = prefix.address.size();
  for (std::size_t bit = prefix.length; bit < bytes * 8; ++bit) {  // the last address
    found.within.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
  }
  auto before = prefix.address;
  auto behind = found.within;
  for (std::size_t i = bytes; i-- > 0;) {
    if (before.bytes[i]-- != 0) {
      found.beside.push_back(before);
      break;
    }
  }
  for (std::size_t i = bytes; i-- > 0;) {
    if (++behind.bytes[i] != 0) {
      found.beside.push_back(behind);
      break;
    }
  }
  return found;
}

void probe_lan(const LanAccess& lan, std::vector<Probe>& probes) {
  for (const auto& prefix : lan.prefixes) {
    const auto places = around(prefix);
    probes.push_back({"the local network", packet_to(places.within, udp, 9)});
    for (const std::uint16_t port : std::array<std::uint16_t, 5>{53, 137, 853, 5353, 5355}) {
      probes.push_back({fmt::format("a question for names (UDP port {}) to the local network", port),
                        packet_to(places.within, udp, port)});
      probes.push_back({fmt::format("a question for names (TCP port {}) to the local network", port),
                        packet_to(places.within, tcp, port)});
    }
    for (const auto& address : places.beside) {
      probes.push_back({"an address beside " + to_string(prefix), packet_to(address, udp, 9)});
    }
  }
}

void probe_service(const InboundService& service, std::vector<Probe>& probes) {
  const auto protocol = static_cast<std::uint8_t>(protocol_number(service.protocol));
  const auto port = service.port.number;
  const auto other = static_cast<std::uint16_t>(port ^ 1U);
  for (const auto& prefix : service.from) {
    const auto places = around(prefix);
    const auto packet = packet_to(places.within, protocol, 40000);
    probes.push_back({"an answer of a service", with_ports(packet, port, 40000, ack)});
    probes.push_back({"an answer from a port that is no service", with_ports(packet, other, 40000, ack)});
    probes.push_back({"a connection request from a service's port", with_ports(packet, port, 40000, syn)});
    for (const auto& address : places.beside) {
      probes.push_back({"an answer to an address beside " + to_string(prefix),
                        with_ports(packet_to(address, protocol, 40000), port, 40000, ack)});
    }
  }
}

void probe_endpoint(const Endpoint& endpoint, std::vector<Probe>& probes) {
  const auto protocol = static_cast<std::uint8_t>(protocol_number(endpoint.protocol));
  const auto port = endpoint.port.number;
  auto address = endpoint.address;
  address.bytes[address.size() - 1] ^= 1U;
  probes.push_back({"a named server", packet_to(endpoint.address, protocol, port)});
  probes.push_back({"a neighbour of a named server", packet_to(address, protocol, port)});
  probes.push_back(
      {"another port of a named server", packet_to(endpoint.address, protocol, static_cast<std::uint16_t>(port ^ 1U))});
  probes.push_back(
      {"another protocol of a named server", packet_to(endpoint.address, protocol == udp ? tcp : udp, port)});
}

Packet request_from(const IpAddress& source, std::uint8_t protocol, std::uint16_t port) {
  Packet packet = packet_to(source, protocol, port);
  std::swap(packet.source, packet.destination);
  packet.uid.reset();
  packet.fib_type = 2;  // RTN_LOCAL
  return packet;
}

std::vector<Packet> requests_of(const World& world) {
  std::vector<IpAddress> sources = {
      make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{203, 0, 113, 7}),
      make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{192, 168, 43, 1}),
      make_ip_address(Family::ipv6, std::array<std::uint8_t, 4>{0x20, 0x01, 0x0d, 0xb8}),
  };
  std::vector<std::uint16_t> ports = {22, 53, 9000};
  const auto add_sources = [&sources](const std::vector<Prefix>& prefixes) {
    for (const auto& prefix : prefixes) {
      const auto places = around(prefix);
      sources.push_back(places.within);
      sources.insert(sources.end(), places.beside.begin(), places.beside.end());
    }
  };
  for (const auto& lan : world.settings.policy.lan) {
    add_sources(lan.prefixes);
  }
  for (const auto& service : world.settings.policy.inbound) {
    add_sources(service.from);
    ports.push_back(service.port.number);
    ports.push_back(static_cast<std::uint16_t>(service.port.number ^ 1U));
  }
  std::vector<Packet> packets;
  for (const auto& source : sources) {
    for (const auto port : ports) {
      packets.push_back(request_from(source, tcp, port));
      packets.push_back(request_from(source, udp, port));
    }
    auto echo = request_from(source, source.family == Family::ipv4 ? icmp : icmpv6, 0);
    echo.source_port.reset();
    echo.destination_port.reset();
    echo.icmp_type = source.family == Family::ipv4 ? 8 : 128;
    packets.push_back(echo);
  }
  return packets;
}

Packet forwarded(const IpAddress& destination, std::uint16_t port, const WayOut& from, const WayOut& to) {
  Packet packet = packet_to(destination, udp, port);
  packet.hook = Hook::forward;
  packet.uid.reset();
  packet.iif = from.index;
  packet.iifkind = from.kind;
  packet.oif = to.index;
  packet.oifkind = to.kind;
  return packet;
}

const std::array<IpAddress, 2>& strangers() {
  // Documentation addresses (RFC 5737, RFC 3849) stand for "anyone on the internet".
  static const std::array<IpAddress, 2> addresses = {
      make_ip_address(Family::ipv4, std::array<std::uint8_t, 4>{203, 0, 113, 7}),
      make_ip_address(Family::ipv6, std::array<std::uint8_t, 4>{0x20, 0x01, 0x0d, 0xb8})};
  return addresses;
}

void check_names_in_tunnel(const Ruleset& ruleset, const World& world, const std::vector<WayOut>& all,
                           const WayOut& tunnel, Violations& found) {
  const auto resolvers = tunnel_resolvers(world);
  for (const auto& address : strangers()) {
    if (world.settings.policy.any_tunnel_resolver || std::binary_search(resolvers.begin(), resolvers.end(), address)) {
      continue;
    }
    Packet own = packet_to(address, udp, 53);
    own.oif = tunnel.index;
    own.oifkind = tunnel.kind;
    if (passes(evaluate(ruleset, own))) {
      found.emplace_back("G7: any resolver may be asked in the tunnel");
    }
    for (const auto& from : all) {
      if (passes(evaluate(ruleset, forwarded(address, 53, from, tunnel)))) {
        found.push_back(fmt::format("G7: any resolver may be asked in the tunnel from {}", from.name));
      }
    }
  }
}

}  // namespace

Packet packet_to(const IpAddress& destination, std::uint8_t protocol, std::optional<std::uint16_t> port) {
  Packet packet;
  packet.destination = destination;
  packet.source.family = destination.family;
  packet.protocol = protocol;
  if (port) {
    packet.source_port = Port{40000};
    packet.destination_port = Port{*port};
    if (protocol == tcp) {
      set_flags(packet, syn);
    }
  }
  packet.uid = 0;  // root is not trusted more than anyone
  return packet;
}

bool may_leave(const World& world, const WayOut& way, const Packet& packet) {
  const auto& policy = world.settings.policy;
  if (way.link_class == LinkClass::link && is_to_named_endpoint(policy, packet)) {
    return true;
  }
  for (const auto& service : policy.inbound) {
    if (is_named(service.links, way.name) && lies_in(service.from, packet.destination) &&
        is_of(service, packet, packet.source_port) && !asks_for_connection(packet)) {
      return true;
    }
  }
  const bool asks_names = has_ports(packet) && packet.destination_port && is_name_port(*packet.destination_port);
  return !asks_names && !is_transport(world, packet) &&
         std::any_of(policy.lan.begin(), policy.lan.end(), [&](const LanAccess& lan) {
           return is_named(lan.links, way.name) && lies_in(lan.prefixes, packet.destination);
         });
}

bool may_enter(const World& world, const WayOut& way, const Packet& packet) {
  const auto& policy = world.settings.policy;
  Packet reversed = packet;
  std::swap(reversed.source, reversed.destination);
  std::swap(reversed.source_port, reversed.destination_port);
  const bool answers_transport = is_transport(world, reversed) && packet.socket_mark == transport_mark(world);
  if (way.link_class == LinkClass::link && (answers_transport || is_to_named_endpoint(policy, reversed))) {
    return true;
  }
  if (way.link_class == LinkClass::lan && policy.router.dns && has_ports(packet) &&
      packet.destination_port == Port{53}) {
    return true;
  }
  for (const auto& service : policy.inbound) {
    if (is_named(service.links, way.name) && lies_in(service.from, packet.source) &&
        is_of(service, packet, packet.destination_port)) {
      return true;
    }
  }
  return std::any_of(policy.lan.begin(), policy.lan.end(), [&](const LanAccess& lan) {
    const bool answer = (packet.protocol == tcp && !asks_for_connection(packet)) ||
                        (packet.protocol == udp && packet.destination_port >= Port{ephemeral});
    return answer && is_named(lan.links, way.name) && lies_in(lan.prefixes, packet.source);
  });
}

std::vector<Probe> allowance_probes(const World& world) {
  std::vector<Probe> probes;
  for (const auto& lan : world.settings.policy.lan) {
    probe_lan(lan, probes);
  }
  for (const auto& service : world.settings.policy.inbound) {
    probe_service(service, probes);
  }
  for (const auto& endpoint : world.settings.policy.endpoints) {
    probe_endpoint(endpoint, probes);
  }
  return probes;
}

void check_input(const Ruleset& ruleset, const World& world, const std::vector<WayOut>& ways, Violations& found) {
  const auto requests = requests_of(world);
  for (const auto& way : ways) {
    for (Packet packet : requests) {
      packet.hook = Hook::input;
      packet.iif = way.index;
      packet.iifkind = way.kind;
      if (may_enter(world, way, packet)) {
        continue;
      }
      if (const auto evaluation = evaluate(ruleset, packet); passes(evaluation)) {
        found.push_back(fmt::format("G11: a request from {} may come in by {} ({}: '{}')", to_string(packet.source),
                                    way.name, evaluation.chain, evaluation.comment));
      }
    }
  }
}

void check_forwarding(const Ruleset& ruleset, const World& world, const std::vector<WayOut>& ways, Violations& found) {
  const auto tunnel = match_tunnel(world);
  const auto trusted = tunnel ? std::optional{tunnel->index} : std::nullopt;
  std::vector<WayOut> all = ways;
  std::optional<WayOut> to_tunnel;
  for (const auto& [index, link] : world.links) {
    const auto its_class = class_of(link, world, trusted);
    if (its_class == LinkClass::tunnel) {
      to_tunnel = WayOut{index, link.name, link.kind, its_class};
    } else if (its_class == LinkClass::internal || its_class == LinkClass::trusted) {
      all.push_back({index, link.name, link.kind, its_class});
    }
  }
  for (const auto& address : strangers()) {
    for (const auto& from : all) {
      if (to_tunnel && from.link_class == LinkClass::link &&
          passes(evaluate(ruleset, forwarded(address, 9, from, *to_tunnel)))) {
        found.push_back(fmt::format("G9: {} may use the tunnel", from.name));
      }
      for (const auto& to : ways) {
        if (passes(evaluate(ruleset, forwarded(address, 9, from, to)))) {
          found.push_back(fmt::format("G9: {} may reach {}", from.name, to.name));
        }
      }
    }
  }
  if (to_tunnel) {
    check_names_in_tunnel(ruleset, world, all, *to_tunnel, found);
  }
}

}  // namespace killswitch::decide
