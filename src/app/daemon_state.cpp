// The daemon and its state file: what was asked for, for how long, outlives it, and `--offline` speaks to it through
// the file.
#include "killswitch/app/boot_switch.hpp"
#include "killswitch/app/clock.hpp"
#include "killswitch/app/daemon.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/log.hpp"

#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using namespace model;

constexpr auto save_retry_delay = 5s;

}  // namespace

void Daemon::watch_state_file() {
  auto directory = loop_.watch_directory(paths_.state_directory.c_str(), [this](const char* name) {
    if (std::string_view{name} == "state.json") {
      on_state_file_changed();
    }
  });
  if (!directory) {
    // The lock does not need it: only `--offline` beside a running daemon does.
    os::log(os::LogLevel::warning, directory.error().within(paths_.state_directory).message());
    return;
  }
  sources_.push_back(std::move(*directory));
}

bool Daemon::kernel_holds_table() {
  const auto observation = firewall_.read();
  // Not being able to look is no proof of absence.
  return !observation || observation->present;
}

void Daemon::restore_state() {
  if (const auto made = os::ensure_directory(paths_.state_directory, 0700); !made) {
    os::log(os::LogLevel::warning, made.error().message());
  }
  auto state = load_state(paths_);
  if (switched_off_at_boot()) {
    saved_ = state && *state ? codec::render_state(**state) : std::string{};
    post(SwitchedOffAtBoot{state ? *state : std::nullopt});
    return;
  }
  if (!state) {
    post(StateUnreadable{state.error()});
    return;
  }
  if (*state && (*state)->enabled) {
    world_ = decide::restore(**state);
    saved_ = codec::render_state(**state);
    return;
  }
  if (kernel_holds_table()) {
    // `disable` removes the table before it says so in the file: a table that is there was never given up.
    post(StateUnreadable{Error{
        std::make_error_code(std::errc::invalid_argument),
        fmt::format("{} does not say 'enabled', but the kernel holds the kill switch's table", paths_.state_file())}});
    return;
  }
  world_.enabled = false;
  world_.since = *state ? (*state)->since : wall_clock();
  removed_ = true;
}

void Daemon::save() {
  const auto state = decide::to_save(world_);
  if (!state) {
    return;
  }
  auto text = codec::render_state(*state);
  if (text == saved_) {
    return;
  }
  saved_ = std::move(text);
  if (auto outcome = save_state(paths_, *state); !outcome) {
    saved_.clear();
    post(StateSaveFailed{outcome.error()});
    save_later();
  } else {
    post(StateSaved{});
  }
}

void Daemon::save_later() {
  auto timer = loop_.after(save_retry_delay, [this] {
    save();
    reconcile();
  });
  if (timer) {
    save_retry_ = std::move(*timer);
  }
}

void Daemon::wake_for_trial(std::chrono::seconds after) {
  auto timer = loop_.after_with_suspend(after, [this] {
    post(TrialTime{now_on_both_clocks()});
    reconcile();
    openvpn_->connect_to(world_.settings.management);
  });
  if (timer) {
    trial_ = std::move(*timer);
  } else {
    os::log(os::LogLevel::error, timer.error().within("the trial ends at the next start of killswitchd").message());
  }
}

void Daemon::on_state_file_changed() {
  // The file is the truth: `enable --offline` and `disable --offline` speak to us through it.
  auto state = load_state(paths_);
  if (!state || !*state) {
    return;  // being replaced, damaged or deleted: what is in force stays
  }
  auto text = codec::render_state(**state);
  if (text == saved_) {
    return;
  }
  saved_ = std::move(text);
  if (world_.switched_off) {
    world_.switched_off->state = **state;  // for the next boot
    return;
  }
  if ((*state)->enabled) {
    post(EnableRequested{(*state)->settings});
  } else {
    post(DisableRequested{});
  }
  os::log(os::LogLevel::info, fmt::format("{} was changed: the kill switch is {}", paths_.state_file(),
                                          (*state)->enabled ? "enabled" : "disabled"));
  reconcile();
}

}  // namespace killswitch::app
