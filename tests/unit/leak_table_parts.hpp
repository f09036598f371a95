// Parts of the table of leaks that more than one of its files needs: addresses, packets, and how a row is written.
#pragma once

#include "leak_table.hpp"
#include "support/worlds.hpp"

#include <array>

namespace killswitch::test {

using namespace model;

inline constexpr std::uint8_t icmp = 1, igmp = 2, tcp = 6, udp = 17, gre = 47, icmpv6 = 58, sctp = 132;
inline constexpr std::uint8_t syn = 0x02, rst = 0x04, ack = 0x10;
inline constexpr std::uint32_t mark = default_transport_mark;
inline constexpr std::array<std::uint16_t, 7> name_ports{53, 137, 138, 139, 853, 5353, 5355};
inline constexpr std::array<std::uint16_t, 2> asked_in_tunnel{53, 853};
inline constexpr IfIndex lan{11}, lan_port{12}, unknown{99};
inline constexpr const char* server4 = "198.51.100.49";
inline constexpr const char* server6 = "2001:db8:b700::220";
inline constexpr const char* lan_server = "192.168.99.1";
inline constexpr const char* host4 = "203.0.113.7";
inline constexpr const char* host6 = "2001:db8:1::7";
inline constexpr const char* router4 = "192.168.43.1";
inline constexpr const char* own4 = "192.168.43.10";
inline constexpr const char* own6 = "2001:db8:43::10";
inline constexpr const char* neighbour6 = "fe80::1";
inline constexpr const char* solicited6 = "ff02::1:ff00:1";

Packet plain(const char* to, std::uint8_t protocol, std::uint16_t port = 0);
Packet ports(Packet packet, std::uint16_t from, std::uint16_t to, std::uint8_t flags = syn);
Packet message(const char* to, std::uint8_t type, std::uint8_t hop_limit = 255);  ///< ICMP or ICMPv6
Packet marked(Packet packet);
Packet by_user(Packet packet, std::uint32_t uid);
Packet behind_first(Packet packet);  ///< a later fragment of it
/// The packet in the other direction.
Packet from(const char* source, Packet packet);
/// An ICMP error that quotes a packet to `address` and `port`.
Packet quoting(const char* address, std::uint8_t protocol, std::uint16_t port, std::uint8_t type);
/// IPv6, whose bytes at the place of the IPv4 destination are `address`; and the other way round.
Packet disguised(const char* address, std::uint16_t port);

/// Writes rows for one world.
class RowWriter {
public:
  explicit RowWriter(const World& world) : world_{world}, policy_{world.settings.policy} {}
  [[nodiscard]] std::vector<Row> take() { return std::move(rows_); }

protected:
  std::string kind(IfIndex index) const {
    const auto link = world_.links.find(index);
    return link == world_.links.end() ? "" : link->second.kind;
  }

  void at(Hook hook, IfIndex interface, const std::string& name, Packet packet, bool passes, const char* counter = "") {
    packet.hook = hook;
    const bool inwards = hook == Hook::prerouting || hook == Hook::input;
    (inwards ? packet.iif : packet.oif) = interface;
    (inwards ? packet.iifkind : packet.oifkind) = kind(interface);
    if (hook == Hook::egress) {
      packet.oifname = world_.links.at(interface).name;
    }
    rows_.push_back({name, std::move(packet), passes, passes ? "" : counter});
  }

  /// Out by the Wi-Fi, at every hook; by an interface that nobody knows it must be refused unless it is upkeep.
  void out(const std::string& name, const Packet& packet, bool passes, const char* counter = "") {
    at(Hook::output, wifi, name, packet, passes, counter);
    at(Hook::postrouting, wifi, name, packet, passes, policy_.lan.empty() ? "other" : "");
    at(Hook::egress, wifi, name, packet, passes, "raw");
    at(Hook::output, unknown, name + ", unknown interface", packet, passes, counter);
    at(Hook::postrouting, unknown, name + ", unknown interface", packet, passes);
  }

  void forward(const std::string& name, IfIndex in, IfIndex out, Packet packet, bool passes, const char* counter = "") {
    packet.uid.reset();
    packet.iif = in;
    packet.iifkind = kind(in);
    at(Hook::forward, out, name, std::move(packet), passes, counter);
  }

  void in(const std::string& name, const Packet& packet, bool passes) {
    at(Hook::input, wifi, name, packet, passes, "inbound");
  }

  const World& world_;
  const Policy& policy_;
  std::vector<Row> rows_;
};

/// What leaves and enters by a link.
std::vector<Row> link_rows(const World& world);
/// The tunnel, guests, and what arrives.
std::vector<Row> inner_rows(const World& world);
/// What laptop-lan and router name besides.
std::vector<Row> policy_rows(const World& world);

}  // namespace killswitch::test
