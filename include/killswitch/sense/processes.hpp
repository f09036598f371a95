// Reads from /proc what proves a process to be OpenVPN, and which sockets and tunnel devices it holds. What follows
// from it is decided elsewhere (decide/transport). A process that ends meanwhile shows nothing; whoever uses what was
// read looks at a pidfd that was opened before.
// @source proc(5); Linux drivers/net/tun.c, tun_chr_show_fdinfo()
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/transport.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::sense {

/// The file that the process runs; nothing: it has ended, or is a thread of the kernel.
[[nodiscard]] std::optional<model::FileId> executable_of(std::uint32_t pid);

/// Calls `visit` with every process of this network namespace whose executable is one of `files`, the youngest first,
/// until it returns true. One stat(2) a process.
void find_processes(const std::vector<model::ProgramFile>& files, const std::function<bool(std::uint32_t pid)>& visit);

[[nodiscard]] Result<model::ProcessFacts> read_process(std::uint32_t pid);

/// The descriptor of the process that is the socket with this inode.
[[nodiscard]] std::optional<int> find_descriptor(std::uint32_t pid, std::uint32_t inode);

/// Descriptors of the process that are sockets, or of which that cannot be read.
[[nodiscard]] std::vector<int> socket_descriptors(std::uint32_t pid);

/// The tun and tap devices that it holds open (`iff:` in its fdinfo), sorted.
[[nodiscard]] std::vector<model::IfIndex> held_tunnels(std::uint32_t pid);

/// Why no process can be proven on this machine, in words; empty: it can.
[[nodiscard]] std::string why_no_proof();

/// The files that `programs` lead to at the moment, and whether an unprivileged user can change them: every folder on
/// the way, followed through symbolic links, must be root's and writable by nobody else, and so must the file.
[[nodiscard]] std::vector<model::ProgramFile> inspect_programs(const std::vector<model::TransportProgram>& programs);

}  // namespace killswitch::sense
