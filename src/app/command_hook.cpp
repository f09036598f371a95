// hook networkmanager: what the dispatcher script calls. Before a link is used the lock must stand; everything else is
// a hint to look again. Nothing in here opens anything, and NetworkManager never waits longer than `patience` for it.
#include "commands.hpp"
#include "killswitch/app/boot_switch.hpp"
#include "killswitch/app/offline.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/serve/client.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <thread>

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto patience = 5s;
constexpr auto hint_patience = 1s;
constexpr auto look_again = 100ms;

/// What NetworkManager waits for before it uses a link. @source NetworkManager-dispatcher(8)
constexpr std::array<std::string_view, 2> before_use{"pre-up", "vpn-pre-up"};
constexpr std::array<std::string_view, 8> hints{"up",      "down",         "vpn-up",       "vpn-down",
                                                "reapply", "dhcp4-change", "dhcp6-change", "connectivity-change"};

template <std::size_t Size>
bool is_one_of(const std::array<std::string_view, Size>& actions, std::string_view action) {
  return std::find(actions.begin(), actions.end(), action) != actions.end();
}

/// Without a daemon nobody can compare rule by rule; that they refuse what they do not know can be seen.
bool kernel_is_closed() {
  const auto rules = read_rules();
  return rules && !rules->tables.empty() && decide::audit_structure(*rules).empty();
}

/// @return why the lock was not seen; empty: the daemon has verified it
std::string ask_daemon(std::chrono::milliseconds time_left) {
  // Allowed to be started for it: it opens nothing by starting, and is there again when its service was stopped.
  const auto answer = call_daemon([&](serve::Client& client) {
    return client.resync(os::Activation::allowed, std::max<std::chrono::milliseconds>(time_left, look_again));
  });
  if (!answer) {
    return answer.error().message();
  }
  const auto status = codec::parse_status_json(*answer, "status");
  if (!status) {
    return status.error().message();
  }
  if (status->enforced) {
    return "";
  }
  return status->reasons.empty() ? "killswitchd has not verified it" : status->reasons.front();
}

int expect_lock(const std::string& interface) {
  const auto deadline = Clock::now() + patience;
  std::string why;
  do {
    why = ask_daemon(std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()));
    if (why.empty()) {
      return exit_done;
    }
    if (kernel_is_closed()) {
      print_note(fmt::format("killswitch: {}: the kernel holds the lock, but {}", interface, why));
      return exit_done;
    }
    std::this_thread::sleep_for(look_again);
  } while (Clock::now() < deadline);
  return report(Error{std::make_error_code(std::errc::io_error),
                      fmt::format("{}: the kill switch is enabled, but the lock was not seen within {} s: {}",
                                  interface, patience.count(), why)},
                "Start it with `systemctl start killswitchd`; `killswitch status` says more. Do not use the link.");
}

}  // namespace

int run_hook(const Paths& paths, const HookCommand& command) {
  const bool must_stand = is_one_of(before_use, command.action);
  if (!must_stand && !is_one_of(hints, command.action)) {
    return exit_done;  // of another version of NetworkManager, or of no concern
  }
  if (!require_root("hook")) {
    return exit_not_permitted;
  }
  if (switched_off_at_boot() || !asks_for_lock(load_state(paths))) {
    return exit_done;
  }
  if (must_stand) {
    return expect_lock(command.interface);
  }
  // A daemon that is not there has nothing to look at; it reads everything when it starts.
  [[maybe_unused]] const auto told =
      call_daemon([](serve::Client& client) { return client.resync(os::Activation::refused, hint_patience); });
  return exit_done;
}

}  // namespace killswitch::app
