// Names are asked for in the tunnel: tells those who were chosen (decide/dns_owner), keeps on disk what was there
// before, and gives it back. Knows nothing of what is found afterwards: whether it holds is what sense/dns sees.
#pragma once

#include "killswitch/model/effect.hpp"
#include "killswitch/model/event.hpp"
#include "killswitch/os/bus.hpp"
#include "killswitch/os/event_loop.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace killswitch::enforce {

struct DnsPlaces {
  std::string journal;
  std::string resolv_conf{model::resolv_conf_path};
  /// Where NetworkManager keeps what was set over D-Bus.
  std::string networkmanager_state{"/var/lib/NetworkManager/NetworkManager-intern.conf"};
};

class Dns {
public:
  /// @param report gets DnsEngaged, DnsApplied and DnsRestored
  Dns(os::EventLoop& loop, DnsPlaces places, std::function<void(model::Event)> report);

  /// Takes up the journal of an earlier run, if there is one.
  [[nodiscard]] Outcome resume();
  /// @param bus must outlive this object or the next call; nullptr: there is none
  void use_bus(os::Bus* bus);

  /// Tells the backends that are to be told, one after the other. A later call, or `restore`, takes the place of one
  /// that is under way.
  void apply(const model::ApplyDns& request);
  /// What is in the journal is put back; with it done, the journal goes.
  void restore();

  Dns(const Dns&) = delete;  // callbacks point here
  Dns& operator=(const Dns&) = delete;

private:
  struct Round;
  [[nodiscard]] bool too_often();
  void start(const std::shared_ptr<Round>& round);
  void next(const std::shared_ptr<Round>& round);
  void note(const std::shared_ptr<Round>& round, model::DnsBackend backend, const Outcome& outcome);
  [[nodiscard]] Outcome keep(const model::DnsJournal& journal);
  void give_back_networkmanager();
  void give_back_resolved();
  void finish_restore();

  os::EventLoop& loop_;
  DnsPlaces places_;
  std::function<void(model::Event)> report_;
  os::Bus* bus_{nullptr};
  std::shared_ptr<Round> round_;  ///< the one that is under way; others have no say any more
  std::optional<model::DnsJournal> journal_;
  std::vector<std::string> problems_;  ///< of the restore that is under way
  std::chrono::steady_clock::time_point window_{};
  unsigned in_window_{0};
  os::EventSource later_;
};

/// The same without a daemon: files at once, services only if `bus` is there (it is waited for, at most 2 s a call).
/// @return an error that says what is still to be given back; the journal stays then.
[[nodiscard]] Outcome restore_dns(const DnsPlaces& places, os::Bus* bus);

}  // namespace killswitch::enforce
