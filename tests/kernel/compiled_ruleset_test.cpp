// What decide::compile emits, in the kernel: accepted, read back without differences, and listed as nft(8) loads it.
#include "killswitch/codec/nft_text.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/enforce/firewall.hpp"
#include "support/catch.hpp"
#include "support/nft_samples.hpp"
#include "support/process.hpp"
#include "support/worlds.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

using namespace killswitch;
using namespace killswitch::testing;
using enforce::Firewall;

namespace {

void apply_and_verify(Firewall& firewall, const model::Ruleset& ruleset) {
  const auto report = firewall.apply(ruleset);
  INFO((report ? "" : report.error().message()));
  REQUIRE(report);
  const auto seen = firewall.read_back(ruleset);
  REQUIRE(seen);
  CHECK(seen->differences == std::vector<std::string>{});
}

void make_links() {
  REQUIRE(shell("ip link add wlo1 type veth peer name far").status == 0);
}

std::string listing(const std::string& text) {
  std::istringstream lines{text};
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const bool packets = line.find("packets ") != std::string::npos;
    if (line != "\tflags owner" && !line.empty() && !packets) {
      kept += line.substr(0, line.find(" # progname")) + "\n";
    }
  }
  return kept;
}

model::Prefix prefix(const char* text) {
  return *model::parse_prefix(text);
}

/// Every kind of allowance at once.
model::World generous() {
  auto world = test::laptop_protected();
  auto& policy = world.settings.policy;
  policy.lan = {{{"wl*"}, {prefix("192.168.43.0/24"), prefix("192.168.44.0/24"), prefix("fe80::/10")}}};
  policy.inbound = {{{"*"}, model::Protocol::tcp, model::Port{22}, {prefix("0.0.0.0/0"), prefix("::/0")}}};
  policy.endpoints = {{test::ip("192.0.2.9"), model::Port{443}, model::Protocol::tcp},
                      {test::ip("2001:db8::9"), model::Port{51820}, model::Protocol::udp}};
  policy.router = {{"br-lan"}, true, true, true};
  world.links[model::IfIndex{11}] = test::link(model::IfIndex{11}, "br-lan", "bridge");
  return world;
}

}  // namespace

TEST_CASE("compiled rulesets are held as they were meant, from one state to the next") {
  make_links();
  auto firewall = Firewall::open();
  REQUIRE(firewall);
  for (const auto& world :
       {test::laptop_blocked(), test::laptop_connecting(), test::laptop_protected(), test::laptop_connecting(),
        model::World{}, test::laptop_protected(), generous(), test::laptop_protected()}) {
    apply_and_verify(*firewall, decide::compile(world));
  }
  apply_and_verify(*firewall, decide::block_all(firewall->features()));
  apply_and_verify(*firewall, decide::compile(test::laptop_protected()));
}

// nft(8) is the independent oracle: what it understands of our text must be what our batch made.
TEST_CASE("nft(8) loads the text of a compiled ruleset and lists it as our batch") {
  make_links();
  const auto ruleset = decide::compile(generous());
  auto firewall = Firewall::open();
  REQUIRE(firewall);
  apply_and_verify(*firewall, ruleset);
  const std::string path = "/tmp/killswitch-compiled-" + std::to_string(::getpid()) + ".nft";
  std::ofstream{path} << codec::render_nft_text(ruleset);
  const auto twin = shell("unshare --net sh -c 'ip link add wlo1 type veth peer name far && nft -f " + path +
                          " && nft list ruleset'");
  ::unlink(path.c_str());
  CHECK(twin.status == 0);
  CHECK(listing(shell("nft list ruleset").text) == listing(twin.text));
}

TEST_CASE("links that go and come again do not keep a ruleset from being applied") {
  make_links();
  auto firewall = Firewall::open();
  REQUIRE(firewall);
  const auto with_link = decide::compile(test::laptop_protected());
  auto away = test::laptop_protected();
  away.links.erase(test::wifi);
  apply_and_verify(*firewall, with_link);
  REQUIRE(shell("ip link del wlo1").status == 0);
  apply_and_verify(*firewall, decide::compile(away));
  make_links();
  apply_and_verify(*firewall, with_link);
}
