#include "killswitch/decide/transport.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

constexpr std::uint32_t root = 0;
constexpr std::uint64_t cap_net_admin = std::uint64_t{1} << 12U;  // @source capabilities(7), linux/capability.h

std::string_view file_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

bool runs_as(const ProcessFacts& process, std::uint32_t uid) {
  return std::all_of(process.uids.begin(), process.uids.end(), [&](std::uint32_t one) { return one == uid; });
}

bool contains(const std::vector<Endpoint>& sorted, const Endpoint& endpoint) {
  return std::binary_search(sorted.begin(), sorted.end(), endpoint);
}

/// The pinned server that it was last seen to send to.
std::optional<Endpoint> current_server(const TransportProcess& process, const std::vector<Endpoint>& pinned) {
  for (auto endpoint = process.endpoints.rbegin(); endpoint != process.endpoints.rend(); ++endpoint) {
    if (contains(pinned, *endpoint)) {
      return *endpoint;
    }
  }
  return std::nullopt;
}

bool is_named_helper(const World& world, const std::string& path) {
  const auto names_it = [&](const std::vector<TransportProgram>& programs) {
    return std::any_of(programs.begin(), programs.end(), [&](const auto& one) { return one.path == path; });
  };
  return names_it(world.settings.transport_programs) || names_it(world.settings.policy.transport_programs);
}

/// `process` has a connection that ends in `helper`. One over UDP does not show: such an OpenVPN must be guided.
bool is_served_by(const TransportProcess& process, const TransportProcess& helper) {
  return std::any_of(process.local.begin(), process.local.end(), [&](const LocalConnection& one) {
    return std::find(helper.local.begin(), helper.local.end(), LocalConnection{one.peer, one.own}) !=
           helper.local.end();
  });
}

/// Where the tunnel that `process` holds is carried to: by itself, or by a helper that the user named and that it is
/// connected to.
std::optional<Endpoint> carried_to(const World& world, const TransportProcess& process,
                                   const std::vector<Endpoint>& pinned) {
  if (auto own = current_server(process, pinned)) {
    return own;
  }
  for (const auto& [pid, other] : world.transport.processes) {
    if (pid != process.pid && is_named_helper(world, other.program) && is_served_by(process, other)) {
      if (auto server = current_server(other, pinned)) {
        return server;
      }
    }
  }
  return std::nullopt;
}

bool is_guided(const World& world, std::uint32_t pid) {
  return std::any_of(world.peers.begin(), world.peers.end(), [&](const auto& entry) {
    return entry.second.direction == management::Direction::openvpn_connected && entry.second.pid == pid;
  });
}

/// The resolvers of NetworkManager's connection that has this interface; before it was asked, those that are known.
void take_resolvers(TunnelReport& report, const World& world) {
  if (!world.networkmanager.asked && world.trusted && world.trusted->report.interface == report.interface) {
    report.resolvers = world.trusted->report.resolvers;
    report.search_domains = world.trusted->report.search_domains;
  }
  for (const auto& vpn : enrolled_vpns(world)) {
    if (vpn.said != nullptr && vpn.said->device && vpn.said->device->interface == report.interface) {
      report.resolvers = vpn.said->device->resolvers;
      report.search_domains = vpn.said->device->search_domains;
    }
  }
}

std::optional<TrustedTunnel> match_link(const World& world, const Link& link, const std::vector<Endpoint>& pinned) {
  if (!may_be_tunnel(link, world) || !link.up || link.addresses.empty()) {
    return std::nullopt;
  }
  const bool was_trusted =
      world.trusted && world.trusted->index == link.index && world.trusted->report.source == TunnelSource::process;
  for (const auto& [pid, process] : world.transport.processes) {
    if (!std::binary_search(process.tunnels.begin(), process.tunnels.end(), link.index) || is_guided(world, pid)) {
      continue;
    }
    auto server = carried_to(world, process, pinned);
    const auto before = was_trusted ? world.trusted->report.server : std::nullopt;
    if (!server && before && contains(pinned, *before)) {
      server = before;  // the daemon was started anew, and the process has not sent since
    }
    if (server) {
      TunnelReport report;
      report.interface = link.name;
      report.addresses = link.addresses;
      report.server = server;
      report.source = TunnelSource::process;
      take_resolvers(report, world);
      return TrustedTunnel{link.index, std::move(report)};
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<TransportProgram> transport_programs(const World& world) {
  // @source Debian, Fedora and Arch packages of openvpn and openvpn3-client; local builds
  std::vector<TransportProgram> programs;
  for (const char* path : {"/usr/sbin/openvpn", "/usr/bin/openvpn", "/usr/local/sbin/openvpn"}) {
    programs.push_back({path, "openvpn"});
    programs.push_back({path, "nm-openvpn"});  // as which NetworkManager's plugin runs it
  }
  programs.push_back({"/usr/libexec/openvpn3-linux/openvpn3-service-client", "openvpn"});
  for (const auto* added : {&world.settings.policy.transport_programs, &world.settings.transport_programs}) {
    programs.insert(programs.end(), added->begin(), added->end());
  }
  return programs;
}

Judgement judge_process(const ProcessFacts& process, const std::vector<ProgramFile>& programs) {
  const auto is_run = [&](const ProgramFile& one) { return one.file.inode != 0 && one.file == process.executable; };
  const auto program = std::find_if(programs.begin(), programs.end(), is_run);
  if (program == programs.end()) {
    return {{}, fmt::format("pid {} runs none of the trusted programs", process.pid)};
  }
  const auto& path = program->program.path;
  const auto refuse = [&](const std::string& why) {
    return Judgement{{}, fmt::format("{} (pid {}, {}) {}", file_name(path), process.pid, path, why)};
  };
  if (!program->untrusted.empty()) {
    return refuse("is not trusted: " + program->untrusted);
  }
  if (!process.same_network_namespace) {
    return refuse("is not trusted: it is in another network namespace");
  }
  if (process.tracer != 0) {
    return refuse(fmt::format("is not trusted: it is traced by pid {}", process.tracer));
  }
  if (!process.same_user_namespace) {
    return refuse("is not trusted: it is in another user namespace, where user IDs and capabilities mean less");
  }
  const bool named_user = std::any_of(programs.begin(), programs.end(), [&](const ProgramFile& one) {
    return is_run(one) && one.uid && runs_as(process, *one.uid);
  });
  if (runs_as(process, root) || (process.effective_capabilities & cap_net_admin) != 0 || named_user) {
    return {path, {}};
  }
  return refuse(fmt::format("is not trusted: it runs as uid {} without CAP_NET_ADMIN; start it as root",
                            process.uids.front() == root ? process.uids[1] : process.uids.front()));
}

std::optional<TransportSearch> transport_search(const World& world) {
  if (!world.enabled || world.switched_off) {
    return std::nullopt;
  }
  const auto& settings = world.settings;
  TransportSearch search{transport_programs(world),
                         transport_endpoints(world),
                         transport_mark(world),
                         {},
                         !settings.transport_programs.empty() || !settings.policy.transport_programs.empty()};
  for (const auto& [index, link] : world.links) {
    if (may_be_tunnel(link, world) && link.up) {
      search.tunnels.push_back({index, link.addresses});
    }
  }
  return search;
}

std::optional<TrustedTunnel> match_process_tunnel(const World& world) {
  const auto pinned = transport_endpoints(world);
  // One tunnel is all there can be (G6): the one that is trusted stays it as long as it can.
  if (world.trusted) {
    if (const auto link = world.links.find(world.trusted->index); link != world.links.end()) {
      if (auto same = match_link(world, link->second, pinned)) {
        return same;
      }
    }
  }
  if (any_vpn_is(world, VpnState::connecting)) {
    return std::nullopt;  // NetworkManager is still about to say which resolvers the tunnel has
  }
  for (const auto& [index, link] : world.links) {
    if (auto found = match_link(world, link, pinned)) {
      return found;
    }
  }
  return std::nullopt;
}

bool is_transport_at_work(const World& world) {
  const auto pinned = transport_endpoints(world);
  const auto& processes = world.transport.processes;
  return std::any_of(processes.begin(), processes.end(),
                     [&](const auto& entry) { return current_server(entry.second, pinned).has_value(); });
}

std::string describe_transport(const World& world) {
  const auto pinned = transport_endpoints(world);
  std::vector<std::string> words;
  for (const auto& [pid, process] : world.transport.processes) {
    const bool holds_tunnel =
        world.trusted && std::binary_search(process.tunnels.begin(), process.tunnels.end(), world.trusted->index);
    if (current_server(process, pinned) || holds_tunnel) {
      words.push_back(fmt::format("{} (pid {}, {}), marked", file_name(process.program), pid, process.program));
    }
  }
  for (const auto& [connection, peer] : world.peers) {
    if (peer.direction == management::Direction::openvpn_connected && !world.transport.processes.contains(peer.pid)) {
      words.push_back(peer.pid == 0 ? "openvpn, guided, marked by itself"
                                    : fmt::format("openvpn (pid {}), guided, marked by itself", peer.pid));
    }
  }
  return words.empty() ? fmt::format("no process is proven to be OpenVPN yet (mark {:#x})", transport_mark(world))
                       : join(words, "; ");
}

}  // namespace killswitch::decide
