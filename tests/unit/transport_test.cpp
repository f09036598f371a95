// Whose sockets are the transport's: what proves a process, and which interface is therefore the tunnel.
#include "killswitch/decide/transport.hpp"
#include "killswitch/codec/ip_packet.hpp"
#include "killswitch/codec/process_status.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/decide/compile.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

constexpr std::chrono::sys_seconds noon{std::chrono::seconds{1795400000}};
constexpr FileId openvpn_file{2049, 131};
constexpr std::uint32_t openvpn_user = 114;
constexpr std::uint64_t net_admin = 0x1000;

std::vector<ProgramFile> programs() {
  return {{{"/usr/sbin/openvpn", "openvpn"}, openvpn_file, openvpn_user, ""},
          {{"/usr/sbin/openvpn", "nm-openvpn"}, openvpn_file, {}, ""},
          {{"/usr/local/sbin/openvpn", ""}, {}, {}, "/usr/local/sbin/openvpn: No such file or directory"},
          {{"/opt/vpn/openvpn", ""}, {2049, 7}, {}, "/opt/vpn belongs to uid 1000"}};
}

ProcessFacts root_process() {
  return {.pid = 4711,
          .executable = openvpn_file,
          .uids = {0, 0, 0, 0},
          .effective_capabilities = 0x1ffffffffff,
          .same_user_namespace = true,
          .same_network_namespace = true,
          .tracer = 0};
}

std::string refusal_of(const ProcessFacts& process) {
  const auto judgement = decide::judge_process(process, programs());
  CHECK(judgement.program.empty() != judgement.refusal.empty());
  return judgement.refusal;
}

bool mentions(const std::vector<std::string>& lines, std::string_view words) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

void run(World& world, const Event& event) {
  [[maybe_unused]] const auto effects = decide::step(world, event, noon);
}

Endpoint server() {
  return {ip("198.51.100.49"), Port{1194}, Protocol::udp};
}

/// The link of a tunnel, with its addresses.
void appear(World& world, IfIndex index = tunnel, const char* name = "tun0") {
  auto made = tun0(index);
  made.name = name;
  run(world, LinkChanged{made});
  for (const auto& address : made.addresses) {
    run(world, AddressAdded{index, address});
  }
}

TransportProven proven(std::vector<Endpoint> endpoints, std::vector<IfIndex> tunnels, std::uint32_t pid = 4711,
                       const char* program = "/usr/sbin/openvpn") {
  return {{pid, program, std::move(endpoints), std::move(tunnels), {}}};
}

}  // namespace

TEST_CASE("A process is proven by its file and by whose it is", "[transport]") {
  auto process = root_process();
  CHECK(refusal_of(process).empty());
  CHECK(decide::judge_process(process, programs()).program == "/usr/sbin/openvpn");
  SECTION("as another user it holds CAP_NET_ADMIN (`user nobody`)") {
    process.uids = {65534, 65534, 65534, 65534};
    process.effective_capabilities = net_admin;
    CHECK(refusal_of(process).empty());
  }
  SECTION("it runs as the system user of its entry") {
    process.uids = {openvpn_user, openvpn_user, openvpn_user, openvpn_user};
    process.effective_capabilities = 0;
    CHECK(refusal_of(process).empty());
  }
}

TEST_CASE("What an unprivileged user can have in hand is no proof", "[transport]") {
  auto process = root_process();
  std::string words;
  SECTION("another program, of root") {
    process.executable.inode = 132;
    words = "none of the trusted programs";
  }
  SECTION("the same inode on another device") {
    process.executable.device = 1;
    words = "none of the trusted programs";
  }
  SECTION("a file that is not there has no identity") {
    process.executable = {};
    words = "none of the trusted programs";
  }
  SECTION("the program, run by a user") {
    process.uids = {1000, 1000, 1000, 1000};
    process.effective_capabilities = 0;
    words = "uid 1000 without CAP_NET_ADMIN";
  }
  SECTION("set-user-ID: the user behind it is another") {
    process.uids = {1000, 0, 0, 0};
    process.effective_capabilities = 0;
    words = "uid 1000";
  }
  SECTION("nobody is no system user of its own") {
    process.uids = {65534, 65534, 65534, 65534};
    process.effective_capabilities = 0;
    words = "uid 65534";
  }
  SECTION("a capability that is not CAP_NET_ADMIN") {
    process.uids = {1000, 1000, 1000, 1000};
    process.effective_capabilities = 0x2000;
    words = "uid 1000";
  }
  SECTION("root of a user namespace") {
    process.same_user_namespace = false;
    words = "user namespace";
  }
  SECTION("under a debugger") {
    process.tracer = 99;
    words = "traced by pid 99";
  }
  SECTION("in another network namespace") {
    process.same_network_namespace = false;
    words = "network namespace";
  }
  SECTION("a file that a user can replace") {
    process.executable = {2049, 7};
    words = "/opt/vpn belongs to uid 1000";
  }
  CHECK(refusal_of(process).find(words) != std::string::npos);
}

TEST_CASE("Plain OpenVPN becomes the tunnel by proof: the device in hand, and a pinned server", "[transport]") {
  auto world = laptop_blocked();
  run(world, TransportProven{proven({server()}, {})});
  CHECK(decide::describe(world).state != State::protected_);
  appear(world);
  CHECK_FALSE(world.trusted);  // nobody is known to hold it
  run(world, proven({server()}, {tunnel}));
  REQUIRE(world.trusted);
  CHECK(world.trusted->index == tunnel);
  CHECK(world.trusted->report.source == TunnelSource::process);
  CHECK(world.trusted->report.server == server());
  CHECK(decide::compile_audited(world).violations.empty());
  CHECK(decide::describe(world).transport == "openvpn (pid 4711, /usr/sbin/openvpn), marked");
  run(world, TransportEnded{4711});
  CHECK_FALSE(world.trusted);
}

TEST_CASE("Whatever is missing leaves the device untrusted", "[transport]") {
  auto world = laptop_blocked();
  SECTION("the process sends to a server that is not pinned") {
    appear(world);
    run(world, proven({{ip("203.0.113.9"), Port{1194}, Protocol::udp}}, {tunnel}));
  }
  SECTION("it holds another device") {
    appear(world);
    run(world, proven({server()}, {IfIndex{77}}));
  }
  SECTION("the device has no address") {
    run(world, LinkChanged{link(tunnel, "tun0", "tun")});
    run(world, proven({server()}, {tunnel}));
  }
  SECTION("the device is of another kind") {
    world.links[tunnel] = link(tunnel, "tun0", "veth");
    world.links[tunnel].addresses = tun0().addresses;
    run(world, proven({server()}, {tunnel}));
  }
  SECTION("the settings restrict the tunnel to another interface") {
    world.settings.interface = "tun5";
    appear(world);
    run(world, proven({server()}, {tunnel}));
  }
  SECTION("the process guides itself, and announces its interface when it is ready") {
    appear(world);
    run(world, ManagementOpened{{1}, management::Direction::openvpn_connected, false, 4711});
    run(world, proven({server()}, {tunnel}));
  }
  SECTION("it serves another user's helper that nobody named") {
    appear(world);
    run(world, proven({server()}, {}, 12, "/usr/bin/stunnel4"));
    run(world, proven({}, {tunnel}));
  }
  CHECK_FALSE(world.trusted);
}

TEST_CASE("A helper that was named carries the tunnel of a proven OpenVPN", "[transport]") {
  auto world = laptop_blocked();
  world.settings.transport_programs = {{"/usr/bin/stunnel4", "stunnel4"}};
  appear(world);
  run(world, proven({}, {tunnel}));
  CHECK_FALSE(world.trusted);
  const Endpoint front{ip("127.0.0.1"), Port{1194}, Protocol::tcp};
  const Endpoint back{ip("127.0.0.1"), Port{40000}, Protocol::tcp};
  auto helper = proven({server()}, {}, 12, "/usr/bin/stunnel4");
  helper.process.local = {{front, {ip("127.0.0.1"), Port{40001}, Protocol::tcp}}};
  run(world, helper);
  CHECK_FALSE(world.trusted);  // it serves another OpenVPN, or none
  auto openvpn = proven({}, {tunnel});
  openvpn.process.local = {{back, front}};
  run(world, openvpn);
  CHECK_FALSE(world.trusted);
  helper.process.local.push_back({front, back});
  run(world, helper);
  REQUIRE(world.trusted);
  run(world, TransportEnded{12});
  CHECK(world.trusted);  // as after a restart: it holds the device, and the server is still pinned
  world.settings.remotes.clear();
  run(world, LinksListed{world.links});
  CHECK_FALSE(world.trusted);
}

TEST_CASE("One tunnel: the first that is trusted stays it", "[transport]") {
  auto world = laptop_blocked();
  appear(world, IfIndex{20}, "tun1");
  run(world, proven({server()}, {IfIndex{20}}));
  appear(world, tunnel, "tun0");
  run(world, proven({server()}, {tunnel}, 12));
  REQUIRE(world.trusted);
  CHECK(world.trusted->index == IfIndex{20});
  SECTION("a guided OpenVPN does not take its place") {
    run(world, ManagementOpened{{1}, management::Direction::openvpn_connected, false, 13});
    run(world, ManagementReceived{{1}, management::TunnelUp{dual_stack_report()}});
    REQUIRE(world.trusted);
    CHECK(world.trusted->index == IfIndex{20});
  }
  SECTION("when it ends, the next one is") {
    run(world, TransportEnded{4711});
    REQUIRE(world.trusted);
    CHECK(world.trusted->index == tunnel);
  }
}

TEST_CASE("A change of server while protected is followed", "[transport]") {
  auto world = laptop_blocked();
  appear(world);
  run(world, proven({server()}, {tunnel}));
  const Endpoint other{ip("2001:db8:b700::220"), Port{1194}, Protocol::udp};
  run(world, proven({server(), other}, {tunnel}));
  REQUIRE(world.trusted);
  CHECK(world.trusted->report.server == other);
}

TEST_CASE("Over a restart of the daemon a proven tunnel stays one", "[transport]") {
  auto before = laptop_blocked();
  appear(before);
  run(before, proven({server()}, {tunnel}));
  REQUIRE(before.trusted);
  auto world = decide::restore(*decide::to_save(before));
  SECTION("its process is proven again before the interfaces are known") {
    run(world, proven({}, {tunnel}));
    run(world, LinksListed{before.links});
    CHECK(world.trusted == before.trusted);
  }
  SECTION("its process is gone") {
    run(world, LinksListed{before.links});
    CHECK_FALSE(world.trusted);
  }
}

TEST_CASE("Status says exactly what is open", "[transport]") {
  auto world = laptop_blocked();
  CHECK(decide::describe(world).open == std::vector<std::string>{"link control traffic (DHCP, NDP, ARP, 802.1X)",
                                                                 "OpenVPN (marked sockets) to 2 server addresses",
                                                                 "DNS queries for vpn.example.test"});
  world.settings.policy = Policy{};
  world.settings.remotes.pop_back();
  CHECK(decide::describe(world).open ==
        std::vector<std::string>{"link control traffic (ARP, 802.1X)", "OpenVPN (marked sockets) to 1 server address"});
  world.violations = {"G1: something"};
  CHECK(decide::describe(world).open == std::vector<std::string>{"link control traffic (ARP, 802.1X)"});
  CHECK(decide::describe(laptop_protected()).open ==
        std::vector<std::string>{"link control traffic (DHCP, NDP, ARP, 802.1X)",
                                 "OpenVPN (marked sockets) to 2 server addresses"});
  run(world, DisableRequested{});
  CHECK(decide::describe(world).open.empty());
}

TEST_CASE("What cannot be proven, and why, is told once and shown", "[transport]") {
  auto world = laptop_blocked();
  const auto log_lines = [&](const Event& event) {
    const auto effects = decide::step(world, event, noon);
    return std::count_if(effects.begin(), effects.end(),
                         [](const Effect& effect) { return std::holds_alternative<LogLine>(effect); });
  };
  CHECK(log_lines(TransportRefused{"openvpn (pid 7, /usr/sbin/openvpn) is not trusted: …"}) == 1);
  CHECK(log_lines(TransportRefused{"openvpn (pid 7, /usr/sbin/openvpn) is not trusted: …"}) == 0);
  CHECK(mentions(decide::describe(world).warnings, "pid 7"));
  long lines = 0;
  for (int pid = 100; pid < 1000; ++pid) {
    lines += log_lines(TransportRefused{"pid " + std::to_string(pid)});
  }
  CHECK(lines == 19);  // twenty a minute, however many processes try
  CHECK(log_lines(TransportProofUnavailable{"killswitchd has no CAP_SYS_PTRACE"}) == 1);
  CHECK(mentions(decide::describe(world).warnings, "CAP_SYS_PTRACE"));
  world.kernel.socket = false;
  CHECK(mentions(decide::describe(world).warnings, "CONFIG_NFT_SOCKET"));
  CHECK(decide::compile_audited(world).violations.empty());
}

TEST_CASE("While no tunnel is trusted, marked packets are copied to find whose they are", "[transport]") {
  const auto copies = [](const World& world) {
    std::size_t found = 0;
    const auto ruleset = decide::compile(world);
    for (const auto& chain : ruleset.tables[0].chains) {
      found += static_cast<std::size_t>(std::count_if(chain.rules.begin(), chain.rules.end(), [](const Rule& rule) {
        return rule.log.prefix == marked_prefix && rule.verdict.kind == Verdict::Kind::none;
      }));
    }
    return found;
  };
  CHECK(copies(laptop_connecting()) == 2);
  CHECK(copies(laptop_protected()) == 0);
  auto no_log = laptop_connecting();
  no_log.kernel.log = false;
  CHECK(copies(no_log) == 0);
}

TEST_CASE("/proc/PID/status is read, or nothing is assumed", "[transport]") {
  const std::string text =
      "Name:\topenvpn\nTracerPid:\t0\nUid:\t65534\t65534\t65534\t65534\nCapEff:\t0000000000001000\nSeccomp:\t0\n";
  const auto status = codec::parse_process_status(text);
  REQUIRE(status);
  CHECK(status->uids == std::array<std::uint32_t, 4>{65534, 65534, 65534, 65534});
  CHECK(status->effective_capabilities == net_admin);
  CHECK(status->tracer == 0);
  for (const char* line : {"Uid:", "CapEff:", "TracerPid:"}) {
    auto cut = text;
    cut.replace(cut.find(line), 3, "xxx");
    INFO(line);
    CHECK_FALSE(codec::parse_process_status(cut));
  }
  for (const char* bad : {"Uid:\t0\t0\t0\n", "Uid:\t0\t0\t0\t-1\n", "Uid:\t0\t0\t0\t4294967296\n"}) {
    CHECK_FALSE(codec::parse_process_status(std::string{bad} + "CapEff:\t0\nTracerPid:\t0\n"));
  }
  CHECK_FALSE(codec::parse_process_status("Uid:\t0\t0\t0\t0\nCapEff:\txyz\nTracerPid:\t0\n"));
}

TEST_CASE("Programs are named by their path, and the user by its name", "[transport]") {
  CHECK(*parse_transport_program("/usr/bin/stunnel4") == TransportProgram{"/usr/bin/stunnel4", ""});
  CHECK(*parse_transport_program("/usr/bin/stunnel4:stunnel4") == TransportProgram{"/usr/bin/stunnel4", "stunnel4"});
  for (const char* bad : {"", "/", "stunnel4", "/usr/bin/a:", "/usr/bin/a:nobody", "/usr/bin/a:a b", ":root"}) {
    INFO(bad);
    CHECK_FALSE(parse_transport_program(bad));
  }
}
