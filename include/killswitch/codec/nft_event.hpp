// What the kernel tells about changes of its ruleset (NFNLGRP_NFTABLES): which of them touched our tables, how, and who
// did it.
//
// A transaction arrives as messages about each thing that changed, and then one about the new generation, which names
// the program. They may come in any number of datagrams. Only headers and names are looked at: a program that changes
// its own tables all day costs next to nothing. What the kernel refused (EPERM, a table that is owned) is not told by
// it, to anybody.
// @source Linux net/netfilter/nf_tables_api.c (nft_commit_notify, nf_tables_gen_notify)
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/kernel.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

struct nlmsghdr;

namespace killswitch::codec {

class NftEventDecoder {
public:
  /// @param own_port netlink port of the socket whose changes are our own and not told
  explicit NftEventDecoder(std::uint32_t own_port) : own_port_{own_port} {}

  /// Takes one datagram, which starts at a multiple of four bytes.
  /// @return the transactions that ended in it and touched our tables; an error when its lengths do not add up
  [[nodiscard]] Result<std::vector<model::Touch>> feed(std::span<const std::uint8_t> datagram);

  /// Notifications were lost: what has begun is not finished.
  void forget() { begun_.reset(); }

private:
  struct Begun {
    model::Touch touch;
    int weight{0};  ///< of what `touch` tells, so that the worst of a transaction is told
  };
  void change(const nlmsghdr& message);
  [[nodiscard]] std::optional<model::Touch> finish(const nlmsghdr& message);

  std::uint32_t own_port_;
  std::optional<Begun> begun_;
};

}  // namespace killswitch::codec
