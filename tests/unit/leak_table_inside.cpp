#include "leak_table_parts.hpp"

#include <algorithm>

namespace killswitch::test {
namespace {

class InnerRows : public RowWriter {
public:
  using RowWriter::RowWriter;

  std::vector<Row> fill() {
    tunnel_and_guests();
    forwarded();
    prerouting();
    return take();
  }

private:
  void tunnel_and_guests() {
    if (world_.trusted) {
      for (const auto& row : tunnel_traffic()) {
        at(row.packet.hook, tunnel, row.name, row.packet, true);
        Packet impostor = row.packet;
        impostor.oifkind = "veth";
        impostor.oif = tunnel;
        rows_.push_back({row.name + ", not of the tunnel's kind", impostor, false, "other"});
        impostor.oifkind = "tun";
        impostor.oif = IfIndex{8};
        rows_.push_back({row.name + ", another tunnel", impostor, false, ""});
      }
      at(Hook::output, tunnel, "DNS to the tunnel's resolver", plain("192.168.255.1", udp, 53), true);
      at(Hook::output, tunnel, "DNS over TLS to the tunnel's resolver", plain("fd00:0:0:feed::1", tcp, 853), true);
      for (Packet question :
           {plain("192.168.255.1", udp, 53), plain("fd00:0:0:feed::1", udp, 53), behind_first(plain(host4, udp, 9))}) {
        question.hook = Hook::output;
        question.oif = tunnel;
        question.oifkind = "veth";
        rows_.push_back({"to the resolver, not of the tunnel's kind", question, false, ""});
      }
      at(Hook::output, tunnel, "fragment in the tunnel", behind_first(plain(host4, udp, 9)), true);
      for (const char* host : {host4, host6}) {
        for (const auto port : asked_in_tunnel) {
          at(Hook::output, tunnel, "names in the tunnel, UDP", plain(host, udp, port), false, "dns");
          at(Hook::output, tunnel, "names in the tunnel, TCP", plain(host, tcp, port), false, "dns");
        }
      }
      at(Hook::output, tunnel, "DNS like the resolver's in the other family", disguised("192.168.255.1", 53), false);
      at(Hook::output, tunnel, "DNS like the resolver's in the other family", disguised("fd00:0:0:feed::1", 53), false);
      at(Hook::input, tunnel, "from the tunnel", from(host4, plain(host4, tcp, 80)), true);
      Packet impostor = from(host4, plain(host4, tcp, 80));
      impostor.hook = Hook::input;
      impostor.iif = tunnel;
      impostor.iifkind = "veth";
      rows_.push_back({"input, not of the tunnel's kind", impostor, false, "inbound"});
    }
    const bool host = policy_.host_to_internal;
    at(Hook::output, bridge, "to a guest", plain("172.17.0.2", tcp, 80), host);
    at(Hook::postrouting, bridge, "to a guest", plain("172.17.0.2", tcp, 80), host || policy_.internal_to_tunnel);
    at(Hook::input, bridge, "from a guest", from("172.17.0.2", plain("172.17.0.2", tcp, 80)), host);
    at(Hook::input, loopback_ifindex, "loopback, in", from("127.0.0.1", plain("127.0.0.1", tcp, 80)), true);
  }

  void forwarded() {
    const bool guests = policy_.internal_to_tunnel && world_.trusted;
    for (const char* host : {host4, host6}) {
      const auto packet = plain(host, tcp, 443);
      forward("a guest to the tunnel", bridge, tunnel, packet, guests);
      forward("a guest's question to anybody, in the tunnel", bridge, tunnel, plain(host, udp, 53), false);
      forward("a guest to a link", bridge, wifi, packet, false, "forwarded");
      forward("a guest to an unknown interface", bridge, unknown, packet, false, "forwarded");
      forward("a link to the tunnel", wifi, tunnel, packet, false, world_.trusted ? "forwarded" : "");
      forward("an unknown interface to the tunnel", unknown, tunnel, packet, false, world_.trusted ? "forwarded" : "");
      forward("a link to a link", wifi, unknown, packet, false, "forwarded");
      forward("the tunnel to a link", tunnel, wifi, packet, false);
      forward("a link to a guest", wifi, bridge, packet, false, "forwarded");
      forward("the tunnel to a guest", tunnel, bridge, packet, guests);
      forward("a guest to a guest", bridge, bridge, packet, policy_.host_to_internal);
      forward("a LAN to a link", lan, wifi, packet, false);
      forward("a LAN to a guest", lan, bridge, packet, false, "forwarded");
    }
    for (const char* resolver : {"192.168.255.1", "fd00:0:0:feed::1"}) {
      const auto question = plain(resolver, udp, 53);
      forward("a guest's question to the tunnel's resolver", bridge, tunnel, question, guests);
      forward("a link's question to the tunnel's resolver", wifi, tunnel, question, false);
      forward("a question like the resolver's in the other family", bridge, tunnel, disguised(resolver, 53), false);
      auto elsewhere = question;
      elsewhere.hook = Hook::forward;
      elsewhere.uid.reset();
      elsewhere.iif = bridge;
      elsewhere.oif = tunnel;
      elsewhere.oifkind = "veth";
      rows_.push_back({"a guest's question, not of the tunnel's kind", elsewhere, false, ""});
    }
    forward("a link's fragment to the tunnel", wifi, tunnel, behind_first(plain(host4, udp, 9)), false);
    forward("a guest's fragment to the tunnel", bridge, tunnel, behind_first(plain(host4, udp, 9)), guests);
    Packet impostor = plain(host4, udp, 9);
    impostor.hook = Hook::forward;
    impostor.uid.reset();
    impostor.iif = bridge;
    impostor.oif = tunnel;
    impostor.oifkind = "veth";
    rows_.push_back({"a guest to what is not of the tunnel's kind", impostor, false, ""});
    rows_.push_back({"a guest's fragment to what is not of the tunnel's kind",
                     [&] {
                       auto p = behind_first(impostor);
                       p.hook = Hook::forward;
                       return p;
                     }(),
                     false, ""});
    impostor.iif = tunnel;
    impostor.iifkind = "veth";
    impostor.oif = bridge;
    impostor.oifkind = "bridge";
    rows_.push_back({"what is not of the tunnel's kind to a guest", impostor, false, ""});
    impostor.iif = IfIndex{8};
    impostor.iifkind = "tun";
    rows_.push_back({"another tunnel to a guest", impostor, false, ""});
  }

  void prerouting() {
    const auto arriving = [&](const char* to, std::uint32_t fib, IfIndex interface, bool passes, const char* name) {
      Packet packet = plain(to, udp, 9);
      packet.uid.reset();
      packet.fib_type = fib;
      at(Hook::prerouting, interface, name, packet, passes, "inbound");
    };
    const bool stands = world_.trusted.has_value();
    for (const std::uint32_t fib : {2U, 3U, 4U, 5U}) {
      arriving(own4, fib, wifi, true, "for an address of the link");
      arriving(own6, fib, wifi, true, "for an IPv6 address of the link");
      arriving("192.168.255.2", fib, wifi, !stands, "for the tunnel's address");
      arriving("fd00:0:0:feed::1000", fib, wifi, !stands, "for the tunnel's IPv6 address");
    }
    arriving(host4, 1, wifi, false, "for somebody else");
    arriving(host6, 0, wifi, false, "for somebody unknown");
    arriving(own4, 2, unknown, true, "by an unknown interface, for its address");
    arriving(host4, 1, unknown, false, "by an unknown interface, for somebody else");
    arriving("127.0.0.1", 2, loopback_ifindex, true, "loopback");
    arriving(host4, 1, loopback_ifindex, true, "loopback, redirected");
    arriving(host4, 1, bridge, true, "a guest's packet");
    if (stands) {
      arriving("192.168.255.2", 2, tunnel, true, "from the tunnel");
    }
  }
};

}  // namespace

std::vector<Row> inner_rows(const World& world) {
  return InnerRows{world}.fill();
}

}  // namespace killswitch::test
