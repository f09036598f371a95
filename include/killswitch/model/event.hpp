// Everything that can happen to the daemon. Events only change facts; see decide/step.
#pragma once

#include "killswitch/model/dns.hpp"
#include "killswitch/model/host_route.hpp"
#include "killswitch/model/kernel.hpp"
#include "killswitch/model/link.hpp"
#include "killswitch/model/management.hpp"
#include "killswitch/model/networkmanager.hpp"
#include "killswitch/model/settings.hpp"
#include "killswitch/model/transport.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace killswitch::model {

struct LinksListed {
  Links links;
  bool operator==(const LinksListed&) const = default;
};  ///< a complete dump: what is not in it does not exist
struct LinkChanged {
  Link link;
  bool operator==(const LinkChanged&) const = default;
};  ///< new or changed; `addresses` is ignored
struct LinkRemoved {
  IfIndex index;
  bool operator==(const LinkRemoved&) const = default;
};
struct AddressAdded {
  IfIndex index;
  InterfaceAddress address;
  bool operator==(const AddressAdded&) const = default;
};
struct AddressRemoved {
  IfIndex index;
  InterfaceAddress address;
  bool operator==(const AddressRemoved&) const = default;
};
/// A wide route (model/link.hpp) through an interface.
struct RouteAdded {
  IfIndex index;
  Prefix destination;
  bool replaces{false};  ///< it took the place of one with the same destination, through whatever interface
  bool operator==(const RouteAdded&) const = default;
};
struct RouteRemoved {
  IfIndex index;
  Prefix destination;
  bool operator==(const RouteRemoved&) const = default;
};
/// A route to this one address came or went; only told of an address that was asked about (sense/links).
struct HostRouteTouched {
  IpAddress destination;
  bool operator==(const HostRouteTouched&) const = default;
};
struct LinksUnknown {
  std::string reason;
  bool operator==(const LinksUnknown&) const = default;
};  ///< the kernel's notifications were lost; a dump follows

struct ManagementOpened {
  management::ConnectionId connection;
  management::Direction direction;
  bool adopted{false};   ///< kept over a restart of the daemon
  std::uint32_t pid{0};  ///< of OpenVPN; 0: not known
};
struct ManagementClosed {
  management::ConnectionId connection;
  std::string reason;
};
struct ManagementReceived {
  management::ConnectionId connection;
  management::Message message;
};

/// A process was proven, or more is known of one that was: what it holds now, and where its sockets send to.
struct TransportProven {
  TransportProcess process;
};
/// A proven process ended, or runs another program now.
struct TransportEnded {
  std::uint32_t pid{0};
};
/// A process that used a pinned endpoint, or holds a tunnel device, could not be proven.
struct TransportRefused {
  std::string reason;
};
/// No process can be proven on this machine; empty: it can.
struct TransportProofUnavailable {
  std::string reason;
};

struct TrialRequest {
  std::chrono::seconds duration{};
  Moment now;
};
struct EnableRequested {
  Settings settings;
  std::optional<TrialRequest> trial{};  ///< nothing: until `disable`
};
struct DisableRequested {};
/// `killswitch confirm`: the lock on trial stays.
struct TrialConfirmed {};
/// A look at the clock for a trial: at start, and when its time may be over.
struct TrialTime {
  Moment now;
};
/// The kernel's command line says `killswitch=off`. Once, before anything is enforced.
struct SwitchedOffAtBoot {
  std::optional<SavedState> state;
};

/// Somebody on this machine asked for a server's name and got an answer.
struct ServerNameAnswered {
  std::string name;
  std::vector<IpAddress> addresses;
  std::chrono::seconds lifetime{0};
};
/// The names in question were asked for aloud.
struct ServerNamesAsked {};

/// The early lock of this boot noted that it was verified in the kernel before the network.
struct BootLockNoted {};
struct KernelProbed {
  KernelFeatures features;
};
/// The firewall was read back after an apply.
struct FirewallObserved {
  Observation observation;
};
struct FirewallFailed {
  Error error;
};
/// Another program changed our tables.
struct RulesetTouched {
  Touch touch;
};
/// Notifications about the ruleset were lost: it may have been changed or not.
struct RulesetUnknown {
  std::string reason;
};
/// The machine slept: whatever happened meanwhile, everything is looked at anew.
struct Resumed {};
/// The computed ruleset broke a guarantee; the strictest one was applied instead.
struct RulesetRefused {
  std::vector<std::string> violations;
};
struct StateSaved {};
struct StateSaveFailed {
  Error error;
};
/// The state file could not be used at start; the machine is locked with no settings.
struct StateUnreadable {
  Error error;
};

/// Everything about names was looked at.
struct DnsFound {
  DnsFacts facts;
};
/// A journal of an earlier run: what it names is still in force.
struct DnsEngaged {
  DnsSetup setup;
};
struct DnsFailure {
  DnsBackend backend{DnsBackend::file};
  std::string reason;
  bool passing{false};  ///< the service had just started, was gone or slow, or a link is another one by now
  bool operator==(const DnsFailure&) const = default;
};
/// Every backend was told; whether it holds is what DnsFound says.
struct DnsApplied {
  DnsSetup setup;
  std::vector<DnsFailure> failures;
};
/// What was there before is there again, unless `error` says what is still to be given back.
struct DnsRestored {
  std::string error;
};
/// NetworkManager was asked about the enrolled VPN connections.
struct NetworkManagerFound {
  bool running{false};  ///< false: it is not on the bus, or did not answer
  std::vector<VpnConnection> connections;
};
/// It is time to try again what did not work.
struct DnsRetryDue {};

/// The kernel was asked how it would send to the server.
struct ServerRouteFound {
  ServerRoute route;
};
/// The route of ours that stands now, as far as we know; with `error`, what was wanted could not be done.
struct HostRouteChanged {
  std::optional<HostRoute> ours;
  std::string error;
};

using Event =
    std::variant<LinksListed, LinkChanged, LinkRemoved, AddressAdded, AddressRemoved, RouteAdded, RouteRemoved,
                 LinksUnknown, ManagementOpened, ManagementClosed, ManagementReceived, EnableRequested,
                 DisableRequested, TrialConfirmed, TrialTime, SwitchedOffAtBoot, ServerNameAnswered, ServerNamesAsked,
                 BootLockNoted, KernelProbed, FirewallObserved, FirewallFailed, RulesetRefused, StateSaved,
                 StateSaveFailed, StateUnreadable, RulesetTouched, RulesetUnknown, Resumed, DnsFound, DnsEngaged,
                 DnsApplied, DnsRestored, DnsRetryDue, HostRouteTouched, ServerRouteFound, HostRouteChanged,
                 NetworkManagerFound, TransportProven, TransportEnded, TransportRefused, TransportProofUnavailable>;

}  // namespace killswitch::model
