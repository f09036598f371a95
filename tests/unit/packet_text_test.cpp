// The grammar of `killswitch explain`: whole packets, and exact messages for what is none.
#include "killswitch/codec/packet_text.hpp"
#include "support/catch.hpp"

using namespace killswitch;
using codec::Direction;
using codec::PacketText;

namespace {

PacketText expect(const char* source, const char* destination, std::uint8_t protocol) {
  PacketText text;
  text.packet.source = *model::parse_ip_address(source);
  text.packet.destination = *model::parse_ip_address(destination);
  text.packet.protocol = protocol;
  text.packet.uid = 65534;
  text.out = "wlo1";
  return text;
}

}  // namespace

TEST_CASE("packets in words") {
  PacketText dns = expect("10.0.0.5", "8.8.8.8", 17);
  dns.packet.source_port = model::Port{40000};
  dns.packet.destination_port = model::Port{53};
  PacketText six = expect("fe80::1", "2001:db8::1", 6);
  six.packet.source_port = model::Port{7};
  six.packet.destination_port = model::Port{443};
  PacketText ping = expect("::", "2001:db8::1", 58);
  ping.packet.icmp_type = 135;
  ping.packet.hop_limit = 255;
  PacketText number = expect("0.0.0.0", "224.0.0.22", 2);
  PacketText inwards = expect("192.0.2.1", "192.0.2.2", 17);
  inwards.direction = Direction::in;
  inwards.in = "eth0";
  inwards.out.clear();
  inwards.packet.uid.reset();
  PacketText answer = inwards;
  answer.packet.socket_mark = 0x6b73;
  PacketText forwarded = inwards;
  forwarded.direction = Direction::forward;
  forwarded.in = "docker0";
  forwarded.out = "wlo1";
  PacketText marked = dns;
  marked.packet.mark = 0x6b73;
  marked.packet.uid = 0;
  marked.packet.fragment_offset = 1480;
  marked.packet_socket = true;
  PacketText named = dns;
  named.user = "openvpn";
  PacketText arp;
  arp.packet.ether_type = 0x0806;
  arp.packet.uid = 65534;
  arp.out = "wlo1";
  PacketText eapol = arp;
  eapol.packet.ether_type = 0x888e;
  const std::vector<std::pair<const char*, PacketText>> rows = {
      {"udp 192.0.2.1 -> 192.0.2.2 in eth0 socket-mark 0x6b73", answer},
      {"udp 10.0.0.5 -> 8.8.8.8:53 out wlo1", dns},
      {"  udp\t10.0.0.5:40000  ->  8.8.8.8:53 out wlo1\n", dns},
      {"tcp [fe80::1]:7 -> [2001:db8::1]:443 out wlo1", six},
      {"icmpv6 type 135 -> 2001:db8::1 out wlo1 hoplimit 255", ping},
      {"icmpv6 type 0x87 -> [2001:db8::1] out wlo1 ttl 255", ping},
      {"2 -> 224.0.0.22 out wlo1", number},
      {"udp 192.0.2.1 -> 192.0.2.2 in eth0", inwards},
      {"udp 192.0.2.1 -> 192.0.2.2 forward docker0 wlo1", forwarded},
      {"udp 10.0.0.5 -> 8.8.8.8:53 out wlo1 mark 0x6b73 uid 0 fragment packet-socket", marked},
      {"udp 10.0.0.5 -> 8.8.8.8:53 out wlo1 uid openvpn", named},
      {"arp out wlo1", arp},
      {"ethertype 0x888e out wlo1", eapol},
  };
  for (const auto& [text, wanted] : rows) {
    CAPTURE(text);
    const auto parsed = codec::parse_packet_text(text);
    INFO((parsed ? "" : parsed.error().message()));
    REQUIRE(parsed);
    CHECK(*parsed == wanted);
  }
  CHECK(codec::parse_packet_text("icmp -> 192.0.2.1 out wlo1")->packet.icmp_type == 8);
}

TEST_CASE("what is no packet is refused with the place and what was expected") {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"",
       "column 1: expected a protocol (udp, tcp, sctp, icmp, icmpv6, arp, ethertype 0xNNNN or a number up to 255), "
       "found the end"},
      {"256 -> 192.0.2.1 out a",
       "column 1: expected a protocol (udp, tcp, sctp, icmp, icmpv6, arp, ethertype 0xNNNN or "
       "a number up to 255), found '256'"},
      {"udp", "column 4: expected a numeric IPv4 or IPv6 address, found the end"},
      {"udp example.org -> 192.0.2.1 out a", "column 5: expected a numeric IPv4 or IPv6 address, found 'example.org'"},
      {"udp 192.0.2.1 192.0.2.2 out a", "column 15: expected '->' and the destination, found '192.0.2.2'"},
      {"udp -> 192.0.2.1:70000 out a", "column 18: expected a port (1 to 65535), found '70000'"},
      {"udp -> 192.0.2.1: out a", "column 18: expected a port (1 to 65535), found the end"},
      {"icmp -> 192.0.2.1:53 out a", "column 19: expected no port: only udp, tcp and sctp have ports, found '53'"},
      {"udp -> [::1 out a", "column 8: expected an IPv6 address as [ADDRESS] or [ADDRESS]:PORT, found '[::1'"},
      {"udp -> [192.0.2.1]:5 out a", "column 8: expected a numeric IPv4 or IPv6 address, found '[192.0.2.1]:5'"},
      {"udp 192.0.2.1 -> ::1 out a", "column 18: expected an address of the same family as the source, found '::1'"},
      {"icmp -> ::1 out a", "column 9: expected an IPv4 address, as icmp has it, found '::1'"},
      {"icmp type 256 -> 192.0.2.1 out a", "column 11: expected an ICMP type (0 to 255), found '256'"},
      {"udp -> 192.0.2.1", "column 17: expected 'out IFACE', 'in IFACE' or 'forward IFACE IFACE', found the end"},
      {"udp -> 192.0.2.1 out", "column 21: expected the name of an interface, found the end"},
      {"udp -> 192.0.2.1 forward a", "column 27: expected the name of an interface, found the end"},
      {"arp in wlo1", "column 5: expected 'out IFACE', found 'in'"},
      {"ethertype 0x0800 out a",
       "column 11: expected an EtherType that is not IP (0x0600 to 0xffff, but neither 0x0800 "
       "nor 0x86dd), found '0x0800'"},
      {"udp -> 192.0.2.1 out a mark x", "column 29: expected a mark (0 to 4294967295), found 'x'"},
      {"udp -> 192.0.2.1 out a again",
       "column 24: expected mark, uid, ttl, hoplimit, fragment, packet-socket or the end, found 'again'"},
      {"udp -> 192.0.2.1 in a uid 0",
       "column 23: expected mark, socket-mark (in), ttl, hoplimit, fragment or the end, found 'uid'"},
      {"udp -> 192.0.2.1 out a uid", "column 27: expected a user's number or name, found the end"},
  };
  for (const auto& [text, message] : rows) {
    CAPTURE(text);
    const auto parsed = codec::parse_packet_text(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().message() == message);
  }
}
