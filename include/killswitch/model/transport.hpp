// The encrypted transport's processes: which programs can be proven to be OpenVPN (or a helper that carries it), what
// the kernel shows of a process, and what was proven. Read by sense/processes, judged by decide/transport.
#pragma once

#include "killswitch/model/endpoint.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

/// A program whose sockets may carry the transport, once a process that runs it is proven.
struct TransportProgram {
  std::string path;  ///< absolute; symbolic links are followed when it is looked at
  std::string user;  ///< the system user that it may run as besides root; empty: root alone
  auto operator<=>(const TransportProgram&) const = default;
};

/// PATH or PATH:USER, as `--transport-program` takes it.
[[nodiscard]] Result<TransportProgram> parse_transport_program(std::string_view text);
[[nodiscard]] std::string to_string(const TransportProgram& program);

/// Identity of a file: names can be replaced, these cannot while the file is in use. @source stat(2)
struct FileId {
  std::uint64_t device{0};
  std::uint64_t inode{0};
  auto operator<=>(const FileId&) const = default;
};

/// The file that a trusted program's path leads to at the moment.
struct ProgramFile {
  TransportProgram program;
  FileId file;
  std::optional<std::uint32_t> uid;  ///< of `program.user`; nothing: none was named, or there is no such user
  std::string untrusted;  ///< why the file cannot be trusted (an unprivileged user can write it); empty: it can
  bool operator==(const ProgramFile&) const = default;
};

/// What /proc shows of one process.
/// @source proc(5), /proc/PID/status, /proc/PID/ns
struct ProcessFacts {
  std::uint32_t pid{0};
  FileId executable;
  std::array<std::uint32_t, 4> uids{};  ///< real, effective, saved, file system
  std::uint64_t effective_capabilities{0};
  bool same_user_namespace{false};  ///< as the daemon's, so that user IDs and capabilities mean the same
  bool same_network_namespace{false};
  std::uint32_t tracer{0};  ///< pid of the process that traces it; 0: none
  bool operator==(const ProcessFacts&) const = default;
};

/// Both ends of a TCP connection of this machine with itself, as one of its sockets has them.
struct LocalConnection {
  Endpoint own;
  Endpoint peer;
  auto operator<=>(const LocalConnection&) const = default;
};

/// A process that was proven, until it ends.
struct TransportProcess {
  std::uint32_t pid{0};
  std::string program;                 ///< path of the trusted program that it runs
  std::vector<Endpoint> endpoints;     ///< where its marked sockets' packets were seen to go to, the latest last
  std::vector<IfIndex> tunnels;        ///< tun and tap devices that it holds open, sorted
  std::vector<LocalConnection> local;  ///< looked at only where helpers are named: which of them serves which OpenVPN
  bool operator==(const TransportProcess&) const = default;
};

/// The part of the world that concerns the transport's processes.
struct TransportWorld {
  std::map<std::uint32_t, TransportProcess> processes;  ///< by pid
  std::string unavailable;                              ///< why no process can be proven here; empty: it can
  std::string refused;  ///< why the last process that used a pinned endpoint was not proven; empty: none was refused
  std::vector<std::string> refusals_logged;  ///< the latest last; so that each is logged once
  std::chrono::sys_seconds refusals_since{};
  std::uint32_t refusals_count{0};  ///< logged since then
  bool operator==(const TransportWorld&) const = default;
};

/// An interface that may be the tunnel; a process that opens it changes its addresses.
struct TunnelCandidate {
  IfIndex index;
  std::vector<InterfaceAddress> addresses;
  bool operator==(const TunnelCandidate&) const = default;
};

/// What the prover is to look for.
struct TransportSearch {
  std::vector<TransportProgram> programs;
  std::vector<Endpoint> endpoints;  ///< sorted
  std::uint32_t mark{0};
  std::vector<TunnelCandidate> tunnels;  ///< sorted by index
  bool helpers{false};                   ///< programs were named that carry an OpenVPN of this machine
  bool operator==(const TransportSearch&) const = default;
};

/// The nflog group that copies of packets to pinned endpoints go to, and how those of unmarked sockets, which are then
/// dropped, are told from those of marked ones.
inline constexpr std::uint16_t transport_group = 0x6b75;
inline constexpr const char* unmarked_prefix = "unmarked";
inline constexpr const char* marked_prefix = "marked";

}  // namespace killswitch::model
