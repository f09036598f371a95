// The link sensor against the real kernel, in a network namespace of its own (see CMakeLists.txt).
// ip(8) plays the rest of the system. Where any device will do it is a bridge: every kernel has those.
#include "killswitch/sense/links.hpp"

#include "support/catch.hpp"

#include <net/if.h>
#include <systemd/sd-event.h>
#include <unistd.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

namespace {

using namespace killswitch;
using namespace std::chrono_literals;

/// The first line of every case: never on the machine's own interfaces, and no address that appears by itself.
void enter_laboratory() {
  const auto network_of = [](const std::string& process) {
    return std::filesystem::read_symlink("/proc/" + process + "/ns/net");
  };
  REQUIRE(network_of("self") != network_of(std::to_string(::getppid())));
  std::ofstream{"/proc/sys/net/ipv6/conf/default/addr_gen_mode"} << "1";
}

void run(const std::string& command) {
  INFO(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

model::IfIndex index_of(const char* name) {
  return model::IfIndex{::if_nametoindex(name)};
}

/// What a listener that believes every event holds to be true.
struct Facts {
  model::Links links;
  bool known{false};
  int listings{0};
  int losses{0};
  bool replaced{false};

  void operator()(const model::LinksListed& event) {
    links = event.links;
    known = true;
    ++listings;
  }
  void operator()(const model::LinkChanged& event) {
    auto addresses = links[event.link.index].addresses;
    links[event.link.index] = event.link;
    links[event.link.index].addresses = std::move(addresses);
  }
  void operator()(const model::LinkRemoved& event) { links.erase(event.index); }
  void operator()(const model::AddressAdded& event) {
    auto& addresses = links.at(event.index).addresses;
    std::set<model::InterfaceAddress> sorted{addresses.begin(), addresses.end()};
    sorted.insert(event.address);
    addresses.assign(sorted.begin(), sorted.end());
  }
  void operator()(const model::AddressRemoved& event) {
    if (const auto link = links.find(event.index); link != links.end()) {
      std::erase(link->second.addresses, event.address);
    }
  }
  void operator()(const model::RouteAdded& event) {
    links.at(event.index).wide_routes.push_back(event.destination);
    replaced = replaced || event.replaces;
  }
  void operator()(const model::RouteRemoved& event) {
    if (const auto link = links.find(event.index); link != links.end()) {
      std::erase(link->second.wide_routes, event.destination);
    }
  }
  void operator()(const model::LinksUnknown& /*event*/) {
    known = false;
    ++losses;
  }
  template <typename Other>
  void operator()(const Other& /*event*/) {
    FAIL("an event that no link sensor sends");
  }

  [[nodiscard]] const model::Link* find(std::string_view name) const {
    for (const auto& [index, link] : links) {
      if (link.name == name) {
        return &link;
      }
    }
    return nullptr;
  }
};

class Laboratory {
public:
  explicit Laboratory(sense::LinkSensor::Options options = {}) {
    auto sensor = sense::LinkSensor::start(
        loop_, [this](const model::Event& event) { std::visit(facts, event); }, options);
    INFO((sensor ? std::string{} : sensor.error().message()));
    REQUIRE(sensor.has_value());
    sensor_ = std::make_unique<sense::LinkSensor>(std::move(*sensor));
  }

  /// Runs the loop until `condition` holds.
  template <typename Condition>
  bool reached(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      REQUIRE(sd_event_run(loop_.native(), std::chrono::microseconds{10ms}.count()) >= 0);
    }
    return true;
  }

  Facts facts;

private:
  os::EventLoop loop_ = std::move(*os::EventLoop::create());
  std::unique_ptr<sense::LinkSensor> sensor_;
};

}  // namespace

TEST_CASE("what exists before the start is known when start returns") {
  enter_laboratory();
  run("ip link add name br0 type bridge");
  run("ip link add name veth0 type veth peer name veth1");
  run("ip link set veth0 master br0 up");
  run("ip tuntap add dev tun0 mode tun && ip link set tun0 up");
  run("ip address add 10.8.0.6 peer 10.8.0.5 dev tun0");
  run("ip -6 address add 2001:db8::6/64 dev tun0 nodad");
  const Laboratory laboratory;
  const model::Link expected{
      index_of("tun0"),
      "tun0",
      "tun",
      std::nullopt,
      std::nullopt,
      true,
      {*model::parse_interface_address("10.8.0.6/32"), *model::parse_interface_address("2001:db8::6/64")},
      {}};
  CHECK(laboratory.facts.known);
  CHECK(laboratory.facts.listings == 1);
  REQUIRE(laboratory.facts.find("tun0") != nullptr);
  CHECK(*laboratory.facts.find("tun0") == expected);
  const model::Link port{index_of("veth0"), "veth0", "veth", index_of("br0"), std::nullopt, true, {}, {}};
  REQUIRE(laboratory.facts.find("veth0") != nullptr);
  CHECK(*laboratory.facts.find("veth0") == port);
  REQUIRE(laboratory.facts.find("lo") != nullptr);
  CHECK(laboratory.facts.find("lo")->index == model::loopback_ifindex);
}

TEST_CASE("up, down, renamed, deleted") {
  enter_laboratory();
  Laboratory laboratory;
  run("ip link add name one type bridge");
  run("ip link set one up");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("one") && laboratory.facts.find("one")->up; }));
  const auto index = laboratory.facts.find("one")->index;
  CHECK(laboratory.facts.find("one")->kind == "bridge");
  run("ip link set one down && ip link set one name two");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("two") && !laboratory.facts.find("two")->up; }));
  CHECK(laboratory.facts.find("two")->index == index);
  CHECK(laboratory.facts.find("one") == nullptr);
  run("ip link delete two");
  CHECK(laboratory.reached([&] { return laboratory.facts.links.count(index) == 0; }));
  CHECK(laboratory.facts.listings == 1);
  CHECK(laboratory.facts.losses == 0);
}

TEST_CASE("addresses come and go, the same one twice is one") {
  enter_laboratory();
  Laboratory laboratory;
  run("ip link add name one type bridge && ip address add 192.0.2.7/24 dev one");
  run("ip address add 2001:db8::7/64 dev one valid_lft 100 preferred_lft 100 nodad && ip link set one up");
  run("ip address change 2001:db8::7/64 dev one valid_lft 200 preferred_lft 200");
  const std::vector<model::InterfaceAddress> both{*model::parse_interface_address("192.0.2.7/24"),
                                                  *model::parse_interface_address("2001:db8::7/64")};
  CHECK(laboratory.reached([&] {
    const auto* link = laboratory.facts.find("one");
    return link != nullptr && link->up && link->addresses == both;
  }));
  run("ip address delete 192.0.2.7/24 dev one && ip address delete 2001:db8::7/64 dev one");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("one")->addresses.empty(); }));
}

TEST_CASE("a port that joins and leaves its bridge stays a link, and its master is told") {
  enter_laboratory();
  Laboratory laboratory;
  run("ip link add name br0 type bridge && ip link add name port type veth peer name other");
  run("ip link set port master br0");
  CHECK(laboratory.reached([&] {
    return laboratory.facts.find("port") != nullptr && laboratory.facts.find("port")->master == index_of("br0");
  }));
  run("ip link set port nomaster");
  CHECK(laboratory.reached(
      [&] { return laboratory.facts.find("port") != nullptr && !laboratory.facts.find("port")->master; }));
  run("ip link set port master br0");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("port")->master.has_value(); }));
  run("ip link delete br0");
  CHECK(laboratory.reached([&] {
    return laboratory.facts.find("br0") == nullptr && laboratory.facts.find("port") != nullptr &&
           !laboratory.facts.find("port")->master;
  }));
  CHECK(laboratory.facts.listings == 1);
}

TEST_CASE("a link that moves to another namespace is gone") {
  enter_laboratory();
  Laboratory laboratory;
  run("ip link add name one type veth peer name other");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("one") != nullptr; }));
  run("unshare --net sleep 30 & child=$!; sleep 0.2; ip link set one netns $child; result=$?; kill $child; exit "
      "$result");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("one") == nullptr; }));
}

TEST_CASE("a storm that overruns the kernel's queue is noticed, and the truth is known afterwards") {
  enter_laboratory();
  run("ip link add name one type bridge && ip link set one up");
  Laboratory laboratory{{.receive_buffer = 4096}};
  {
    std::ofstream batch{"storm.batch"};
    for (int i = 0; i < 2000; ++i) {
      batch << "address add 10." << i / 250 << "." << i % 250 << ".1/32 dev one\n";
    }
    for (int i = 0; i < 2000; ++i) {
      if (i % 100 != 0) {
        batch << "address delete 10." << i / 250 << "." << i % 250 << ".1/32 dev one\n";
      }
    }
    batch << "link add name last type bridge\n";
  }
  run("ip -batch storm.batch; result=$?; rm storm.batch; exit $result");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("last") != nullptr; }));
  CHECK(laboratory.facts.losses > 0);
  CHECK(laboratory.facts.listings > 1);
  CHECK(laboratory.facts.known);
  CHECK(laboratory.facts.find("one")->addresses.size() == 20);
}

TEST_CASE("a storm while the loop runs: whatever was lost, the end is the truth") {
  enter_laboratory();
  run("ip link add name one type bridge && ip link set one up");
  Laboratory laboratory{{.receive_buffer = 4096}};
  run("(for i in $(seq 1 300); do echo address add 10.0.0.$((i % 250))/32 dev one; "
      "echo address delete 10.0.0.$((i % 250))/32 dev one; done; echo address add 192.0.2.1/32 dev one; "
      "echo link add name last type bridge) > storm2.batch; ip -batch storm2.batch &");
  CHECK(laboratory.reached([&] { return laboratory.facts.find("last") != nullptr; }));
  std::remove("storm2.batch");
  const std::vector<model::InterfaceAddress> expected{*model::parse_interface_address("192.0.2.1/32")};
  CHECK(laboratory.facts.find("one")->addresses == expected);
  CHECK(laboratory.facts.known);
}

TEST_CASE("wide routes are facts, narrow ones are not") {
  enter_laboratory();
  run("ip link add name br0 type bridge && ip link set br0 up && ip address add 192.0.2.2/24 dev br0");
  run("ip link add name br1 type bridge && ip link set br1 up && ip address add 198.51.100.2/24 dev br1");
  run("ip route add default via 192.0.2.1 dev br0");
  run("ip -6 route add 2000::/3 dev br0");
  Laboratory laboratory;
  const auto routes_of = [&](const char* name) { return laboratory.facts.find(name)->wide_routes; };
  const auto whole = *model::parse_prefix("0.0.0.0/0");
  const auto half = *model::parse_prefix("128.0.0.0/1");
  CHECK(routes_of("br0") == std::vector{whole, *model::parse_prefix("2000::/3")});
  CHECK(routes_of("br1").empty());

  run("ip route add 203.0.113.0/24 via 192.0.2.1 dev br0");
  run("ip route add 128.0.0.0/1 via 198.51.100.1 dev br1");
  CHECK(laboratory.reached([&] { return routes_of("br1") == std::vector{half}; }));
  run("ip route del 128.0.0.0/1");
  CHECK(laboratory.reached([&] { return routes_of("br1").empty(); }));
  CHECK(routes_of("br0").size() == 2);

  run("ip route replace default via 198.51.100.1 dev br1");
  CHECK(laboratory.reached([&] { return routes_of("br1") == std::vector{whole}; }));
  CHECK(laboratory.facts.replaced);
}
