#include "killswitch/decide/facts.hpp"
#include "killswitch/model/server_name.hpp"
#include "step_parts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;
using namespace model::management;

/// A name of a server, or a numeric address.
bool same_host(std::string_view a, std::string_view b) {
  return a == b || same_name(a, b);
}

LogLine warning(std::string text) {
  return {LogLine::Level::warning, std::move(text)};
}

/// Whether any link has an address of `family` that reaches beyond the link.
bool is_on_a_link(const World& world, Family family) {
  return std::any_of(world.links.begin(), world.links.end(), [&](const auto& entry) {
    const auto& link = entry.second;
    return link.index != loopback_ifindex && !is_tunnel_kind(link.kind) &&
           std::any_of(link.addresses.begin(), link.addresses.end(), [&](const InterfaceAddress& held) {
             return held.address.family == family && !is_link_local(held.address);
           });
  });
}

/// The addresses that were pinned for the server that OpenVPN asks about; those that a link can reach come first.
std::vector<IpAddress> pinned_addresses(const World& world, const RemoteQuery& query) {
  std::vector<IpAddress> addresses;
  for (const auto& pinned : all_remotes(world)) {
    const auto& remote = pinned.remote;
    if (!same_host(remote.host, query.host) || remote.port != query.port || remote.protocol != query.protocol) {
      continue;
    }
    for (const auto& address : pinned.addresses) {
      const bool wanted = !query.family || *query.family == address.family;
      if (wanted && std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
        addresses.push_back(address);
      }
    }
  }
  std::stable_partition(addresses.begin(), addresses.end(),
                        [&](const IpAddress& address) { return is_on_a_link(world, address.family); });
  return addresses;
}

struct Conversation {
  World& world;
  ConnectionId connection;
  ManagementPeer& peer;
  Effects& effects;
};

void handle(Conversation& talk, const Hold& /*message*/) {
  talk.peer.holding = true;  // released by `step` once the ruleset is verified
}

/// No server was named by the settings, so OpenVPN's are; a name may then be asked for (G7) and teaches its addresses.
void ask_for(World& world, const Remote& remote) {
  constexpr std::size_t most = 64;  // as many as OpenVPN itself takes from a profile
  const auto known = [&](const PinnedRemote& one) { return one.remote == remote; };
  if (world.asked_for.size() < most && std::none_of(world.asked_for.begin(), world.asked_for.end(), known)) {
    world.asked_for.push_back({remote, {}, {}, fmt::format("the name {} has not been resolved yet", remote.host), {}});
    world.names = {};
  }
}

void answer_unpinned(Conversation& talk, const RemoteQuery& query) {
  const auto numeric = parse_ip_address(query.host);
  if (numeric) {
    talk.peer.server = *numeric;
  }
  if (numeric && talk.world.settings.remotes.empty()) {
    // Only root reaches this socket: what OpenVPN is going to use is what the administrator configured.
    const Endpoint endpoint{*numeric, query.port, query.protocol};
    auto& learned = talk.world.learned;
    if (std::find(learned.begin(), learned.end(), endpoint) == learned.end()) {
      learned.push_back(endpoint);
    }
    talk.effects.push_back(AcceptRemote{talk.connection});
    return;
  }
  if (numeric || talk.world.settings.via_proxy) {
    // Nothing to resolve; if it is not one of the pinned endpoints, the firewall refuses it.
    talk.effects.push_back(AcceptRemote{talk.connection});
    return;
  }
  if (!numeric && talk.world.settings.remotes.empty()) {
    ask_for(talk.world, Remote{query.host, query.port, query.protocol, query.family});
  }
  if (transport_endpoints(talk.world).empty() || talk.world.settings.remotes.empty()) {
    // OpenVPN exits when every remote is skipped; unanswered, it waits until somebody names a server.
    talk.peer.unanswered = query;
    return;
  }
  const auto family = !query.family ? "" : *query.family == Family::ipv4 ? " IPv4" : " IPv6";
  talk.world.openvpn_error = fmt::format("OpenVPN wants {}:{}/{}, but no{} address of it is pinned", query.host,
                                         query.port.number, to_string(query.protocol), family);
  talk.effects.push_back(SkipRemote{talk.connection});
}

void handle(Conversation& talk, const RemoteQuery& query) {
  talk.peer.unanswered.reset();
  talk.peer.server.reset();
  if (!talk.world.enabled) {
    talk.effects.push_back(AcceptRemote{talk.connection});
    return;
  }
  const auto addresses = pinned_addresses(talk.world, query);
  if (addresses.empty()) {
    answer_unpinned(talk, query);
    return;
  }
  // Each try takes the next address, so that one dead server of several does not stop the others.
  auto& attempt = talk.peer.attempts[to_string(Remote{query.host, query.port, query.protocol, query.family})];
  const auto& address = addresses[attempt % addresses.size()];
  ++attempt;
  talk.peer.server = address;
  talk.effects.push_back(UseRemote{talk.connection, address, query.port});
}

void handle(Conversation& talk, const management::State& message) {
  talk.peer.state = message.name;
  talk.peer.detail = message.detail;
  if (message.name == "CONNECTED") {
    talk.world.openvpn_error.clear();
  } else if (talk.peer.adopted) {
    talk.effects.push_back(RestartOpenVpn{talk.connection});
  }
  talk.peer.adopted = false;
}

void handle(Conversation& talk, const TunnelUp& message) {
  auto& world = talk.world;
  const bool other_reports = world.report && world.reporter && *world.reporter != talk.connection;
  const bool other_is_proven = world.trusted && world.trusted->report.source == TunnelSource::process &&
                               world.trusted->report.interface != message.report.interface;
  if (other_reports || other_is_proven) {
    talk.effects.push_back(warning(fmt::format(
        "a second OpenVPN announced {}; only {} is trusted, as one tunnel is all there can be (G6)",
        message.report.interface, other_reports ? world.report->interface : world.trusted->report.interface)));
    return;
  }
  world.report = message.report;
  world.reporter = talk.connection;
  world.trusted.reset();  // matched anew, by the interface that is there now
}

void handle(Conversation& talk, const TunnelDown& /*message*/) {
  if (talk.world.reporter == talk.connection) {
    forget_report(talk.world);
  }
}

void handle(Conversation& talk, const PasswordNeeded& message) {
  if (message.challenge) {
    talk.world.openvpn_error = fmt::format(
        "OpenVPN asks for an answer to a challenge ('{}'), which is not supported: start it on a terminal without "
        "management-query-passwords",
        message.realm);
    talk.effects.push_back(warning(talk.world.openvpn_error));
    return;
  }
  talk.effects.push_back(AskPassword{talk.connection, message.realm, message.username});
}

void handle(Conversation& talk, const PasswordRefused& message) {
  talk.world.openvpn_error = fmt::format("the server refused the password for '{}'", message.realm);
  talk.effects.push_back(warning(talk.world.openvpn_error));
}

void handle(Conversation& talk, const Fatal& message) {
  talk.world.openvpn_error = "OpenVPN gave up: " + message.text;
  talk.effects.push_back(warning(talk.world.openvpn_error));
}

void handle(Conversation& talk, const CommandRefused& message) {
  talk.effects.push_back(warning("OpenVPN refused a management command: " + message.text));
}

void handle(Conversation& talk, const ChannelPasswordNeeded& /*message*/) {
  talk.effects.push_back(SendChannelPassword{talk.connection});
}

void handle(Conversation& talk, const Malformed& message) {
  talk.effects.push_back(warning("ignored on the management channel: " + message.reason));
}

}  // namespace

void forget_report(World& world) {
  world.report.reset();
  world.reporter.reset();
  world.trusted.reset();
}

void on_management(World& world, const ManagementOpened& event, Effects& effects) {
  ManagementPeer peer;
  peer.direction = event.direction;
  peer.pid = event.pid;
  peer.adopted = event.adopted;
  world.peers[event.connection] = std::move(peer);
  if (world.report && !world.reporter) {
    world.reporter = event.connection;  // the connection outlived our restart, or a new OpenVPN will announce anew
  }
  effects.push_back(SubscribeManagement{event.connection});
}

void on_management(World& world, const ManagementClosed& event, Effects& /*effects*/) {
  world.peers.erase(event.connection);
  if (world.reporter == event.connection) {
    forget_report(world);
  }
}

void answer_waiting(World& world, Effects& effects) {
  for (auto& [connection, peer] : world.peers) {
    if (peer.unanswered) {
      Conversation talk{world, connection, peer, effects};
      handle(talk, RemoteQuery{*peer.unanswered});
    }
  }
}

void on_management(World& world, const ManagementReceived& event, Effects& effects) {
  const auto peer = world.peers.find(event.connection);
  if (peer == world.peers.end()) {
    return;  // the last words of a connection that was closed in the same wake-up
  }
  Conversation talk{world, event.connection, peer->second, effects};
  std::visit([&](const auto& message) { handle(talk, message); }, event.message);
}

}  // namespace killswitch::decide
