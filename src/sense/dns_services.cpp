// The bus half of the DNS sensor.
// @source org.freedesktop.NetworkManager.DnsManager(5), org.freedesktop.resolve1(5)
#include "killswitch/sense/dns.hpp"

#include "bus_reading.hpp"

#include <algorithm>

namespace killswitch::sense {
namespace {

using namespace os;
using model::GlobalDns;
using model::IfIndex;
using model::NetworkManagerDns;
using model::ResolvedLink;

constexpr const char* dns_manager = "org.freedesktop.NetworkManager.DnsManager";
constexpr const char* dns_manager_path = "/org/freedesktop/NetworkManager/DnsManager";
constexpr const char* resolved = "org.freedesktop.resolve1";
constexpr const char* resolved_path = "/org/freedesktop/resolve1";
constexpr const char* resolved_manager = "org.freedesktop.resolve1.Manager";
constexpr const char* properties = "org.freedesktop.DBus.Properties";

GlobalDns global_of(const BusValue& value) {
  GlobalDns global;
  global.searches = texts_of(find(value, "searches"));
  global.options = texts_of(find(value, "options"));
  const auto* domains = find(value, "domains");
  const auto* entries = domains != nullptr ? members(*domains) : nullptr;
  if (entries == nullptr) {
    return global;
  }
  for (const auto& entry : *entries) {
    const auto* pair = members(entry);
    const auto* content = pair != nullptr && pair->size() == 2 ? inside(pair->back()) : nullptr;
    if (content != nullptr) {
      auto& domain = global.domains[text_of(&pair->front())];
      domain.servers = texts_of(find(*content, "servers"));
      domain.options = texts_of(find(*content, "options"));
    }
  }
  return global;
}

ResolvedLink& link_of(std::vector<ResolvedLink>& links, const BusValue& index) {
  const auto* number = std::get_if<std::int32_t>(&index.content);
  const IfIndex wanted{number != nullptr ? static_cast<std::uint32_t>(*number) : 0U};
  const auto place = std::lower_bound(links.begin(), links.end(), wanted,
                                      [](const ResolvedLink& link, IfIndex other) { return link.index < other; });
  return place != links.end() && place->index == wanted ? *place : *links.insert(place, ResolvedLink{wanted, {}, {}});
}

/// a(iiay): interface, address family, address
void add_servers(std::vector<ResolvedLink>& links, const BusValue& list) {
  const auto* entries = members(list);
  for (const auto& entry : entries != nullptr ? *entries : BusValues{}) {
    const auto* fields = members(entry);
    const auto address = fields != nullptr && fields->size() == 3 ? address_of(&fields->at(2)) : std::nullopt;
    if (address) {
      link_of(links, fields->front()).servers.push_back(*address);
    }
  }
}

/// a(isb): interface, name, routing only
void add_domains(std::vector<ResolvedLink>& links, const BusValue& list) {
  const auto* entries = members(list);
  for (const auto& entry : entries != nullptr ? *entries : BusValues{}) {
    const auto* fields = members(entry);
    if (fields != nullptr && fields->size() == 3) {
      const auto* routing = std::get_if<bool>(&fields->at(2).content);
      link_of(links, fields->front()).domains.emplace_back(text_of(&fields->at(1)), routing != nullptr && *routing);
    }
  }
}

}  // namespace

/// One round of questions; answers that stay away are those of a service that is not there.
struct DnsServices::Questions {
  Answer answer;
  NetworkManagerDns manager;
  std::vector<ResolvedLink> links;
  bool manager_there{true};
  bool resolved_there{true};
  bool whole{true};
  unsigned open{0};

  /// A service that starts or is busy is no service that is not there.
  void note(const Error& error) {
    whole = whole && error.code != BusError::timed_out && error.code != BusError::disconnected &&
            error.code != BusError::no_such_object;
  }

  void close() {
    if (--open == 0) {
      answer({manager_there ? std::optional{std::move(manager)} : std::nullopt,
              resolved_there ? std::optional{std::move(links)} : std::nullopt, whole});
    }
  }
};

DnsServices::DnsServices(Bus& bus, const std::function<void()>& changed, const std::function<void()>& restarted)
    : bus_{bus} {
  const auto keep = [this](Result<BusSubscription> subscription) {
    if (subscription) {  // without it a change is seen later, with the next look
      subscriptions_.push_back(std::move(*subscription));
    }
  };
  for (const char* service : {networkmanager_name, resolved}) {
    keep(bus_.watch_name(service, [restarted](const std::string&) { restarted(); }));
  }
  for (const auto& [service, path, interface] : {std::tuple{networkmanager_name, dns_manager_path, dns_manager},
                                                 std::tuple{resolved, resolved_path, resolved_manager}}) {
    keep(bus_.subscribe({.sender = service,
                         .path = path,
                         .interface = properties,
                         .member = "PropertiesChanged",
                         .first_argument = interface},
                        [changed](const BusNotice&) { changed(); }));
  }
  // NetworkManager's own object says much that has nothing to do with names.
  keep(bus_.subscribe({.sender = networkmanager_name,
                       .path = networkmanager_path,
                       .interface = properties,
                       .member = "PropertiesChanged",
                       .first_argument = networkmanager_name,
                       .signature = "sa{sv}"},
                      [changed](const BusNotice& notice) {
                        if (find(notice.arguments.at(1), "GlobalDnsConfiguration") != nullptr) {
                          changed();
                        }
                      }));
}

void DnsServices::ask(Answer answer) {
  auto questions = std::make_shared<Questions>();
  questions->answer = std::move(answer);
  questions->open = 1;
  ask_networkmanager(questions);
  ask_resolved(questions);
  questions->close();
}

void DnsServices::ask_networkmanager(const std::shared_ptr<Questions>& questions) {
  const auto ask_for = [&](const BusCall& call, std::function<void(const BusValue&)> take) {
    ++questions->open;
    const auto sent = bus_.call_async(call, [questions, take = std::move(take)](const Result<BusValues>& values) {
      const auto* value = values ? inside(values->at(0)) : nullptr;
      if (value != nullptr) {
        take(*value);
      } else {
        questions->manager_there = false;
      }
      if (!values) {
        questions->note(values.error());
      }
      questions->close();
    });
    if (!sent) {
      questions->manager_there = false;
      --questions->open;
    }
  };
  auto& manager = questions->manager;  // lives as long as the questions, which the callbacks hold
  ask_for(get_property(networkmanager_name, dns_manager_path, dns_manager, "Mode"),
          [&manager](const BusValue& value) { manager.mode = text_of(&value); });
  ask_for(get_property(networkmanager_name, dns_manager_path, dns_manager, "RcManager"),
          [&manager](const BusValue& value) { manager.rc_manager = text_of(&value); });
  ask_for(get_property(networkmanager_name, networkmanager_path, networkmanager_name, "GlobalDnsConfiguration"),
          [&manager](const BusValue& value) { manager.global = global_of(value); });
}

void DnsServices::ask_resolved(const std::shared_ptr<Questions>& questions) {
  const auto ask_for = [&](const char* name, void (*add)(std::vector<ResolvedLink>&, const BusValue&)) {
    ++questions->open;
    const auto sent = bus_.call_async(get_property(resolved, resolved_path, resolved_manager, name),
                                      [questions, add](const Result<BusValues>& values) {
                                        const auto* value = values ? inside(values->at(0)) : nullptr;
                                        if (value != nullptr) {
                                          add(questions->links, *value);
                                        } else {
                                          questions->resolved_there = false;
                                        }
                                        if (!values) {
                                          questions->note(values.error());
                                        }
                                        questions->close();
                                      });
    if (!sent) {
      questions->resolved_there = false;
      --questions->open;
    }
  };
  ask_for("DNS", add_servers);
  ask_for("Domains", add_domains);
}

}  // namespace killswitch::sense
