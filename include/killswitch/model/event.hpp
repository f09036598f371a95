// Everything that can happen to the daemon. Events only change facts; see decide/step.
#pragma once

#include "killswitch/model/kernel.hpp"
#include "killswitch/model/link.hpp"
#include "killswitch/model/management.hpp"
#include "killswitch/model/settings.hpp"

#include <string>
#include <variant>

namespace killswitch::model {

struct LinksListed {
  Links links;
};  ///< a complete dump: what is not in it does not exist
struct LinkChanged {
  Link link;
};  ///< new or changed; `addresses` is ignored
struct LinkRemoved {
  IfIndex index;
};
struct AddressAdded {
  IfIndex index;
  InterfaceAddress address;
};
struct AddressRemoved {
  IfIndex index;
  InterfaceAddress address;
};
struct LinksUnknown {
  std::string reason;
};  ///< the kernel's notifications were lost; a dump follows

struct ManagementOpened {
  management::ConnectionId connection;
  management::Direction direction;
};
struct ManagementClosed {
  management::ConnectionId connection;
  std::string reason;
};
struct ManagementReceived {
  management::ConnectionId connection;
  management::Message message;
};

struct EnableRequested {
  Settings settings;
};
struct DisableRequested {};

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
struct StateSaveFailed {
  Error error;
};
/// The state file could not be used at start; the machine is locked with no settings.
struct StateUnreadable {
  Error error;
};

using Event = std::variant<LinksListed, LinkChanged, LinkRemoved, AddressAdded, AddressRemoved, LinksUnknown,
                           ManagementOpened, ManagementClosed, ManagementReceived, EnableRequested, DisableRequested,
                           KernelProbed, FirewallObserved, FirewallFailed, StateSaveFailed, StateUnreadable>;

}  // namespace killswitch::model
