// A second handle on a netlink socket that another process holds. nf_tables belong to a socket, not to a process: when
// its daemon is dead the service manager still keeps it, and whoever is to open the machine needs that very socket.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/os/fd.hpp"

#include <cstdint>

namespace killswitch::os {

/// Duplicates the socket of `protocol` (NETLINK_NETFILTER) with the port `port_id` from whichever process has it. Needs
/// CAP_SYS_PTRACE, and Linux 5.6.
/// @return an error that names the process, or says that none here has it
/// @source pidfd_getfd(2), Linux net/netlink/af_netlink.c (netlink_native_seq_show)
[[nodiscard]] Result<Fd> borrow_netlink_socket(int protocol, std::uint32_t port_id);

}  // namespace killswitch::os
