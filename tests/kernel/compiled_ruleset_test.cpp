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

/// A world on a kernel that can do so much.
model::World on(const model::KernelFeatures& kernel, model::World world) {
  world.kernel = kernel;
  return world;
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
    apply_and_verify(*firewall, decide::compile(on(firewall->features(), world)));
  }
  const auto protected_world = on(firewall->features(), test::laptop_protected());
  apply_and_verify(*firewall, decide::compile(protected_world));
}

// nft(8) is the independent oracle: what it understands of our text must be what our batch made.
TEST_CASE("nft(8) loads the text of a compiled ruleset and lists it as our batch") {
  make_links();
  auto firewall = Firewall::open();
  REQUIRE(firewall);
  const auto ruleset = decide::compile(on(firewall->features(), generous()));
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
  auto away = on(firewall->features(), test::laptop_protected());
  const auto with_wifi = decide::compile(away);
  away.links.erase(test::wifi);
  apply_and_verify(*firewall, with_wifi);
  REQUIRE(shell("ip link del wlo1").status == 0);
  apply_and_verify(*firewall, decide::compile(away));
  make_links();
  apply_and_verify(*firewall, with_wifi);
}

namespace {

/// As Debian 12's own kernel can do it, as far as this one lets us.
model::KernelFeatures of_linux_6_1(model::KernelFeatures kernel) {
  kernel.persist = false;
  kernel.grows = false;
  kernel.ahead = false;
  return kernel;
}

model::World with_link(model::World world, std::uint32_t index, const char* name) {
  world.links[model::IfIndex{index}] = test::link(model::IfIndex{index}, name, "");
  return world;
}

}  // namespace

TEST_CASE("where chains do not grow, links that come, go and change their names keep nothing from being applied") {
  make_links();
  const auto kernel = of_linux_6_1(Firewall::open()->features());
  auto firewall = Firewall::open(kernel);
  REQUIRE(firewall);
  const auto one = on(kernel, test::laptop_protected());
  apply_and_verify(*firewall, decide::compile(one));
  REQUIRE(
      shell("ip link add 'odd_name' type veth peer name far2; ip link add eth0.5 type veth peer name far3").status ==
      0);
  const auto three = with_link(with_link(one, 21, "odd_name"), 22, "eth0.5");
  apply_and_verify(*firewall, decide::compile(three));
  CHECK(shell("nft list chain netdev killswitch egress_odd_5fname").text.find("odd_name") != std::string::npos);

  INFO("it goes, and its chain may have gone with it");
  REQUIRE(shell("ip link del odd_name").status == 0);
  apply_and_verify(*firewall, decide::compile(with_link(one, 22, "eth0.5")));
  const std::string again = "ip link add 'odd_name' type veth peer name far2";
  REQUIRE(shell(again).status == 0);
  apply_and_verify(*firewall, decide::compile(three));

  INFO("it comes again before anybody noticed");
  REQUIRE(shell("ip link del odd_name; " + again).status == 0);
  const auto seen = firewall->read_back(decide::compile(three));
  REQUIRE(seen);
  if (!seen->differences.empty()) {
    apply_and_verify(*firewall, decide::compile(three));
  }

  INFO("it gets another name, and then its old one");
  REQUIRE(shell("ip link set odd_name name lan9").status == 0);
  apply_and_verify(*firewall, decide::compile(with_link(with_link(one, 21, "lan9"), 22, "eth0.5")));
  REQUIRE(shell("ip link set lan9 name odd_name").status == 0);
  apply_and_verify(*firewall, decide::compile(three));

  INFO("from one chain for all, as another version of this program made it, and back");
  auto growing = kernel;
  growing.grows = true;
  apply_and_verify(*firewall, decide::compile(on(growing, three)));
  apply_and_verify(*firewall, decide::compile(three));
}

TEST_CASE("a device that went away since the facts were taken keeps nothing else from being closed") {
  make_links();
  auto firewall = Firewall::open();
  REQUIRE(firewall);
  auto kernel = firewall->features();
  const auto gone = decide::compile(with_link(on(kernel, test::laptop_protected()), 21, "gone0"));
  const auto report = firewall->apply(gone);
  REQUIRE(report);
  const auto seen = firewall->read_back(gone);
  REQUIRE(seen);
  CHECK(seen->present);
  // Newer kernels take the name; on the others what is missing is said, and nothing else is.
  CHECK(seen->differences.empty() == kernel.ahead);
  apply_and_verify(*firewall, decide::compile(on(kernel, test::laptop_protected())));
}

TEST_CASE("nft(8) lists the chains of kernels of every age as our batch") {
  make_links();
  auto features = Firewall::open()->features();
  for (const auto& kernel : {features, of_linux_6_1(features)}) {
    auto world = on(kernel, generous());
    world.links[model::IfIndex{30}] = test::link(model::IfIndex{30}, "wlo1.7", "vlan");
    world.links[model::IfIndex{30}].vlan = model::Vlan{test::wifi, 0x8100, 7};
    world.links[model::IfIndex{31}] = test::link(model::IfIndex{31}, "ppp0", "ppp");
    const std::string links =
        "ip link add wlo1.7 type veth peer name far7; ip link add ppp0 type veth peer name far8; ";
    shell(links);
    const auto ruleset = decide::compile(world);
    auto firewall = Firewall::open(kernel);
    REQUIRE(firewall);
    apply_and_verify(*firewall, ruleset);
    const std::string path = "/tmp/killswitch-compiled-" + std::to_string(::getpid()) + ".nft";
    std::ofstream{path} << codec::render_nft_text(ruleset);
    const auto twin = shell("unshare --net sh -c 'ip link add wlo1 type veth peer name far; " + links + "nft -f " +
                            path + " && nft list ruleset'");
    ::unlink(path.c_str());
    INFO(twin.text);
    CHECK(twin.status == 0);
    CHECK(listing(shell("nft list ruleset").text) == listing(twin.text));
    REQUIRE(firewall->remove());
  }
}
