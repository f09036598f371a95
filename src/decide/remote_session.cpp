#include "killswitch/decide/remote_session.hpp"

#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/evaluate.hpp"

#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;

constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint8_t flag_ack = 0x10;
constexpr std::uint32_t route_local = 2;  // RTN_LOCAL

bool holds(const Link& link, const IpAddress& address) {
  return std::any_of(link.addresses.begin(), link.addresses.end(),
                     [&](const InterfaceAddress& held) { return held.address == address; });
}

/// The interface that has this machine's end of the session, or the one that its scope names.
const Link* arrival(const Links& links, const RemoteSession& session) {
  for (const auto& [index, link] : links) {
    if (session.interface.empty() ? holds(link, session.server) : link.name == session.interface) {
      return &link;
    }
  }
  return nullptr;
}

bool stays_here(const Links& links, const RemoteSession& session) {
  const auto* link = arrival(links, session);
  return (link != nullptr && link->index == loopback_ifindex) ||
         std::any_of(links.begin(), links.end(),
                     [&](const auto& entry) { return holds(entry.second, session.client); });
}

/// A TCP header in the middle of a connection.
Bytes middle_of_connection(Port from, Port to) {
  Bytes header(20, 0);
  const auto source = wire_number(from.number, 2);
  const auto destination = wire_number(to.number, 2);
  std::copy(source.begin(), source.end(), header.begin());
  std::copy(destination.begin(), destination.end(), header.begin() + 2);
  header[12] = 0x50;  // five words long
  header[13] = flag_ack;
  return header;
}

Packet packet(const IpAddress& source, Port source_port, const IpAddress& destination, Port destination_port) {
  Packet made;
  made.source = source;
  made.source_port = source_port;
  made.destination = destination;
  made.destination_port = destination_port;
  made.protocol = protocol_tcp;
  made.transport = middle_of_connection(source_port, destination_port);
  return made;
}

}  // namespace

std::optional<CutSession> session_cut_by(const World& locked, const RemoteSession& session) {
  if (stays_here(locked.links, session)) {
    return std::nullopt;
  }
  const auto* link = arrival(locked.links, session);
  if (link == nullptr) {
    return CutSession{};
  }
  auto received = packet(session.client, session.client_port, session.server, session.server_port);
  received.iif = link->index;
  received.iifkind = link->kind;
  received.fib_type = route_local;
  auto answer = packet(session.server, session.server_port, session.client, session.client_port);
  answer.oif = link->index;
  answer.oifkind = link->kind;
  answer.oifname = link->name;
  answer.uid = 0;
  const auto ruleset = compile(locked);
  const bool passes_both_ways =
      arrives(trace(ruleset, {Way::received, received})) && arrives(trace(ruleset, {Way::sent, answer}));
  return passes_both_ways ? std::nullopt : std::optional{CutSession{link->name}};
}

}  // namespace killswitch::decide
