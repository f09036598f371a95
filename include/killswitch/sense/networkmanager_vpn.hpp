// Sees NetworkManager's VPN connections: whether an enrolled one is activated, on which interface and with which
// resolvers, and what is saved for it. Its tunnel is trusted for another reason: its OpenVPN is proven
// (decide/transport). Everything is asked of the owner of NetworkManager's name, and reported at once
// (NetworkManagerFound) whenever a part of it may have changed; what the plugin itself broadcasts is not listened to,
// because anybody on the bus can broadcast.
#pragma once

#include "killswitch/model/event.hpp"
#include "killswitch/os/bus.hpp"
#include "killswitch/os/event_loop.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace killswitch::sense {

class NetworkManagerSensor {
public:
  NetworkManagerSensor(os::EventLoop& loop, std::function<void(model::Event)> report);
  ~NetworkManagerSensor();

  /// Nothing is reported before the first call: what is not known yet ends no tunnel that was kept (G2).
  /// @param bus must outlive this object or the next call; nullptr: there is none
  void use_bus(os::Bus* bus);
  /// Looks at these connections from now on; nobody is asked while there are none.
  /// @param uuids of enrolled connections
  void watch(std::vector<std::string> uuids);
  void look();

  NetworkManagerSensor(const NetworkManagerSensor&) = delete;  // callbacks point here
  NetworkManagerSensor& operator=(const NetworkManagerSensor&) = delete;

private:
  struct Round;
  void listen();
  void begin();
  void forget_round();
  void finish(const Round& round);

  os::EventLoop& loop_;
  std::function<void(model::Event)> report_;
  os::Bus* bus_{nullptr};
  bool bus_known_{false};  ///< whether there is one has been said
  std::vector<std::string> uuids_;
  std::vector<os::BusSubscription> subscriptions_;
  std::shared_ptr<Round> round_;  ///< whose answers are being waited for
  bool look_again_{false};
  os::EventSource retry_;
};

/// The connection that is called `name`, or has it as its UUID, as it is saved now. Waits for the answers.
/// @return an error when NetworkManager does not run, knows no such connection or two of them, or it is no OpenVPN
///         connection whose servers are known
[[nodiscard]] Result<model::NetworkManagerVpn> find_networkmanager_vpn(os::Bus& bus, const std::string& name);

}  // namespace killswitch::sense
