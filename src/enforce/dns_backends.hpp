// One file a backend: how it is told, and how it gets back what it had. Private to this folder.
#pragma once

#include "killswitch/enforce/dns.hpp"
#include "killswitch/model/dns.hpp"

#include <functional>
#include <string>
#include <vector>

namespace killswitch::enforce {

using Told = std::function<void(Outcome)>;

constexpr std::chrono::milliseconds dns_timeout{2000};

// -- dns_file.cpp
[[nodiscard]] Outcome write_resolv_conf(const DnsPlaces& places, const model::DnsSetup& setup);
/// @param replaced by us; else another program wrote it and it is only set right when that program is gone
[[nodiscard]] Outcome restore_resolv_conf(const DnsPlaces& places, const model::FileCopy& before, bool replaced);

// -- dns_networkmanager.cpp
[[nodiscard]] std::vector<os::BusCall> networkmanager_calls(const model::GlobalDns& global);
/// NetworkManager does not run: what it kept of ours is taken out of its file.
[[nodiscard]] Outcome clean_networkmanager_state(const DnsPlaces& places);

// -- dns_resolved.cpp
[[nodiscard]] std::vector<os::BusCall> resolved_calls(const model::DnsSetup& setup,
                                                      const std::vector<model::ResolvedLink>& others);
[[nodiscard]] std::vector<os::BusCall> resolved_restore_calls(const model::DnsJournal& journal);

/// A service that answers with an error has been asked for what is not there any more (a link): what is to be given
/// back to nobody is given back.
enum class Refusals { matter, are_passed_over };
/// All of them at once, in this order. Tells when the last is answered, with the first failure.
void call_all(os::Bus* bus, const std::vector<os::BusCall>& calls, Refusals refusals, Told told);

}  // namespace killswitch::enforce
