// How long a full replacement and an element update take, from the value to the kernel's acknowledgement.
// Run in a network namespace of its own: unshare --net firewall_bench [--json] [ROUNDS]
#include "killswitch/decide/compile.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "support/process.hpp"
#include "support/worlds.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

using namespace killswitch;
using enforce::ApplyReport;
using enforce::Firewall;

struct Quantiles {
  double p50{0};
  double p99{0};
};

Quantiles quantiles(std::vector<double> microseconds) {
  std::sort(microseconds.begin(), microseconds.end());
  return {microseconds[microseconds.size() / 2], microseconds[microseconds.size() * 99 / 100]};
}

[[noreturn]] void give_up(const Error& error) {
  fmt::print(stderr, "firewall_bench: {}\n", error.message());
  std::exit(1);
}

double timed_apply(Firewall& firewall, const model::Ruleset& ruleset, ApplyReport::Kind expected) {
  const auto start = std::chrono::steady_clock::now();
  const auto report = firewall.apply(ruleset);
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
  if (!report) {
    give_up(report.error());
  }
  if (report->kind != expected) {
    give_up({{}, "an apply of another kind than was to be measured"});
  }
  return taken.count();
}

std::size_t rules_of(const model::Ruleset& ruleset) {
  std::size_t count = 0;
  for (const model::Table& table : ruleset.tables) {
    for (const model::Chain& chain : table.chains) {
      count += chain.rules.size();
    }
  }
  return count;
}

/// A laptop whose tunnel stands, with its server at this address.
model::Ruleset compiled(const char* server, const model::KernelFeatures& features) {
  model::World world = test::laptop_protected();
  world.settings.remotes = {test::pinned("vpn.example.test", std::nullopt, server)};
  world.report->server->address = test::ip(server);
  world.kernel = features;
  return decide::compile(world);
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  int rounds = 2000;
  for (int i = 1; i < argc; ++i) {
    json = json || std::string_view{argv[i]} == "--json";
    rounds = std::atoi(argv[i]) > 0 ? std::atoi(argv[i]) : rounds;
  }
  auto firewall = Firewall::open();
  if (!firewall) {
    give_up(firewall.error());
  }
  // The link of the sample world: its egress chain wants a device.
  if (testing::shell("ip link add wlo1 type veth peer name far").status != 0) {
    give_up({{}, "the link wlo1 cannot be made: run in a network namespace of its own"});
  }
  const model::Ruleset rulesets[] = {compiled("198.51.100.49", firewall->features()),
                                     compiled("198.51.100.50", firewall->features())};
  std::vector<double> full;
  std::vector<double> elements;
  std::vector<double> read_back;
  for (int i = 0; i < rounds; ++i) {
    // Never verified in between, so each one replaces everything.
    full.push_back(timed_apply(*firewall, rulesets[i % 2], ApplyReport::Kind::full));
  }
  if (const auto seen = firewall->read_back(rulesets[(rounds - 1) % 2]); !seen) {
    give_up(seen.error());
  }
  for (int i = 0; i < rounds; ++i) {
    const model::Ruleset& next = rulesets[(rounds + i) % 2];
    elements.push_back(timed_apply(*firewall, next, ApplyReport::Kind::elements));
    const auto start = std::chrono::steady_clock::now();
    const auto seen = firewall->read_back(next);
    read_back.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    if (!seen || !seen->differences.empty()) {
      give_up(seen ? Error{{}, seen->differences.front()} : seen.error());
    }
  }
  const auto a = quantiles(full);
  const auto b = quantiles(elements);
  const auto c = quantiles(read_back);
  const std::size_t rules = rules_of(rulesets[0]);
  if (json) {
    fmt::print(
        "{{\"rules\":{},\"rounds\":{},\"unit\":\"us\",\"full\":{{\"p50\":{:.1f},\"p99\":{:.1f}}},"
        "\"elements\":{{\"p50\":{:.1f},\"p99\":{:.1f}}},\"read_back\":{{\"p50\":{:.1f},\"p99\":{:.1f}}}}}\n",
        rules, rounds, a.p50, a.p99, b.p50, b.p99, c.p50, c.p99);
    return 0;
  }
  fmt::print("{} rules, {} rounds, microseconds\n{:<24}{:>8}{:>8}\n", rules, rounds, "", "p50", "p99");
  fmt::print("{:<24}{:>8.0f}{:>8.0f}\n", "full apply", a.p50, a.p99);
  fmt::print("{:<24}{:>8.0f}{:>8.0f}\n", "element update", b.p50, b.p99);
  fmt::print("{:<24}{:>8.0f}{:>8.0f}\n", "read back and compare", c.p50, c.p99);
  return 0;
}
