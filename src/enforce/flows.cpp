#include "killswitch/enforce/flows.hpp"

#include "killswitch/codec/flows.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <cerrno>

namespace killswitch::enforce {
namespace {

using codec::HeldFlow;

constexpr int answer_milliseconds = 5000;  // for a kernel that does not answer; others have by the time it is looked

/// Sends a request and gathers the answers to it until the last.
/// @return the kernel's errno, when it refuses
Result<std::vector<HeldFlow>> ask(os::NetlinkSocket& socket, std::span<const std::uint8_t> request,
                                  std::uint32_t sequence) {
  if (const auto sent = socket.send(request); !sent) {
    return fail(sent.error());
  }
  std::vector<HeldFlow> flows;
  for (;;) {
    if (const auto ready = socket.wait_readable(answer_milliseconds); !ready) {
      return fail(ready.error());
    }
    const auto datagram = socket.receive();
    if (!datagram) {
      return fail(datagram.error());
    }
    auto answer = codec::decode_flows(*datagram, sequence);
    if (!answer) {
      return fail(answer.error());
    }
    flows.insert(flows.end(), std::make_move_iterator(answer->flows.begin()),
                 std::make_move_iterator(answer->flows.end()));
    if (answer->errno_value != 0) {
      return fail(answer->errno_value, "the kernel refuses");
    }
    if (answer->finished) {
      return flows;
    }
  }
}

/// What must end of what was listed.
std::vector<HeldFlow> doomed_of(std::vector<HeldFlow> flows, std::span<const model::Endpoint> spared) {
  std::erase_if(flows, [&](const HeldFlow& held) { return !codec::must_be_cut(held.flow, spared); });
  return flows;
}

/// @param encode the request that ends one flow
/// @param ended  is counted up
/// @return the first refusal, after all have been tried
template <typename Encode>
Outcome end_flows(os::NetlinkSocket& socket, const std::vector<HeldFlow>& doomed, Encode encode, std::size_t& ended) {
  Outcome outcome = done();
  for (const auto& held : doomed) {
    const auto sequence = socket.next_sequence();
    const auto answer = ask(socket, encode(held, sequence), sequence);
    const int code = answer ? 0 : answer.error().code.value();
    if (answer) {
      ++ended;
    } else if (code == ETIMEDOUT) {
      return fail(answer.error());
    } else if (outcome && code != ENOENT && code != ESTALE) {  // those two: it has ended by itself meanwhile
      outcome = fail(answer.error());
    }
  }
  return outcome;
}

struct SocketKind {
  std::uint8_t family;
  std::uint8_t protocol;
  const char* name;
};
constexpr SocketKind socket_kinds[] = {{AF_INET, IPPROTO_TCP, "TCP"},
                                       {AF_INET6, IPPROTO_TCP, "TCP over IPv6"},
                                       {AF_INET, IPPROTO_UDP, "UDP"},
                                       {AF_INET6, IPPROTO_UDP, "UDP over IPv6"}};

std::string consequence(const char* kind, const Error& error) {
  std::string reason = error.message();
  if (error.code.value() == EOPNOTSUPP) {
    reason = "the kernel lacks CONFIG_INET_DIAG_DESTROY";
  } else if (error.code.value() == ENOENT) {
    reason = "the kernel cannot list these sockets (no inet_diag module)";
  }
  return fmt::format(
      "{} connections from before the lock cannot be ended: {}. They are refused now, but may resume after "
      "`killswitch disable`",
      kind, reason);
}

void cut_sockets(std::span<const model::Endpoint> spared, CutReport& report) {
  auto socket = os::NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) {
    report.problems.push_back(consequence("all", socket.error()));
    return;
  }
  for (const auto& kind : socket_kinds) {
    const auto sequence = socket->next_sequence();
    auto flows = ask(*socket, codec::encode_socket_listing(kind.family, kind.protocol, sequence), sequence);
    if (!flows) {
      report.problems.push_back(consequence(kind.name, flows.error()));
      continue;
    }
    for (auto& held : *flows) {
      held.flow.protocol = kind.protocol;
    }
    const auto doomed = doomed_of(std::move(*flows), spared);
    if (const auto cut = end_flows(*socket, doomed, codec::encode_socket_destroy, report.sockets); !cut) {
      report.problems.push_back(consequence(kind.name, cut.error()));
    }
  }
}

void cut_tracked(std::span<const model::Endpoint> spared, CutReport& report) {
  constexpr const char* what = "connection tracking keeps its entries from before the lock";
  auto socket = os::NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) {
    report.problems.push_back(socket.error().within(what).message());
    return;
  }
  const auto sequence = socket->next_sequence();
  auto flows = ask(*socket, codec::encode_tracking_listing(sequence), sequence);
  if (!flows) {
    if (flows.error().code.value() != EINVAL) {  // nobody there: no connection tracking in this kernel
      report.problems.push_back(flows.error().within(what).message());
    }
    return;
  }
  const auto doomed = doomed_of(std::move(*flows), spared);
  if (const auto cut = end_flows(*socket, doomed, codec::encode_tracking_delete, report.tracked); !cut) {
    report.problems.push_back(cut.error().within(what).message());
  }
}

}  // namespace

CutReport cut_flows(std::span<const model::Endpoint> spared) {
  CutReport report;
  cut_sockets(spared, report);
  cut_tracked(spared, report);
  return report;
}

std::string to_string(const CutReport& report) {
  return fmt::format("ended {} connections and {} tracked flows from before the lock", report.sockets, report.tracked);
}

}  // namespace killswitch::enforce
