// The way to the VPN server against the real kernel, in a network namespace of its own (see CMakeLists.txt).
#include "killswitch/enforce/host_route.hpp"
#include "killswitch/sense/server_route.hpp"

#include "support/catch.hpp"

#include <net/if.h>
#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace {

using namespace killswitch;
using model::DefaultRoute;
using model::HostRoute;
using model::IfIndex;
using model::IpAddress;

/// Never on the machine's own interfaces. A link with a router, and a tunnel that has taken everything over.
void enter_laboratory() {
  const auto network_of = [](const std::string& process) {
    return std::filesystem::read_symlink("/proc/" + process + "/ns/net");
  };
  REQUIRE(network_of("self") != network_of(std::to_string(::getppid())));
}

void run(const std::string& command) {
  INFO(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

IpAddress ip(const char* text) {
  return *model::parse_ip_address(text);
}

IfIndex index_of(const char* name) {
  return IfIndex{::if_nametoindex(name)};
}

void make_links() {
  run("ip link add link0 type bridge && ip link add port0 type veth peer name far0 && "
      "ip link set port0 master link0 && ip link set far0 up && ip link set port0 up && ip link set link0 up");
  run("ip link add tunnel0 type bridge && ip link add port1 type veth peer name far1 && "
      "ip link set port1 master tunnel0 && ip link set far1 up && ip link set port1 up && ip link set tunnel0 up");
  run("ip address add 192.168.1.5/24 dev link0 && ip route add default via 192.168.1.1 metric 100");
  run("ip -6 address add fd00:1::5/64 dev link0 nodad && ip -6 route add default via fd00:1::1 metric 1024");
  run("ip address add 10.8.0.2/24 dev tunnel0 && ip route add 0.0.0.0/1 via 10.8.0.1 && "
      "ip route add 128.0.0.0/1 via 10.8.0.1");
  run("ip -6 address add fd00:8::2/64 dev tunnel0 nodad && ip -6 route add 2000::/3 via fd00:8::1");
}

}  // namespace

TEST_CASE("The kernel says where the server would be looked for, and takes a route of ours", "[kernel][route]") {
  enter_laboratory();
  make_links();
  struct Row {
    const char* server;
    const char* router;
    std::uint32_t metric;
  };
  for (const auto& row : {Row{"198.51.100.49", "192.168.1.1", 100}, Row{"2001:db8::49", "fd00:1::1", 1024}}) {
    INFO(row.server);
    const HostRoute ours{ip(row.server), index_of("link0"), ip(row.router)};
    model::ServerRouteQuestion question{ip(row.server), 0, index_of("tunnel0"), false};
    auto found = sense::find_server_route(question);
    REQUIRE(found);
    CHECK(found->leads_over == index_of("tunnel0"));
    CHECK(found->defaults == std::vector{DefaultRoute{index_of("link0"), ip(row.router), row.metric}});

    auto changed = enforce::change_host_route({}, ours);
    CHECK(changed.error.empty());
    CHECK(changed.ours == ours);
    found = sense::find_server_route(question);
    CHECK(found->leads_over == index_of("link0"));
    CHECK(found->defaults.empty());
    CHECK(*enforce::own_host_routes() == std::vector{ours});
    CHECK_FALSE(enforce::change_host_route({}, ours).error.empty());  // what stands there is not replaced

    const HostRoute moved{ours.destination, ours.link, ip(row.router[0] == 'f' ? "fd00:1::2" : "192.168.1.2")};
    CHECK(enforce::change_host_route(ours, moved).error.empty());
    CHECK(*enforce::own_host_routes() == std::vector{moved});
    CHECK(enforce::change_host_route(moved, {}).error.empty());
    CHECK(enforce::change_host_route(moved, {}).error.empty());  // gone already
    CHECK(enforce::own_host_routes()->empty());
  }
}

TEST_CASE("A route of somebody else's stays, with and without a daemon", "[kernel][route]") {
  enter_laboratory();
  make_links();
  run("ip route add 198.51.100.49 via 192.168.1.1");
  const HostRoute same{ip("198.51.100.49"), index_of("link0"), ip("192.168.1.1")};
  CHECK(enforce::change_host_route(same, {}).error.empty());
  const HostRoute other{ip("198.51.100.50"), index_of("link0"), ip("192.168.1.1")};
  CHECK(enforce::change_host_route({}, other).error.empty());
  CHECK(enforce::remove_host_routes());
  CHECK(enforce::own_host_routes()->empty());
  run("ip route show 198.51.100.49 | grep -q 192.168.1.1");
}

TEST_CASE("A rule of the routing policy for OpenVPN's mark is respected", "[kernel][route]") {
  enter_laboratory();
  make_links();
  run("ip route add default via 192.168.1.1 table 77 && ip rule add fwmark 7 lookup 77");
  CHECK(sense::find_server_route({ip("198.51.100.49"), 7, index_of("tunnel0"), false})->leads_over ==
        index_of("link0"));
  CHECK(sense::find_server_route({ip("198.51.100.49"), 0, index_of("tunnel0"), false})->leads_over ==
        index_of("tunnel0"));
}
