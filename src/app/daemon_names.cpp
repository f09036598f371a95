// The daemon and names: what is seen becomes facts, what was done is looked at before it is believed.
#include "killswitch/app/daemon.hpp"
#include "killswitch/os/log.hpp"

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using namespace model;

constexpr auto names_retry_delay = 2s;
constexpr auto first_names_retry = 200ms;  // doubled with each failure that may pass

std::chrono::milliseconds delay_after(std::uint32_t failures) {
  constexpr std::uint32_t longest = 4;
  if (failures == 0 || failures > longest) {
    return names_retry_delay;
  }
  return first_names_retry * (1U << (failures - 1));
}

}  // namespace

void Daemon::start_names() {
  names_.emplace(loop_, [this](Event event) { post(std::move(event)); });
  dns_.emplace(loop_, enforce::DnsPlaces{paths_.dns_journal()}, [this](Event event) { on_names(std::move(event)); });
  if (auto resumed = dns_->resume(); !resumed) {
    os::log(os::LogLevel::error,
            resumed.error().message() + "; what resolv.conf was before the kill switch is in there, read it by hand");
  }
}

void Daemon::watch_networkmanager() {
  std::vector<std::string> uuids;
  for (const auto& vpn : world_.settings.networkmanager) {
    uuids.push_back(vpn.uuid);
  }
  if (!networkmanager_) {
    networkmanager_.emplace(loop_, [this](Event event) {
      links_->catch_up();  // the kernel told about an interface before NetworkManager did
      post(std::move(event));
    });
  }
  networkmanager_->watch(std::move(uuids));
}

void Daemon::use_bus(os::Bus* bus) {
  networkmanager_->use_bus(bus);
  dns_->use_bus(bus);
  names_->use_bus(bus);
}

void Daemon::on_names(Event event) {
  if (!std::holds_alternative<DnsApplied>(event)) {
    post(std::move(event));
    return;
  }
  // A backend that says "done" is not believed: what it did is looked at first (G13).
  names_->look([this, event = std::move(event)] { post(event); });
}

void Daemon::retry_names_later() {
  if (!world_.dns.stalled) {
    names_retry_ = {};
    return;
  }
  if (names_retry_) {
    return;
  }
  auto timer = loop_.after(delay_after(world_.dns.failures), [this] {
    names_retry_ = {};
    post(DnsRetryDue{});
  });
  if (timer) {
    names_retry_ = std::move(*timer);
  }
}

}  // namespace killswitch::app
