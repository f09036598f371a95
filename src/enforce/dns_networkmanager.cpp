// NetworkManager: one global slot for resolvers, which it keeps over its own restarts, and over reboots.
// @source org.freedesktop.NetworkManager(5): GlobalDnsConfiguration, Reload
#include "dns_backends.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/os/files.hpp"

namespace killswitch::enforce {
namespace {

using namespace os;

constexpr const char* service = "org.freedesktop.NetworkManager";
constexpr std::uint32_t reload_resolv_conf = 2;  // NM_MANAGER_RELOAD_FLAG_DNS_RC

BusValue texts(const std::vector<std::string>& values) {
  BusValues elements;
  for (const auto& value : values) {
    elements.push_back(bus_string(value));
  }
  return bus_array("s", std::move(elements));
}

BusValue entry(const std::string& key, BusValue value) {
  return bus_entry(bus_string(key), bus_variant(std::move(value)));
}

void add_texts(BusValues& entries, const char* key, const std::vector<std::string>& values) {
  if (!values.empty()) {
    entries.push_back(entry(key, texts(values)));
  }
}

BusValue encode(const model::GlobalDns& global) {
  BusValues entries;
  add_texts(entries, "searches", global.searches);
  add_texts(entries, "options", global.options);
  BusValues domains;
  for (const auto& [name, domain] : global.domains) {
    BusValues parts;
    add_texts(parts, "servers", domain.servers);
    add_texts(parts, "options", domain.options);
    domains.push_back(entry(name, bus_array("{sv}", std::move(parts))));
  }
  if (!domains.empty()) {
    entries.push_back(entry("domains", bus_array("{sv}", std::move(domains))));
  }
  return bus_array("{sv}", std::move(entries));
}

}  // namespace

std::vector<BusCall> networkmanager_calls(const model::GlobalDns& global) {
  BusCall set{.destination = service,
              .path = "/org/freedesktop/NetworkManager",
              .interface = "org.freedesktop.DBus.Properties",
              .member = "Set",
              .arguments = {bus_string(service), bus_string("GlobalDnsConfiguration"), bus_variant(encode(global))},
              .timeout = dns_timeout};
  // Setting what it holds already changes nothing, also when somebody else wrote the file meanwhile.
  BusCall write{.destination = service,
                .path = "/org/freedesktop/NetworkManager",
                .interface = service,
                .member = "Reload",
                .arguments = {bus_uint32(reload_resolv_conf)},
                .timeout = dns_timeout};
  return {std::move(set), std::move(write)};
}

Outcome clean_networkmanager_state(const DnsPlaces& places) {
  const auto text = read_file(places.networkmanager_state);
  if (!text) {
    return text.error().code == std::errc::no_such_file_or_directory ? Outcome{done()} : fail(text.error());
  }
  std::string kept;
  bool ours = false;
  for (std::size_t at = 0; at < text->size();) {
    const auto end = text->find('\n', at);
    const auto length = end == std::string::npos ? text->size() - at : end - at + 1;
    const auto line = std::string_view{*text}.substr(at, length);
    if (line.starts_with('[')) {
      ours = line.starts_with("[.intern.global-dns");
    }
    if (!ours) {
      kept += line;
    }
    at += length;
  }
  return kept == *text ? Outcome{done()} : replace_file(places.networkmanager_state, kept, 0600);
}

}  // namespace killswitch::enforce
