// Whose /etc/resolv.conf it is, what it is to say, and what was there before. Found by sense, decided by
// decide/dns_owner, carried out by enforce/dns.
#pragma once

#include "killswitch/model/address.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::model {

/// Who is told of the resolvers. With resolvconf or openresolv, `file` takes the place of what they made.
enum class DnsBackend : std::uint8_t {
  file,            ///< /etc/resolv.conf itself
  networkmanager,  ///< GlobalDnsConfiguration; NetworkManager writes the file
  resolved,        ///< systemd-resolved, per link over D-Bus
};
[[nodiscard]] std::string_view to_string(DnsBackend backend);

/// A name in the file system as it was found: enough to put the same there again.
struct FileCopy {
  enum class Kind : std::uint8_t { absent, regular, symlink, other } kind{Kind::absent};
  std::string target;     ///< of a symbolic link
  std::string content;    ///< of the file, behind the link if it is one
  std::uint32_t mode{0};  ///< permission bits of the file
  std::uint32_t user{0};  ///< its owner
  std::uint32_t group{0};
  bool operator==(const FileCopy&) const = default;
};

struct ResolvConf {
  FileCopy file;
  std::string real_path;    ///< where the name leads in the end; empty: nowhere
  bool mount_point{false};  ///< mounted over: it cannot be replaced, only written
  bool immutable{false};    ///< chattr +i
  bool operator==(const ResolvConf&) const = default;
};

/// NetworkManager's GlobalDnsConfiguration.
/// @source org.freedesktop.NetworkManager(5)
struct GlobalDns {
  struct Domain {
    std::vector<std::string> servers;
    std::vector<std::string> options;
    bool operator==(const Domain&) const = default;
  };
  std::vector<std::string> searches;
  std::vector<std::string> options;
  std::map<std::string, Domain> domains;  ///< "*": all others
  bool operator==(const GlobalDns&) const = default;
};

/// DnsManager's properties; read only while NetworkManager is on the bus.
struct NetworkManagerDns {
  std::string mode;        ///< "default", "none", "dnsmasq", "systemd-resolved", …
  std::string rc_manager;  ///< "symlink", "file", "unmanaged", "immutable", …
  GlobalDns global;
  bool operator==(const NetworkManagerDns&) const = default;
};

/// What systemd-resolved knows of one link; index 0 is its own configuration.
struct ResolvedLink {
  IfIndex index;
  std::vector<IpAddress> servers;
  std::vector<std::pair<std::string, bool>> domains;  ///< name, routing only
  bool operator==(const ResolvedLink&) const = default;
};

struct DnsFacts {
  ResolvConf resolv_conf;
  std::optional<NetworkManagerDns> networkmanager;    ///< nothing: not on the bus
  std::optional<std::vector<ResolvedLink>> resolved;  ///< sorted by index; nothing: not on the bus
  std::uint32_t restarts{0};  ///< how often one of them came or went: it may have forgotten what it was told
  bool operator==(const DnsFacts&) const = default;
};

/// What is to hold: who is told, and what.
struct DnsSetup {
  std::vector<DnsBackend> backends;  ///< in the order in which they are told
  IfIndex tunnel;
  std::vector<IpAddress> servers;
  std::vector<std::string> search_domains;
  bool operator==(const DnsSetup&) const = default;
};

/// What was there before, kept on disk before anything is changed. A part that is empty was not changed.
struct DnsJournal {
  DnsSetup setup;                           ///< what was asked for last
  std::optional<FileCopy> resolv_conf;      ///< as it was when the first backend began
  bool file_replaced{false};                ///< by us, not by a program that was told
  std::optional<GlobalDns> networkmanager;  ///< the value before ours
  std::vector<ResolvedLink> resolved;       ///< links whose servers and domains were taken away
  bool operator==(const DnsJournal&) const = default;
};

/// The part of the world that concerns names.
struct DnsWorld {
  std::optional<DnsFacts> facts;     ///< nothing: nobody has looked yet
  std::optional<DnsSetup> setup;     ///< asked for; stays while the tunnel is down
  std::vector<std::string> reasons;  ///< why these backends, as of when resolv.conf was not ours yet; empty: not seen
  bool engaged{false};               ///< something was changed and is to be given back
  enum class Activity : std::uint8_t { idle, applying, restoring } activity{Activity::idle};
  bool stalled{false};              ///< it did not work; tried again when something changes, or after a while
  bool was_confirmed{false};        ///< the setup was seen to hold since it was asked for
  std::vector<DnsBackend> unfit;    ///< told, and it did not do; until the services or the tunnel change
  std::uint32_t failures{0};        ///< in a row, of what may pass
  std::string error;                ///< of the last change; empty: none
  std::uint64_t foreign_writes{0};  ///< undone since the start
  std::chrono::sys_seconds last_foreign_write{};
  bool operator==(const DnsWorld&) const = default;
};

/// The addresses behind `nameserver` in a resolv.conf, in its order; what is no address stands there as it was written.
/// @source resolv.conf(5): what is not understood is passed over
[[nodiscard]] std::vector<std::string> nameservers_of(std::string_view resolv_conf);

/// Where resolv.conf is, and how many resolvers of it the C library reads.
inline constexpr const char* resolv_conf_path = "/etc/resolv.conf";
inline constexpr std::size_t resolver_limit = 3;  // MAXNS in <resolv.h>

}  // namespace killswitch::model
