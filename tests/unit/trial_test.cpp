// A lock on trial: it reverts at its time, whatever happens to the clocks, the daemon and the state file, and only
// then.
#include "killswitch/decide/trial.hpp"
#include "killswitch/codec/duration.hpp"
#include "killswitch/codec/kernel_command_line.hpp"
#include "killswitch/codec/state_json.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/step.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::sys_seconds noon{std::chrono::seconds{1795400000}};

Moment at(std::chrono::seconds later, std::chrono::seconds clock_set_by = 0s) {
  return {noon + later + clock_set_by, "this boot", 1000s + later};
}

std::vector<Effect> run(World& world, const Event& event, std::chrono::sys_seconds now = noon) {
  return decide::step(world, event, now);
}

template <typename T>
const T* find(const std::vector<Effect>& effects) {
  for (const auto& effect : effects) {
    if (const auto* found = std::get_if<T>(&effect)) {
      return found;
    }
  }
  return nullptr;
}

Settings named(const char* policy) {
  Settings settings;
  settings.policy.name = policy;
  return settings;
}

World disabled() {
  World world;
  world.enabled = false;
  world.links_known = true;
  return world;
}

World on_trial(World world, std::chrono::seconds duration = 60s) {
  const auto effects = run(world, EnableRequested{named("tried"), TrialRequest{duration, at(0s)}});
  REQUIRE(find<SaveState>(effects) != nullptr);
  REQUIRE(find<WakeForTrial>(effects) != nullptr);
  CHECK(find<WakeForTrial>(effects)->after == duration);
  REQUIRE(world.trial);
  CHECK(world.enabled);
  return world;
}

/// As a daemon that died finds it: through the state file.
World restarted(const World& world) {
  const auto saved = decide::to_save(world);
  REQUIRE(saved);
  const auto read = codec::parse_state(codec::render_state(*saved), "state.json");
  INFO((read ? std::string{} : read.error().message()));
  REQUIRE(read);
  CHECK(*read == *saved);
  return decide::restore(*read);
}

bool has_next(const World& world, const std::string& command) {
  const auto next = decide::describe(world).next;
  return std::any_of(next.begin(), next.end(), [&](const auto& line) { return line.find(command) == 0; });
}

}  // namespace

TEST_CASE("A trial on an open machine opens it again at its time, and not before", "[trial]") {
  auto world = on_trial(disabled());
  CHECK(find<WakeForTrial>(run(world, TrialTime{at(59s)}))->after == 1s);
  CHECK(world.enabled);
  const auto effects = run(world, TrialTime{at(60s)});
  CHECK_FALSE(world.enabled);
  CHECK_FALSE(world.trial);
  CHECK(world.settings == Settings{});
  CHECK(find<SaveState>(effects) != nullptr);
  CHECK(find<LogLine>(effects) != nullptr);
  CHECK(run(world, TrialTime{at(61s)}).empty());
}

TEST_CASE("A trial on a locked machine goes back to the settings before", "[trial]") {
  auto before = laptop_blocked();
  auto world = on_trial(before);
  CHECK(world.settings.policy.name == "tried");
  run(world, TrialTime{at(60s)});
  CHECK(world.enabled);
  CHECK(world.settings == before.settings);
  CHECK_FALSE(world.trial);

  SECTION("a trial on a trial goes back to what was confirmed last") {
    auto again = on_trial(on_trial(before));
    CHECK(again.trial->before == before.settings);
    auto open = on_trial(on_trial(disabled()));
    CHECK_FALSE(open.trial->before);
  }
}

TEST_CASE("A confirmed trial stays, and so does what is enabled again without one", "[trial]") {
  auto world = on_trial(disabled());
  SECTION("confirm") {
    CHECK(find<SaveState>(run(world, TrialConfirmed{})) != nullptr);
  }
  SECTION("enable") {
    run(world, EnableRequested{named("kept")});
  }
  CHECK_FALSE(world.trial);
  run(world, TrialTime{at(1h)});
  CHECK(world.enabled);
  CHECK(run(world, TrialConfirmed{}).empty());
}

TEST_CASE("A disabled trial is over", "[trial]") {
  auto world = on_trial(laptop_blocked());
  run(world, DisableRequested{});
  CHECK_FALSE(world.trial);
  run(world, TrialTime{at(1h)});
  CHECK_FALSE(world.enabled);
}

TEST_CASE("A trial survives its daemon", "[trial]") {
  auto world = on_trial(laptop_blocked());
  SECTION("which comes back in time") {
    auto later = restarted(world);
    CHECK(find<WakeForTrial>(run(later, TrialTime{at(20s)}))->after == 40s);
    CHECK(later.settings.policy.name == "tried");
    run(later, TrialTime{at(60s)});
    CHECK(later.settings == laptop_blocked().settings);
  }
  SECTION("which comes back too late") {
    auto later = restarted(world);
    run(later, TrialTime{at(1h)});
    CHECK(later.enabled);
    CHECK(later.settings == laptop_blocked().settings);
    CHECK_FALSE(later.trial);
  }
}

TEST_CASE("Clocks that are set neither shorten nor lengthen a trial", "[trial]") {
  struct Row {
    const char* what;
    Moment now;
    std::chrono::seconds left;
  };
  // In another boot 1000 s of uptime mean nothing.
  const auto next_boot = [](std::chrono::seconds wall) { return Moment{noon + wall, "next boot", 5s}; };
  const Trial trial{60s, noon + 60s, "this boot", 1060s, {}};
  for (const auto& row :
       {Row{"as it should be", at(20s), 40s}, Row{"clock set back a day", at(20s, -24h), 40s},
        Row{"clock set forward a day", at(20s, 24h), 40s}, Row{"over", at(60s), 0s}, Row{"long over", at(999h), 0s},
        Row{"after a reboot", next_boot(20s), 40s}, Row{"after a reboot, over", next_boot(60s), 0s},
        Row{"after a reboot without a clock", next_boot(-999999h), 60s},
        Row{"no name for a boot", Moment{noon + 20s, "", 5s}, 40s}}) {
    INFO(row.what);
    CHECK(decide::remaining(trial, row.now) == row.left);
  }
}

TEST_CASE("After a reboot the clock that nobody can set counts again", "[trial]") {
  auto world = restarted(on_trial(laptop_blocked()));
  const Moment booted{noon - 24h, "next boot", 5s};  // its clock stood still
  const auto effects = run(world, TrialTime{booted});
  CHECK(find<SaveState>(effects) != nullptr);
  CHECK(find<WakeForTrial>(effects)->after == 60s);
  auto again = restarted(world);
  run(again, TrialTime{{noon - 48h, "next boot", 64s}});
  CHECK(again.trial);
  run(again, TrialTime{{noon - 48h, "next boot", 65s}});
  CHECK_FALSE(again.trial);
}

TEST_CASE("What cannot be read never reverts", "[trial]") {
  auto world = on_trial(disabled());
  run(world, StateUnreadable{Error{std::make_error_code(std::errc::invalid_argument), "state.json: broken"}});
  CHECK_FALSE(world.trial);
  run(world, TrialTime{at(999h)});
  CHECK(world.enabled);

  SECTION("and a trial on a machine that is locked for that reason goes back to locked") {
    World locked;
    locked.links_known = true;
    run(locked, StateUnreadable{Error{std::make_error_code(std::errc::invalid_argument), "state.json: broken"}});
    locked = on_trial(locked);
    run(locked, TrialTime{at(60s)});
    CHECK(locked.enabled);
    CHECK(locked.settings == Settings{});
  }
}

TEST_CASE("The status tells of the trial and of the way to end it", "[trial]") {
  const auto world = on_trial(laptop_blocked());
  const auto status = decide::describe(world);
  REQUIRE(status.trial);
  CHECK(status.trial->until == noon + 60s);
  CHECK(status.trial->reverts_to_enabled);
  CHECK(status.trial->policy == "laptop");
  CHECK(has_next(world, "killswitch confirm"));
  CHECK_FALSE(decide::describe(on_trial(disabled())).trial->reverts_to_enabled);
  CHECK_FALSE(has_next(laptop_blocked(), "killswitch confirm"));
}

TEST_CASE("killswitch=off leaves the machine open and the state as it was", "[boot]") {
  const auto saved = decide::to_save(laptop_blocked());
  REQUIRE(saved);
  World world;
  world.links_known = true;
  const auto effects = run(world, SwitchedOffAtBoot{saved});
  REQUIRE(find<LogLine>(effects) != nullptr);
  CHECK_FALSE(world.enabled);
  CHECK(decide::to_save(world) == saved);
  const auto status = decide::describe(world);
  CHECK(status.state == State::disabled);
  CHECK(status.switched_off);
  CHECK_FALSE(status.warnings.empty());
  CHECK(has_next(world, "reboot"));

  SECTION("it is not enabled in this boot, because a restarted daemon would open it again") {
    run(world, EnableRequested{named("x")});
    CHECK_FALSE(world.enabled);
    CHECK(decide::to_save(world) == saved);
  }
  SECTION("what is disabled stays so after the next boot") {
    CHECK(find<SaveState>(run(world, DisableRequested{})) != nullptr);
    CHECK_FALSE(decide::to_save(world)->enabled);
  }
  SECTION("a file that cannot be read is not written over") {
    World unreadable;
    run(unreadable, SwitchedOffAtBoot{});
    CHECK_FALSE(decide::to_save(unreadable));
    run(unreadable, DisableRequested{});
    REQUIRE(decide::to_save(unreadable));
    CHECK_FALSE(decide::to_save(unreadable)->enabled);
  }
}

TEST_CASE("The kernel's command line", "[boot]") {
  struct Row {
    const char* line;
    bool off;
  };
  for (const auto& row :
       {Row{"", false}, Row{"quiet splash\n", false}, Row{"quiet killswitch=off\n", true}, Row{"killswitch=off", true},
        Row{"killswitch=on", false}, Row{"killswitch=offf", false}, Row{"killswitch=OFF", false},
        Row{"killswitch", false}, Row{"killswitch=", false}, Row{"nokillswitch=off", false},
        Row{"killswitch=off killswitch=on", false}, Row{"killswitch=on\tkillswitch=off", true},
        Row{"\"killswitch=off\"", true}, Row{"killswitch=\"off\"", true}, Row{"x=\"a killswitch=off b\"", false},
        Row{"x=\"open killswitch=off", false}, Row{"quiet -- killswitch=off", false},
        Row{"killswitch=off -- killswitch=on", true}}) {
    INFO(row.line);
    CHECK(codec::is_switched_off(row.line) == row.off);
  }
}

TEST_CASE("Lengths of time", "[duration]") {
  const auto parse = [](const char* text) { return codec::parse_duration(text, shortest_trial, longest_trial); };
  for (const auto& [text, seconds] : {std::pair{"60s", 60s}, std::pair{"60", 60s}, std::pair{"5m", 300s},
                                      std::pair{"5min", 300s}, std::pair{"2h", 7200s}, std::pair{"24h", 86400s}}) {
    INFO(text);
    const auto duration = parse(text);
    REQUIRE(duration);
    CHECK(*duration == seconds);
  }
  for (const char* bad : {"", "s", "4s", "25h", "60 s", "-60s", "+60", "1d", "60ss", "1.5m", "99999999999999999999s",
                          "4294967295h", "soon"}) {
    INFO(bad);
    const auto duration = parse(bad);
    REQUIRE_FALSE(duration);
    CHECK(duration.error().message() ==
          "expected a time from 5 s to 24 h as in \"60s\", \"5m\" or \"1h\", found \"" + std::string{bad} + "\"");
  }
  CHECK(codec::render_duration(90s) == "90 s");
  CHECK(codec::render_duration(120s) == "2 min");
  CHECK(codec::render_duration(7200s) == "2 h");
  CHECK(codec::render_duration(0s) == "0 s");
}
