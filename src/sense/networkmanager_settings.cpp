#include "networkmanager_settings.hpp"

#include "bus_reading.hpp"
#include "killswitch/base/text.hpp"
#include "killswitch/codec/networkmanager_vpn.hpp"
#include "killswitch/sense/networkmanager_vpn.hpp"

#include <fmt/format.h>

namespace killswitch::sense {
namespace {

using namespace os;

std::map<std::string, std::string> pairs_of(const BusValue* dictionary) {
  std::map<std::string, std::string> pairs;
  const auto* entries = dictionary != nullptr ? members(*dictionary) : nullptr;
  for (const auto& entry : entries != nullptr ? *entries : BusValues{}) {
    if (const auto* pair = members(entry); pair != nullptr && pair->size() == 2) {
      pairs[text_of(&pair->front())] = text_of(&pair->back());
    }
  }
  return pairs;
}

/// All connections that the caller may see.
Result<std::vector<SavedVpn>> saved_connections(Bus& bus) {
  const auto list = bus.call({.destination = networkmanager_name,
                              .path = nm_settings_path,
                              .interface = nm_settings,
                              .member = "ListConnections",
                              .reply_signature = "ao",
                              .timeout = bus_patience});
  if (!list) {
    return fail(list.error().within("NetworkManager's connections"));
  }
  std::vector<SavedVpn> saved;
  for (auto& path : texts_of(&list->at(0))) {
    // One that has gone meanwhile, or belongs to somebody else, is not to be had.
    if (const auto settings = bus.call(get_settings(networkmanager_name, std::move(path)))) {
      saved.push_back(saved_vpn_of(settings->at(0)));
    }
  }
  return saved;
}

}  // namespace

SavedVpn saved_vpn_of(const BusValue& settings) {
  SavedVpn saved;
  if (const auto* connection = find(settings, "connection")) {
    saved.uuid = text_of(find(*connection, "uuid"));
    saved.id = text_of(find(*connection, "id"));
  }
  const auto* vpn = find(settings, "vpn");
  if (vpn == nullptr || text_of(find(*vpn, "service-type")) != codec::networkmanager_openvpn_service) {
    saved.unusable = "it is no OpenVPN connection";
    return saved;
  }
  auto remotes = codec::parse_vpn_data(pairs_of(find(*vpn, "data")));
  if (remotes) {
    saved.remotes = std::move(*remotes);
  } else {
    saved.unusable = remotes.error().message();
  }
  return saved;
}

BusCall get_settings(std::string service, std::string path) {
  return {.destination = std::move(service),
          .path = std::move(path),
          .interface = nm_settings_connection,
          .member = "GetSettings",
          .reply_signature = "a{sa{sv}}",
          .timeout = bus_patience};
}

Result<model::NetworkManagerVpn> find_networkmanager_vpn(Bus& bus, const std::string& name) {
  auto connections = saved_connections(bus);
  if (!connections) {
    return fail(connections.error());
  }
  const SavedVpn* found = nullptr;
  for (const auto& saved : *connections) {
    if (saved.uuid == name) {
      found = &saved;
      break;
    }
    if (saved.id != name) {
      continue;
    }
    if (found != nullptr) {
      return fail(
          fmt::format("NetworkManager has two connections that are called '{}': name the UUID of one (`nmcli "
                      "connection show`)",
                      printable(name)));
    }
    found = &saved;
  }
  if (found == nullptr) {
    return fail(
        fmt::format("NetworkManager has no connection '{}' (`nmcli connection show` lists them)", printable(name)));
  }
  if (!found->unusable.empty() || !codec::is_uuid(found->uuid)) {
    return fail(fmt::format("NetworkManager's connection '{}': {}", printable(name),
                            found->unusable.empty() ? "its UUID is none" : found->unusable));
  }
  return model::NetworkManagerVpn{found->uuid, found->id, found->remotes};
}

}  // namespace killswitch::sense
