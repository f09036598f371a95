// The daemon: wires the sensors, the decisions and the firewall together. Events queue up; when a wake-up is drained,
// the desired ruleset is computed and applied if it differs, here and nowhere else. Only then effects are carried out.
// Nothing in here opens the machine but `disable`: no destructor, no signal, no error path.
#pragma once

#include "killswitch/app/paths.hpp"
#include "killswitch/app/transport_prover.hpp"
#include "killswitch/enforce/dns.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "killswitch/model/effect.hpp"
#include "killswitch/model/event.hpp"
#include "killswitch/model/world.hpp"
#include "killswitch/os/bus.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/service_manager.hpp"
#include "killswitch/sense/ask_password.hpp"
#include "killswitch/sense/dns.hpp"
#include "killswitch/sense/links.hpp"
#include "killswitch/sense/networkmanager_vpn.hpp"
#include "killswitch/sense/openvpn.hpp"
#include "killswitch/sense/ruleset_watch.hpp"
#include "killswitch/sense/server_names.hpp"
#include "killswitch/sense/suspend.hpp"
#include "killswitch/serve/manager.hpp"

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace killswitch::app {

class Daemon {
public:
  /// The firewall socket is open and the lock file held by us; nothing is applied yet.
  [[nodiscard]] static Result<std::unique_ptr<Daemon>> create(os::EventLoop& loop, Paths paths);

  /// Reads the facts, brings the kernel in line with them, and starts to listen. Once.
  [[nodiscard]] Outcome start();

  Daemon(const Daemon&) = delete;  // the loop's callbacks point here
  Daemon& operator=(const Daemon&) = delete;

private:
  Daemon(os::EventLoop& loop, Paths paths, os::Fd lock, enforce::Firewall firewall, std::vector<os::NamedFd> stored);

  // Facts.
  void post(model::Event event) { queue_.push_back(std::move(event)); }
  void watch_ruleset();
  void catch_up();
  void restore_state();
  [[nodiscard]] bool kernel_holds_table();

  // The one place where decisions meet the kernel.
  void reconcile();
  [[nodiscard]] std::vector<model::Effect> drain_queue();
  void enforce();
  void enforce_enabled();
  void enforce_disabled();
  void cut_survivors();
  bool apply_and_observe();
  /// @return whether the kernel holds exactly what was applied
  bool observe();
  void retry_later();
  /// Sets the timer for the next question for the servers' names, where one is due.
  void plan_question();

  // Effects.
  void perform(const model::Effect& effect);
  void save();
  void wake_for_trial(std::chrono::seconds after);
  void save_later();
  void send(model::management::ConnectionId connection, std::string line);
  void ask_password(const model::AskPassword& request);
  void ask_secret(const model::AskPassword& request);

  // Names (daemon_names.cpp).
  void start_names();
  void watch_networkmanager();
  void use_bus(os::Bus* bus);
  void on_names(model::Event event);
  void retry_names_later();

  // The way to the server (daemon_route.cpp).
  void take_up_routes();
  void look_at_route();
  void change_route(const model::ChangeHostRoute& change);
  void retry_route_later();

  // Which processes carry the transport.
  void start_prover();

  // Requests.
  void watch_state_file();
  void start_openvpn_sensor();
  void on_openvpn(model::Event event);
  void connect_bus();
  void watch_suspend();
  [[nodiscard]] serve::Handlers handlers();
  [[nodiscard]] Result<std::string> enable(const serve::EnableCall& call);
  /// Writes down what enabling will leave in the state file, before anything is enforced.
  [[nodiscard]] Outcome save_ahead(const model::EnableRequested& request);
  [[nodiscard]] Result<std::string> confirm();
  void disable(const serve::Answer& answer);
  /// Answers those who wait for it, once names are given back or cannot be.
  void answer_disabled();
  [[nodiscard]] Result<std::string> resync();
  [[nodiscard]] std::string status_json();
  void announce();
  void on_state_file_changed();

  os::EventLoop& loop_;
  Paths paths_;
  os::Fd lock_;
  enforce::Firewall firewall_;
  std::vector<os::NamedFd> stored_;

  model::World world_;
  std::deque<model::Event> queue_;
  std::optional<model::Ruleset> applied_;  ///< nothing: the kernel's content is not known to be ours
  bool removed_{false};                    ///< disabled, and the table is known to be gone
  bool survivors_{false};                  ///< what was open before the lock is to be cut once it is verified
  std::string saved_;                      ///< what the state file holds, as far as we wrote it
  serve::Summary announced_;               ///< what was told last, on the bus and in the journal
  std::chrono::milliseconds retry_delay_{0};

  std::optional<sense::LinkSensor> links_;
  std::optional<model::ServerRouteQuestion> route_asked_;
  bool route_stale_{false};    ///< interfaces or routes changed since
  bool route_unknown_{false};  ///< the kernel did not answer
  os::EventSource route_retry_;
  std::optional<sense::RulesetWatch> ruleset_watch_;
  TransportProver prover_;
  std::optional<sense::OpenVpnSensor> openvpn_;
  std::unique_ptr<sense::ServerNameSensor> server_names_;  ///< null: the kernel cannot tell us of answers
  std::optional<std::chrono::sys_seconds> question_due_;
  os::EventSource question_;
  bool adopting_{false};  ///< connections that open now were kept by the service manager
  std::optional<sense::AskPassword> questions_;
  std::optional<os::Bus> bus_;
  std::optional<sense::NetworkManagerSensor> networkmanager_;  // after the bus, which it listens to
  std::optional<sense::DnsSensor> names_;                      // as well
  std::optional<enforce::Dns> dns_;
  std::optional<serve::Manager> manager_;
  std::optional<sense::SuspendWatch> suspend_;
  std::vector<os::EventSource> sources_;
  os::EventSource retry_;
  os::EventSource trial_;
  os::EventSource save_retry_;
  os::EventSource bus_retry_;
  int bus_attempts_{0};  ///< since there was a bus
  os::EventSource names_retry_;
  std::string bus_problem_;                       ///< said in the journal already
  std::vector<serve::Answer> waiting_for_names_;  ///< asked to disable
};

}  // namespace killswitch::app
