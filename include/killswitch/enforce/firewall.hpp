// The hand on the kernel's nf_tables: puts a ruleset into the kernel in one transaction, and reads it back.
//
// One netlink socket owns our tables for as long as any copy of it is open; the service manager keeps such a copy, so
// that they stay owned while the daemon is dead. Nothing here decides what the rules are, and nothing here takes them
// away but `remove`: the destructor only closes. A refused transaction leaves the rules that were in force.
// @source Linux net/netfilter/nf_tables_api.c
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/codec/nft_batch.hpp"
#include "killswitch/codec/nft_dump.hpp"
#include "killswitch/model/kernel.hpp"
#include "killswitch/os/fd.hpp"
#include "killswitch/os/netlink_socket.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::enforce {

struct ApplyReport {
  enum class Kind : std::uint8_t {
    unchanged,  ///< the kernel was verified to hold it already: nothing was sent
    elements,   ///< only elements of sets were exchanged
    full,       ///< all rules were replaced
  };
  Kind kind{Kind::unchanged};
  bool operator==(const ApplyReport&) const = default;
};

class Firewall {
public:
  /// Opens the socket and finds out what this kernel can do. Touches no table.
  /// @param instead of what the kernel was found to do, as if it could do less: for tests alone
  [[nodiscard]] static Result<Firewall> open(std::optional<model::KernelFeatures> instead = std::nullopt);
  /// Goes on with the socket of the process before us, and so with its ownership of the tables.
  [[nodiscard]] static Result<Firewall> adopt(os::Fd socket_from_service_manager);

  [[nodiscard]] const model::KernelFeatures& features() const { return features_; }

  /// Makes the kernel hold exactly `desired`. The first call of a process believes nothing and replaces all; later ones
  /// send as little as the last verified `read_back` allows.
  /// A device that is gone by now keeps nothing else from being closed: its place is left out, which `read_back` tells.
  /// @return an error that names the rule the kernel refused, or who holds the table (EPERM)
  [[nodiscard]] Result<ApplyReport> apply(const model::Ruleset& desired);

  /// Another program changed our tables: the next `apply` looks at what is there before it replaces all.
  void distrust() {
    picture_.reset();
    verified_.reset();
  }

  /// What the kernel holds, compared with `wanted`: no differences means verified.
  [[nodiscard]] Result<model::Observation> read_back(const model::Ruleset& wanted);
  /// What the kernel holds, compared with nothing; `differences` has only what could not be understood.
  [[nodiscard]] Result<model::Observation> read();
  [[nodiscard]] Result<std::map<std::string, model::CounterValue>> read_counters();

  /// The port of another socket that owns one of our tables; nothing: no other does.
  [[nodiscard]] Result<std::optional<std::uint32_t>> foreign_owner();

  /// Deletes our tables: for `disable` alone. Tables that are not there are no error.
  [[nodiscard]] Outcome remove();

  /// For the service manager's store, and to see whether the socket is the one that owns.
  [[nodiscard]] int fd() const { return socket_.fd(); }
  [[nodiscard]] std::uint32_t port_id() const { return socket_.port_id(); }

private:
  /// What the kernel holds as far as we know.
  struct Picture {
    model::Ruleset ruleset;
    std::vector<codec::TablePlan> plans;  ///< how each table must be taken before it can be changed
    std::uint32_t generation{0};
    bool ours{false};  ///< nobody else can have changed it
  };
  struct Snapshot {
    model::Observation observation;
    std::vector<codec::HeldTable> held;
    std::uint32_t generation{0};
  };

  explicit Firewall(os::NetlinkSocket socket) : socket_{std::move(socket)} {}
  [[nodiscard]] static Result<Firewall> start(Result<os::NetlinkSocket> socket);
  [[nodiscard]] Outcome probe();

  [[nodiscard]] Result<Snapshot> snapshot();
  [[nodiscard]] Result<std::optional<Snapshot>> try_snapshot();
  [[nodiscard]] Outcome dump(codec::DumpDecoder& decoder, bool& interrupted, const codec::DumpScope& scope);
  [[nodiscard]] Result<std::uint32_t> generation();
  [[nodiscard]] Result<std::span<const std::uint8_t>> receive();

  [[nodiscard]] Outcome look();
  [[nodiscard]] std::uint32_t flags_for(std::string_view table) const;
  [[nodiscard]] codec::TablePlan plan_for(const codec::HeldTable& held, const model::Observation& seen) const;
  [[nodiscard]] std::vector<codec::TablePlan> plans_for(const model::Ruleset& desired) const;
  [[nodiscard]] Result<codec::Batch> encode(const model::Ruleset& desired, ApplyReport::Kind kind,
                                            std::optional<std::uint32_t> generation);
  [[nodiscard]] Result<ApplyReport::Kind> attempt(const model::Ruleset& desired);
  [[nodiscard]] Result<ApplyReport> commit(const model::Ruleset& desired);
  /// @return sequence number and errno of each refused message; none: committed
  [[nodiscard]] Result<std::vector<codec::KernelReply>> transact(const codec::Batch& batch);
  void skip_sequences(std::size_t count);

  os::NetlinkSocket socket_;
  model::KernelFeatures features_;
  std::optional<Picture> picture_;
  std::optional<model::Ruleset> verified_;
  std::vector<codec::EncodedRule> encoded_rules_;  ///< of the last transaction
};

}  // namespace killswitch::enforce
