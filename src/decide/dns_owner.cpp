#include "killswitch/decide/dns_owner.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::decide {
namespace {

using namespace model;
using Names = std::vector<std::string>;

Names texts_of(const std::vector<IpAddress>& addresses) {
  Names texts;
  for (std::size_t i = 0; i < addresses.size() && i < resolver_limit; ++i) {
    texts.push_back(to_string(addresses[i]));
  }
  return texts;
}

bool is_below(std::string_view path, std::string_view directory) {
  return path.starts_with(directory);
}

bool has(const std::vector<DnsBackend>& backends, DnsBackend backend) {
  return std::find(backends.begin(), backends.end(), backend) != backends.end();
}

/// Every name is asked for at systemd-resolved's own addresses.
/// @source systemd-resolved.service(8)
bool names_the_stub(const DnsFacts& facts) {
  const auto names = nameservers_of(facts.resolv_conf.file.content);
  return !names.empty() && std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return name == "127.0.0.53" || name == "127.0.0.54";
  });
}

/// Why NetworkManager cannot do it; empty: it writes the file.
std::string why_not_networkmanager(const DnsFacts& facts) {
  const auto& manager = *facts.networkmanager;
  const auto& found = facts.resolv_conf;
  if (manager.mode == "none" || manager.rc_manager == "unmanaged") {
    return "NetworkManager leaves resolv.conf alone";
  }
  if (manager.mode == "systemd-resolved") {
    return "NetworkManager leaves names to systemd-resolved";
  }
  if (manager.rc_manager == "immutable" || found.immutable) {
    return "resolv.conf is immutable, NetworkManager cannot write it";
  }
  if (found.mount_point) {
    return "resolv.conf is a mount point, NetworkManager cannot replace it";
  }
  const bool leads_elsewhere = found.file.kind == FileCopy::Kind::symlink &&
                               !is_below(found.real_path, "/run/NetworkManager/") &&
                               found.real_path != resolv_conf_path;
  if (leads_elsewhere && manager.rc_manager == "symlink") {
    return fmt::format("resolv.conf leads to {}, which NetworkManager does not write", found.real_path);
  }
  return "";
}

std::string file_words(const DnsFacts& facts) {
  const auto& found = facts.resolv_conf;
  const auto manner = found.mount_point ? "it is a mount point and is written in place" : "it is replaced";
  if (is_below(found.real_path, "/run/resolvconf/") || is_below(found.real_path, "/etc/resolvconf/")) {
    return fmt::format("resolv.conf is resolvconf's: {}, and the link comes back afterwards", manner);
  }
  switch (found.file.kind) {
    case FileCopy::Kind::absent: return "there is no resolv.conf: it is made, and taken away afterwards";
    case FileCopy::Kind::symlink:
      return fmt::format("resolv.conf is a link to {}: {}", printable(found.file.target), manner);
    case FileCopy::Kind::regular: return fmt::format("resolv.conf is a plain file: {}", manner);
    case FileCopy::Kind::other: break;
  }
  return "resolv.conf is neither a file nor a link";
}

std::string file_difference(const DnsFacts& facts, const Names& wanted) {
  const auto found = nameservers_of(facts.resolv_conf.file.content);
  if (found == wanted) {
    return "";
  }
  return fmt::format("resolv.conf names {}, not {}", found.empty() ? "no resolver" : join(found, ", "),
                     join(wanted, ", "));
}

std::string networkmanager_difference(const DnsFacts& facts, const DnsSetup& setup) {
  if (!facts.networkmanager) {
    return "NetworkManager is not running";
  }
  if (facts.networkmanager->global != global_dns(setup)) {
    return "NetworkManager's global DNS configuration is not ours";
  }
  const auto found = nameservers_of(facts.resolv_conf.file.content);
  const bool asks_itself =
      !found.empty() && std::all_of(found.begin(), found.end(), [](const auto& name) { return name == "127.0.0.1"; });
  if (facts.networkmanager->mode != "default" && asks_itself) {
    return "";  // a forwarder of NetworkManager's own, which has been told
  }
  return file_difference(facts, texts_of(setup.servers));
}

std::string resolved_difference(const DnsFacts& facts, const DnsSetup& setup) {
  if (!facts.resolved) {
    return "systemd-resolved is not running";
  }
  bool told = false;
  for (const auto& link : *facts.resolved) {
    if (link.index == setup.tunnel) {
      const bool all = std::any_of(link.domains.begin(), link.domains.end(),
                                   [](const auto& domain) { return domain.first == "." && domain.second; });
      told = all && link.servers == setup.servers;
    } else if (link.index.number != 0 && (!link.servers.empty() || !link.domains.empty())) {
      return fmt::format("systemd-resolved would ask for names on interface {} as well", link.index.number);
    }
  }
  return told ? "" : "systemd-resolved does not ask the tunnel's resolvers for every name";
}

}  // namespace

GlobalDns global_dns(const DnsSetup& setup) {
  GlobalDns global;
  global.searches = setup.search_domains;
  global.domains["*"].servers = texts_of(setup.servers);
  return global;
}

DnsPlan plan_dns(const DnsFacts& facts, const std::vector<DnsBackend>& unfit) {
  DnsPlan plan;
  const bool resolved = facts.resolved && !has(unfit, DnsBackend::resolved);
  if (resolved) {
    plan.backends.push_back(DnsBackend::resolved);
    if (names_the_stub(facts)) {
      plan.reasons.emplace_back("resolv.conf names systemd-resolved, which is running");
      return plan;
    }
    plan.reasons.emplace_back("systemd-resolved is running, and programs may ask it beside resolv.conf");
  }
  if (facts.networkmanager && !has(unfit, DnsBackend::networkmanager)) {
    auto obstacle = why_not_networkmanager(facts);
    if (obstacle.empty()) {
      plan.backends.push_back(DnsBackend::networkmanager);
      plan.reasons.emplace_back("NetworkManager writes resolv.conf");
      return plan;
    }
    plan.reasons.push_back(std::move(obstacle));
  } else if (facts.networkmanager) {
    plan.reasons.emplace_back("NetworkManager was told, but resolv.conf did not change");
  }
  plan.backends.push_back(DnsBackend::file);
  plan.reasons.push_back(file_words(facts));
  return plan;
}

std::string dns_difference(const DnsFacts& facts, const DnsSetup& setup) {
  for (const auto backend : setup.backends) {
    std::string difference;
    switch (backend) {
      case DnsBackend::file: difference = file_difference(facts, texts_of(setup.servers)); break;
      case DnsBackend::networkmanager: difference = networkmanager_difference(facts, setup); break;
      case DnsBackend::resolved: difference = resolved_difference(facts, setup); break;
    }
    if (!difference.empty()) {
      return difference;
    }
  }
  return "";
}

std::optional<DnsSetup> wanted_dns(const World& world) {
  if (!world.enabled || !world.dns.facts) {
    return std::nullopt;
  }
  const auto plan = plan_dns(*world.dns.facts, world.dns.unfit);
  if (world.trusted) {
    auto resolvers = judge_resolvers(world).accepted;
    if (!resolvers.empty()) {
      return DnsSetup{plan.backends, world.trusted->index, std::move(resolvers), world.trusted->report.search_domains};
    }
  }
  if (!world.dns.setup) {
    return std::nullopt;
  }
  // The tunnel is down: names stay as they are. With systemd-resolved the settings went with the interface, and what
  // it asks elsewhere the firewall refuses.
  auto setup = *world.dns.setup;
  setup.backends = plan.backends;
  std::erase(setup.backends, DnsBackend::resolved);
  return setup;
}

bool is_dns_confirmed(const World& world) {
  const auto resolvers = judge_resolvers(world).accepted;
  if (resolvers.empty()) {
    return true;
  }
  const auto& dns = world.dns;
  return dns.facts && dns.setup && dns.setup->servers == resolvers && dns_difference(*dns.facts, *dns.setup).empty();
}

}  // namespace killswitch::decide
