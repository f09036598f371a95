// The watch on the ruleset against the real kernel, in a network namespace of its own; nft(8) plays the others.
#include "killswitch/sense/ruleset_watch.hpp"

#include "killswitch/enforce/firewall.hpp"
#include "support/catch.hpp"
#include "support/nft_samples.hpp"
#include "support/process.hpp"

#include <systemd/sd-event.h>

using namespace killswitch;
using namespace killswitch::testing;
using namespace std::chrono_literals;

namespace {

class Laboratory {
public:
  explicit Laboratory(std::uint32_t own_port, sense::RulesetWatch::Options options = {}) {
    auto watch = sense::RulesetWatch::start(
        loop_, own_port, [this](const model::Event& event) { take(event); }, options);
    INFO((watch ? std::string{} : watch.error().message()));
    REQUIRE(watch.has_value());
    watch_.emplace(std::move(*watch));
  }

  /// Everything that the kernel has told so far.
  void listen() {
    while (sd_event_run(loop_.native(), std::chrono::microseconds{20ms}.count()) > 0) {
    }
  }

  std::vector<model::Touch> touches;
  int losses{0};

private:
  void take(const model::Event& event) {
    if (const auto* touched = std::get_if<model::RulesetTouched>(&event)) {
      touches.push_back(touched->touch);
    } else {
      REQUIRE(std::holds_alternative<model::RulesetUnknown>(event));
      ++losses;
    }
  }

  os::EventLoop loop_{std::move(*os::EventLoop::create())};
  std::optional<sense::RulesetWatch> watch_;
};

void run(const std::string& command) {
  const auto done = shell(command);
  INFO(command << ": " << done.text);
  REQUIRE(done.status == 0);
}

constexpr std::uint32_t nobody = 1;  // no socket of this namespace has this port

}  // namespace

TEST_CASE("what another program does to our tables is told, with its name") {
  struct Row {
    const char* command;
    const char* what;
  };
  const Row rows[] = {
      {"nft add table inet killswitch", "inet killswitch: table made or its flags changed"},
      {"nft 'add chain inet killswitch output { type filter hook output priority 0; }'",
       "inet killswitch: chain output made or changed"},
      {"nft insert rule inet killswitch output accept", "inet killswitch: rule put into chain output"},
      {"nft 'chain inet killswitch output { policy drop; }'", "inet killswitch: chain output made or changed"},
      {"nft flush chain inet killswitch output", "inet killswitch: rule taken from chain output"},
      {"nft 'add table inet killswitch { flags dormant; }'", "inet killswitch: table made or its flags changed"},
      {"nft flush ruleset", "inet killswitch: table deleted"},
  };
  Laboratory laboratory{nobody};
  for (const Row& row : rows) {
    INFO(row.command);
    laboratory.touches.clear();
    run(row.command);
    laboratory.listen();
    REQUIRE(laboratory.touches.size() == 1);
    CHECK(laboratory.touches[0].program == "nft");
    CHECK(laboratory.touches[0].pid > 0);
    CHECK(laboratory.touches[0].what == row.what);
  }
}

TEST_CASE("our own changes and other programs' own tables are not told") {
  auto firewall = enforce::Firewall::open();
  REQUIRE(firewall);
  Laboratory laboratory{firewall->port_id()};
  REQUIRE(firewall->apply(samples::realistic(1)));
  REQUIRE(firewall->read_back(samples::realistic(1)));
  REQUIRE(firewall->apply(samples::realistic(2)));
  run("nft 'add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; delete table ip nat'");
  run("nft flush ruleset || true");
  REQUIRE(firewall->remove());
  laboratory.listen();
  const bool owned = firewall->features().owner;
  CHECK(laboratory.touches.size() == (owned ? 0U : 1U));
  CHECK(laboratory.losses == 0);
}

TEST_CASE("what the kernel could not deliver is said, and the watch goes on") {
  Laboratory laboratory{nobody, {4096}};
  for (int i = 0; i < 40; ++i) {
    run("nft 'add table ip other; delete table ip other'");
  }
  laboratory.listen();
  CHECK(laboratory.losses > 0);
  run("nft add table inet killswitch");
  laboratory.listen();
  CHECK(laboratory.touches.size() == 1);
}
