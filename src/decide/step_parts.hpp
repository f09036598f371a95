// Parts of `step`: what OpenVPN says, what is asked for, the trial, tampering and names. Private to this folder.
#pragma once

#include "killswitch/model/effect.hpp"
#include "killswitch/model/event.hpp"
#include "killswitch/model/world.hpp"

#include <chrono>
#include <vector>

namespace killswitch::decide {

using Effects = std::vector<model::Effect>;

/// The lock with these settings; no trial.
void enable_with(model::World& world, model::Settings settings, std::chrono::sys_seconds now, Effects& effects);
void disable(model::World& world, std::chrono::sys_seconds now, Effects& effects);
void on_trial(model::World& world, const model::TrialConfirmed& event, Effects& effects);
void on_trial(model::World& world, const model::TrialTime& event, Effects& effects);

/// Answers what OpenVPN asked while no server was known.
void answer_waiting(model::World& world, Effects& effects);
/// An answer to a question for a server's name: its addresses join those that are known, and are kept for the next
/// boot.
void learn_server(model::World& world, const model::ServerNameAnswered& answer, std::chrono::sys_seconds now,
                  Effects& effects);
void forget_report(model::World& world);
void on_management(model::World& world, const model::ManagementOpened& event, Effects& effects);
void on_management(model::World& world, const model::ManagementClosed& event, Effects& effects);
void on_management(model::World& world, const model::ManagementReceived& event, Effects& effects);

void on_networkmanager(model::World& world, const model::NetworkManagerFound& event);
void on_transport(model::World& world, const model::TransportProven& event, Effects& effects);
void on_transport(model::World& world, const model::TransportEnded& event);
void on_transport(model::World& world, const model::TransportRefused& event, std::chrono::sys_seconds now,
                  Effects& effects);
void on_transport(model::World& world, const model::TransportProofUnavailable& event, Effects& effects);

/// Another program changed our tables: what was observed is void.
void on_tampering(model::World& world, const model::RulesetTouched& event, std::chrono::sys_seconds now,
                  Effects& effects);
/// The kernel was read: what others did is made good, or seen only now.
void on_observed(model::World& world, const model::FirewallObserved& event, std::chrono::sys_seconds now,
                 Effects& effects);
void on_dns(model::World& world, const model::DnsFound& event, Effects& effects);
void on_dns(model::World& world, const model::DnsEngaged& event, Effects& effects);
void on_dns(model::World& world, const model::DnsApplied& event, Effects& effects);
void on_dns(model::World& world, const model::DnsRestored& event, Effects& effects);
void on_dns(model::World& world, const model::DnsRetryDue& event, Effects& effects);
void on_route(model::World& world, const model::ServerRouteFound& event);
void on_route(model::World& world, const model::HostRouteChanged& event, Effects& effects);
/// Names follow from the facts as trust does.
void renew_dns(model::World& world, std::chrono::sys_seconds now, Effects& effects);
/// So does the way to the server.
void renew_route(model::World& world, std::chrono::sys_seconds now, Effects& effects);

}  // namespace killswitch::decide
