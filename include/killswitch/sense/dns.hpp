// Sees who owns names on this machine and what they are told: /etc/resolv.conf, NetworkManager's DNS settings,
// systemd-resolved's links. Reports everything at once (DnsFound) whenever a part of it may have changed.
#pragma once

#include "killswitch/model/event.hpp"
#include "killswitch/os/bus.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/snapshot.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace killswitch::sense {

/// What the services on the bus say. Asks all of them anew each time.
class DnsServices {
public:
  struct Found {
    std::optional<model::NetworkManagerDns> networkmanager;
    std::optional<std::vector<model::ResolvedLink>> resolved;
    bool whole{true};  ///< false: a service that is there did not answer, or not yet
  };
  using Answer = std::function<void(Found)>;

  /// @param changed a service changed what it says
  /// @param restarted one came or went
  DnsServices(os::Bus& bus, const std::function<void()>& changed, const std::function<void()>& restarted);
  /// `answer` is called once, from the event loop, unless this object ends first.
  void ask(Answer answer);

private:
  struct Questions;
  void ask_networkmanager(const std::shared_ptr<Questions>& questions);
  void ask_resolved(const std::shared_ptr<Questions>& questions);

  os::Bus& bus_;
  std::vector<os::BusSubscription> subscriptions_;
};

class DnsSensor {
public:
  DnsSensor(os::EventLoop& loop, std::function<void(model::Event)> report,
            std::string resolv_conf = model::resolv_conf_path);

  /// @param bus must outlive this object or the next call; nullptr: there is none
  void use_bus(os::Bus* bus);
  /// Looks at everything and reports it; then calls `then`.
  void look(std::function<void()> then = {});
  /// resolv.conf as it is at this moment, which nobody may have been told of: of a mount there is no notice.
  [[nodiscard]] model::ResolvConf resolv_conf_now() const;

  DnsSensor(const DnsSensor&) = delete;  // callbacks point here
  DnsSensor& operator=(const DnsSensor&) = delete;

private:
  void watch();
  void on_file_event(const char* name);
  void look_at_file();
  void begin();
  void look_later();
  void tell();

  os::EventLoop& loop_;
  std::function<void(model::Event)> report_;
  std::string path_;
  std::string directory_;
  std::string name_;

  model::DnsFacts facts_;
  bool services_known_{false};
  std::optional<DnsServices> services_;
  bool asking_{false};
  bool ask_again_{false};
  std::vector<std::function<void()>> waiting_;  ///< for a round that has not begun
  std::string watched_file_;
  os::EventSource again_;  ///< a service that did not answer is asked once more
  os::EventSource directory_watch_;
  os::EventSource file_watch_;
  os::EventSource target_watch_;
};

}  // namespace killswitch::sense
