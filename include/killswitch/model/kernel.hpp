// What this kernel's nf_tables can do (probed, never assumed), and what it was last seen to hold.
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::model {

struct KernelFeatures {
  bool owner{false};    ///< NFT_TABLE_F_OWNER: other programs cannot touch the table while its socket lives
  bool persist{false};  ///< NFT_TABLE_F_PERSIST: the table outlives its owner
  bool fib{false};      ///< `fib daddr . iif type`
  bool socket{false};   ///< `socket mark`: which packets are for a marked socket
  bool egress{false};   ///< the netdev egress hook: packet sockets, bridges, macvlan
  bool log{false};      ///< nflog: questions for servers' names, and answers, are told
  bool grows{false};    ///< an egress chain that exists takes further devices (Linux 6.4)
  bool ahead{false};  ///< … and names of devices that do not exist yet, which it covers when they appear (Linux 6.16)
  bool operator==(const KernelFeatures&) const = default;
};

/// How our tables are held at the moment.
enum class Ownership : std::uint8_t {
  none,           ///< there is no table of ours
  plain,          ///< any program can take them away
  owner,          ///< no other program can, but they vanish with the owning socket
  owner_twin,     ///< … and then the plain twin stays
  owner_persist,  ///< no other program can, and they stay without the socket
};
[[nodiscard]] std::string_view to_string(Ownership ownership);

/// What was read back after an apply.
struct Observation {
  bool present{false};  ///< our table exists
  Ownership ownership{Ownership::none};
  Ruleset ruleset;  ///< decoded from the kernel's own dump
  std::map<std::string, CounterValue> counters;
  std::vector<std::string> differences;  ///< from what was wanted, in words; empty: verified
  bool operator==(const Observation&) const = default;
};

/// One change of our tables that was not ours.
struct Touch {
  std::string program;   ///< as the kernel names it (15 bytes at most); empty: nobody saw who it was
  std::uint32_t pid{0};  ///< of the program in its PID namespace; 0: unknown
  std::string what;      ///< in words: "inet killswitch: table deleted"
  bool operator==(const Touch&) const = default;
};

/// What others did to our tables since the daemon started. What the kernel refused is not among it: nobody is told.
struct Tampering {
  struct Last {
    std::chrono::sys_seconds time{};
    Touch touch;
    bool operator==(const Last&) const = default;
  };
  std::uint64_t attempts{0};  ///< changes that were seen
  std::uint64_t repaired{0};  ///< of these, how many were made good: the kernel was read and held our rules again
  std::optional<Last> last;
  bool operator==(const Tampering&) const = default;
};

}  // namespace killswitch::model
