#include "leak_table_parts.hpp"

namespace killswitch::test {

World table_world(const Policy& policy) {
  auto world = laptop_protected();
  world.settings.policy = policy;
  world.settings.remotes.push_back(pinned("lan.example.test", std::nullopt, lan_server));
  world.report->resolvers.push_back(ip("fd00:0:0:feed::1"));
  world.trusted = decide::match_tunnel(world);
  world.links[lan] = link(lan, "br-lan", "bridge");
  world.links[lan_port] = link(lan_port, "eth1", "");
  world.links[lan_port].master = lan;
  return world;
}

World table_world_blocked(const Policy& policy) {
  auto world = table_world(policy);
  world.peers.clear();
  world.links.erase(tunnel);
  world.report.reset();
  world.reporter.reset();
  world.trusted.reset();
  return world;
}

std::vector<Row> leak_table(const World& world) {
  std::vector<Row> rows = link_rows(world);
  for (const auto& more : {inner_rows(world), policy_rows(world)}) {
    rows.insert(rows.end(), more.begin(), more.end());
  }
  return rows;
}

std::vector<Row> tunnel_traffic() {
  std::vector<Row> rows;
  for (const Hook hook : {Hook::output, Hook::postrouting}) {
    for (const char* host : {host4, host6}) {
      for (Packet packet : {plain(host, tcp, 443), plain(host, udp, 443),
                            message(host, ip(host).family == Family::ipv4 ? 8 : 128, 64), plain(host, sctp, 9)}) {
        packet.hook = hook;
        packet.oif = tunnel;
        packet.oifkind = "tun";
        rows.push_back({"in the tunnel, protocol " + std::to_string(packet.protocol), packet, true, ""});
      }
    }
  }
  return rows;
}

}  // namespace killswitch::test
