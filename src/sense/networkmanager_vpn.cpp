// @source org.freedesktop.NetworkManager(5), Connection.Active(5), VPN.Connection(5), IP4Config(5), IP6Config(5)
#include "killswitch/sense/networkmanager_vpn.hpp"

#include "bus_reading.hpp"
#include "killswitch/codec/names.hpp"
#include "networkmanager_settings.hpp"

#include <algorithm>

namespace killswitch::sense {
namespace {

using namespace os;
using namespace std::chrono_literals;
using model::IpAddress;
using model::VpnConnection;
using model::VpnDevice;
using model::VpnState;

constexpr const char* active_connection = "org.freedesktop.NetworkManager.Connection.Active";
constexpr const char* vpn_connection = "org.freedesktop.NetworkManager.VPN.Connection";
constexpr const char* device_interface = "org.freedesktop.NetworkManager.Device";
constexpr const char* ip4_config = "org.freedesktop.NetworkManager.IP4Config";
constexpr const char* ip6_config = "org.freedesktop.NetworkManager.IP6Config";
constexpr auto retry_delay = 1s;

/// @source NMVpnConnectionState in nm-dbus-interface.h
VpnState state_of(std::uint32_t number) {
  constexpr std::uint32_t activated = 5;
  if (number == activated) {
    return VpnState::activated;
  }
  return number > 0 && number < activated ? VpnState::connecting : VpnState::inactive;
}

/// NetworkManager writes "no object" as "/".
bool is_object(const std::string& path) {
  return path.size() > 1;
}

/// The address behind `key` of an a{sv}.
std::optional<IpAddress> address_behind(const BusValue& entry, const char* key) {
  auto address = model::parse_ip_address(text_of(find(entry, key)));
  return address ? std::optional{*address} : std::nullopt;
}

const BusValues& elements_of(const BusValue* list) {
  static const BusValues none;
  const auto* elements = list != nullptr ? members(*list) : nullptr;
  return elements != nullptr ? *elements : none;
}

/// An IP4Config or IP6Config of the tunnel's device.
void take_config(VpnDevice& device, const BusValue& config) {
  for (const auto& entry : elements_of(find(config, "NameserverData"))) {  // IPv4
    if (const auto address = address_behind(entry, "address")) {
      device.resolvers.push_back(*address);
    }
  }
  const auto* servers = find(config, "Nameservers");
  if (servers != nullptr && servers->signature == "aay") {  // IPv6
    for (const auto& octets : elements_of(servers)) {
      if (const auto address = address_of(&octets)) {
        device.resolvers.push_back(*address);
      }
    }
  }
  for (auto& domain : texts_of(find(config, "Domains"))) {
    auto& known = device.search_domains;
    if (codec::is_host(domain) && std::find(known.begin(), known.end(), domain) == known.end()) {
      known.push_back(std::move(domain));
    }
  }
}

}  // namespace

/// One round of questions. The one who asked may forget it: what is answered then is for nobody.
struct NetworkManagerSensor::Round : std::enable_shared_from_this<Round> {
  Bus& bus;
  NetworkManagerSensor* sensor;  ///< null: forgotten
  std::vector<std::string> uuids;
  std::string owner;  ///< unique name: all answers are those of one NetworkManager
  std::vector<VpnConnection> connections;
  bool running{true};
  bool incomplete{false};
  unsigned open{0};

  Round(Bus& its_bus, NetworkManagerSensor& its_sensor) : bus{its_bus}, sensor{&its_sensor}, uuids{its_sensor.uuids_} {}

  /// @param take gets the first value of the answer; an object that has gone meanwhile answers nothing
  void ask(const BusCall& call, std::function<void(const BusValue&)> take, const std::function<void()>& failed = {}) {
    ++open;
    const auto sent = bus.call_async(
        call, [self = shared_from_this(), take = std::move(take), failed](const Result<BusValues>& answer) {
          if (self->sensor == nullptr) {
            return;
          }
          if (answer) {
            take(answer->at(0));
          } else {
            self->incomplete = self->incomplete || answer.error().code == BusError::timed_out;
            if (failed) {
              failed();
            }
          }
          self->close();
        });
    if (!sent) {
      running = false;
      --open;
    }
  }

  void close() {
    if (--open == 0) {
      sensor->finish(*this);
    }
  }

  void begin() {
    ++open;  // until everything is on its way
    ask(
        {.destination = "org.freedesktop.DBus",
         .path = "/org/freedesktop/DBus",
         .interface = "org.freedesktop.DBus",
         .member = "GetNameOwner",
         .arguments = {bus_string(networkmanager_name)},
         .reply_signature = "s",
         .timeout = bus_patience},
        [this](const BusValue& name) {
          owner = text_of(&name);
          ask_for_saved();
          ask_for_active();
        },
        [this] { running = false; });
    close();
  }

  VpnConnection& connection(const std::string& uuid) {
    const auto found = std::find_if(connections.begin(), connections.end(),
                                    [&](const VpnConnection& one) { return one.uuid == uuid; });
    if (found != connections.end()) {
      return *found;
    }
    auto& made = connections.emplace_back();
    made.uuid = uuid;
    return made;
  }

  void ask_for_saved() {
    for (const auto& uuid : uuids) {
      ask({.destination = owner,
           .path = nm_settings_path,
           .interface = nm_settings,
           .member = "GetConnectionByUuid",
           .arguments = {bus_string(uuid)},
           .reply_signature = "o",
           .timeout = bus_patience},
          [this, uuid](const BusValue& path) {
            ask(get_settings(owner, text_of(&path)), [this, uuid](const BusValue& settings) {
              auto saved = saved_vpn_of(settings);
              auto& known = connection(uuid);
              known.remotes = std::move(saved.remotes);
              known.unusable = std::move(saved.unusable);
            });
          });
    }
  }

  void ask_for_active() {
    ask(
        get_property(owner, networkmanager_path, networkmanager_name, "ActiveConnections"),
        [this](const BusValue& paths) {
          for (const auto& path : texts_of(inside(paths))) {
            ask(get_properties(owner, path, active_connection), [this, path](const BusValue& active) {
              const auto uuid = text_of(find(active, "Uuid"));
              if (flag_of(find(active, "Vpn")) && std::find(uuids.begin(), uuids.end(), uuid) != uuids.end()) {
                ask_for_state(path, uuid, active);
              }
            });
          }
        },
        [this] { running = false; });
  }

  void ask_for_state(const std::string& path, const std::string& uuid, const BusValue& active) {
    ask(get_property(owner, path, vpn_connection, "VpnState"), [this, uuid, active](const BusValue& number) {
      const auto state = state_of(number_of(inside(number)));
      auto& known = connection(uuid);
      // While one is made anew the old one may still be there, on its way out.
      if (state == VpnState::inactive || known.state == VpnState::activated) {
        return;
      }
      known.state = state;
      if (state == VpnState::activated) {
        ask_for_devices(uuid, active);
      }
    });
  }

  /// Asked and answered in this order: IPv4 comes first. The device of the tunnel is the one with the connection's
  /// configuration.
  void ask_for_devices(const std::string& uuid, const BusValue& active) {
    const auto config4 = text_of(find(active, "Ip4Config"));
    const auto config6 = text_of(find(active, "Ip6Config"));
    ask(get_property(owner, networkmanager_path, networkmanager_name, "Devices"), [=, this](const BusValue& paths) {
      for (const auto& path : texts_of(inside(paths))) {
        ask(get_properties(owner, path, device_interface), [=, this](const BusValue& device) {
          const auto its4 = text_of(find(device, "Ip4Config"));
          const auto its6 = text_of(find(device, "Ip6Config"));
          if ((is_object(config4) && its4 == config4) || (is_object(config6) && its6 == config6)) {
            device_of(uuid).interface = text_of(find(device, "Interface"));
          }
        });
      }
    });
    ask_for_config(config4, ip4_config, [this, uuid](const BusValue& c) { take_config(device_of(uuid), c); });
    ask_for_config(config6, ip6_config, [this, uuid](const BusValue& c) { take_config(device_of(uuid), c); });
  }

  void ask_for_config(const std::string& path, const char* interface, std::function<void(const BusValue&)> take) {
    if (is_object(path)) {
      ask(get_properties(owner, path, interface), std::move(take));
    }
  }

  VpnDevice& device_of(const std::string& uuid) {
    auto& device = connection(uuid).device;
    return device ? *device : device.emplace();
  }
};

NetworkManagerSensor::NetworkManagerSensor(EventLoop& loop, std::function<void(model::Event)> report)
    : loop_{loop}, report_{std::move(report)} {}

NetworkManagerSensor::~NetworkManagerSensor() {
  forget_round();
}

void NetworkManagerSensor::use_bus(Bus* bus) {
  bus_known_ = true;
  bus_ = bus;
  forget_round();  // its answers may never come
  subscriptions_.clear();
  if (bus_ != nullptr && !uuids_.empty()) {
    listen();
  }
  look();
}

void NetworkManagerSensor::watch(std::vector<std::string> uuids) {
  if (uuids == uuids_) {
    return;
  }
  uuids_ = std::move(uuids);
  if (bus_known_) {
    use_bus(bus_);
  }
}

void NetworkManagerSensor::listen() {
  const auto on = [this](const char* interface, const char* member, const char* first_argument = "") {
    // The bus lets only the owner of the name pass for it. Without a subscription a change is seen later.
    auto subscription = bus_->subscribe(
        {.sender = networkmanager_name, .interface = interface, .member = member, .first_argument = first_argument},
        [this](const BusNotice&) { look(); });
    if (subscription) {
      subscriptions_.push_back(std::move(*subscription));
    }
  };
  constexpr const char* properties = "org.freedesktop.DBus.Properties";
  on(vpn_connection, "VpnStateChanged");
  on(nm_settings_connection, "Updated");
  on(nm_settings_connection, "Removed");
  for (const char* changing : {active_connection, ip4_config, ip6_config}) {
    on(properties, "PropertiesChanged", changing);
  }
  if (auto owner = bus_->watch_name(networkmanager_name, [this](const std::string&) { look(); })) {
    subscriptions_.push_back(std::move(*owner));
  }
}

void NetworkManagerSensor::look() {
  retry_ = {};
  if (!bus_known_) {
    return;
  }
  if (bus_ == nullptr || uuids_.empty()) {
    report_(model::NetworkManagerFound{});
    return;
  }
  if (round_) {
    look_again_ = true;
    return;
  }
  begin();
}

void NetworkManagerSensor::forget_round() {
  if (round_) {
    round_->sensor = nullptr;
    round_.reset();
  }
}

void NetworkManagerSensor::begin() {
  look_again_ = false;
  round_ = std::make_shared<Round>(*bus_, *this);
  const auto round = round_;  // it may be over before `begin` returns
  round->begin();
}

void NetworkManagerSensor::finish(const Round& round) {
  const auto ended = std::exchange(round_, nullptr);
  model::NetworkManagerFound found{round.running, round.connections};
  bool incomplete = round.incomplete;
  for (auto& one : found.connections) {
    if (one.device && !codec::is_interface_name(one.device->interface)) {
      one.device.reset();
    }
    incomplete = incomplete || (one.state == VpnState::activated && !one.device);
  }
  report_(std::move(found));
  if (look_again_) {
    begin();
  } else if (incomplete) {
    if (auto timer = loop_.after(retry_delay, [this] { look(); })) {
      retry_ = std::move(*timer);
    }
  }
}

}  // namespace killswitch::sense
