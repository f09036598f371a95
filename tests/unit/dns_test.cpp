// Names: whose resolv.conf it is (a table of what was found on real machines), which resolvers count, and how the
// daemon comes from one setup to the next.
#include "killswitch/codec/dns_journal.hpp"
#include "killswitch/codec/resolv_conf.hpp"
#include "killswitch/decide/describe.hpp"
#include "killswitch/decide/dns_owner.hpp"
#include "killswitch/decide/step.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <algorithm>

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::test;

namespace {

constexpr std::chrono::sys_seconds noon{std::chrono::seconds{1795400000}};

std::vector<Effect> run(World& world, const Event& event) {
  return decide::step(world, event, noon);
}

template <typename T>
const T* only(const std::vector<Effect>& effects) {
  const T* found = nullptr;
  for (const auto& effect : effects) {
    if (const auto* candidate = std::get_if<T>(&effect)) {
      REQUIRE(found == nullptr);
      found = candidate;
    }
  }
  return found;
}

std::string words(const std::vector<DnsBackend>& backends) {
  std::string text;
  for (const auto backend : backends) {
    text += (text.empty() ? "" : "+") + std::string{to_string(backend)};
  }
  return text;
}

/// A machine, in the words of the table.
struct Machine {
  std::string link;     ///< where /etc/resolv.conf leads; empty: a plain file; "-": there is none
  std::string content;  ///< "nameserver …"
  std::string mode;     ///< NetworkManager's; empty: not running
  std::string rc_manager;
  bool resolved{false};
  bool mount_point{false};
  bool immutable{false};
};

DnsFacts facts_of(const Machine& machine) {
  DnsFacts facts;
  auto& found = facts.resolv_conf;
  found.file.content = machine.content;
  found.mount_point = machine.mount_point;
  found.immutable = machine.immutable;
  if (machine.link == "-") {
    found.file.kind = FileCopy::Kind::absent;
  } else if (machine.link.empty()) {
    found.file.kind = FileCopy::Kind::regular;
    found.real_path = resolv_conf_path;
  } else {
    found.file.kind = FileCopy::Kind::symlink;
    found.file.target = machine.link;
    found.real_path = machine.link;
  }
  if (!machine.mode.empty()) {
    facts.networkmanager = NetworkManagerDns{machine.mode, machine.rc_manager, {}};
  }
  if (machine.resolved) {
    facts.resolved.emplace();
  }
  return facts;
}

const std::string router = "nameserver 192.168.43.1\n";
const std::string stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n";

DnsFacts with_networkmanager(const std::string& server, GlobalDns global) {
  auto facts = plain_resolv_conf(server);
  facts.networkmanager = NetworkManagerDns{"default", "symlink", std::move(global)};
  return facts;
}

/// A tunnel that has just come up on a machine with a plain resolv.conf.
World just_connected() {
  auto world = laptop_protected();
  world.dns = {};
  return world;
}

}  // namespace

TEST_CASE("Who owns resolv.conf", "[dns]") {
  struct Row {
    const char* name;
    Machine machine;
    const char* backends;
    const char* reason;
  };
  const std::vector<Row> table = {
      {"plain file, nobody", {"", router, "", ""}, "file", "plain file"},
      {"no file, nobody", {"-", "", "", ""}, "file", "there is no resolv.conf"},
      {"dangling link", {"/run/gone/resolv.conf", "", "", ""}, "file", "a link to /run/gone/resolv.conf"},
      {"bind mount, nobody", {"", router, "", "", false, true}, "file", "written in place"},
      {"NM, plain file", {"", router, "default", "symlink"}, "networkmanager", "NetworkManager writes"},
      {"NM, no file yet", {"-", "", "default", "symlink"}, "networkmanager", "NetworkManager writes"},
      {"NM, its own link", {"/run/NetworkManager/resolv.conf", router, "default", "symlink"}, "networkmanager", ""},
      {"NM, link elsewhere", {"/srv/resolv.conf", router, "default", "symlink"}, "file", "does not write"},
      {"NM rc-manager=file, link elsewhere", {"/srv/resolv.conf", router, "default", "file"}, "networkmanager", ""},
      {"NM rc-manager=unmanaged", {"", router, "default", "unmanaged"}, "file", "leaves resolv.conf alone"},
      {"NM dns=none", {"", router, "none", "unmanaged"}, "file", "leaves resolv.conf alone"},
      {"NM, file immutable at its start", {"", router, "default", "immutable"}, "file", "immutable"},
      {"NM, file immutable later", {"", router, "default", "symlink", false, false, true}, "file", "immutable"},
      {"NM lies: bind mount", {"", router, "default", "symlink", false, true}, "file", "mount point"},
      {"NM dns=dnsmasq", {"", "nameserver 127.0.0.1\n", "dnsmasq", "symlink"}, "networkmanager", ""},
      {"NM rc-manager=resolvconf, program missing", {"", router, "default", "resolvconf"}, "networkmanager", ""},
      {"NM dns=systemd-resolved, which is not there",
       {"", stub, "systemd-resolved", "unmanaged"},
       "file",
       "leaves resolv.conf alone"},
      {"resolved, stub link",
       {"/run/systemd/resolve/stub-resolv.conf", stub, "", "", true},
       "resolved",
       "names systemd-resolved"},
      {"resolved, stub link, NM",
       {"/run/systemd/resolve/stub-resolv.conf", stub, "systemd-resolved", "unmanaged", true},
       "resolved",
       "names systemd-resolved"},
      {"resolved, stub named in a plain file", {"", stub, "default", "symlink", true}, "resolved", "names"},
      {"resolved, static link", {"/usr/lib/systemd/resolv.conf", stub, "", "", true}, "resolved", "names"},
      {"resolved, its list of uplinks",
       {"/run/systemd/resolve/resolv.conf", router, "", "", true},
       "resolved+file",
       "is a link to /run/systemd/resolve"},
      {"resolved beside NM's file", {"", router, "default", "symlink", true}, "resolved+networkmanager", "beside"},
      {"resolved beside a plain file", {"", router, "", "", true}, "resolved+file", "beside"},
      {"stub link, resolved dead", {"/run/systemd/resolve/stub-resolv.conf", stub, "", ""}, "file", "is a link"},
      {"resolvconf", {"/run/resolvconf/resolv.conf", router, "", ""}, "file", "resolvconf's"},
      {"resolvconf, old place", {"/etc/resolvconf/run/resolv.conf", router, "", ""}, "file", "resolvconf's"},
      {"openresolv: a plain file",
       {"", "# Generated by resolvconf\n" + router, "", ""},
       "file",
       "written by resolvconf"},
  };
  for (const auto& row : table) {
    INFO(row.name);
    const auto plan = decide::plan_dns(facts_of(row.machine));
    CHECK(words(plan.backends) == row.backends);
    const std::string wanted = row.reason;
    CHECK(std::any_of(plan.reasons.begin(), plan.reasons.end(),
                      [&](const auto& reason) { return reason.find(wanted) != std::string::npos; }));
  }
}

TEST_CASE("A service that did not do what it was told is passed over", "[dns]") {
  const auto facts = facts_of({"", router, "default", "symlink", true});
  CHECK(words(decide::plan_dns(facts, {DnsBackend::networkmanager}).backends) == "resolved+file");
  CHECK(words(decide::plan_dns(facts, {DnsBackend::networkmanager, DnsBackend::resolved}).backends) == "file");
}

TEST_CASE("Resolvers out of the tunnel's reach are refused with the reason", "[dns]") {
  struct Row {
    const char* pushed;
    const char* reason;  // empty: accepted
  };
  const std::vector<Row> table = {
      {"192.168.255.1", ""},                          // in the tunnel's subnet
      {"10.20.30.40", ""},                            // private, but on no link: routed through the tunnel
      {"203.0.113.53", ""},                           // public
      {"192.168.43.1", "is on the network of wlo1"},  // the access point
      {"127.0.0.53", "is this machine itself"},
      {"169.254.1.1", "link-local"},
      {"fd00:0:0:feed::1", ""},
      {"2001:db8:1::53", ""},
      {"fe80::1", "link-local"},
      {"::1", "is this machine itself"},
  };
  for (const auto& row : table) {
    INFO(row.pushed);
    auto world = laptop_protected();
    world.trusted->report.resolvers = {ip(row.pushed)};
    const auto judged = decide::judge_resolvers(world);
    const std::string reason = row.reason;
    CHECK(judged.accepted.size() == (reason.empty() ? 1 : 0));
    CHECK(judged.refused.size() == (reason.empty() ? 0 : 1));
    if (!reason.empty() && !judged.refused.empty()) {
      CHECK(judged.refused[0].find(reason) != std::string::npos);
    }
  }
}

TEST_CASE("A refused resolver is not asked, not allowed, and named; the policy's takes its place", "[dns]") {
  auto world = laptop_protected();
  world.trusted->report.resolvers = {ip("192.168.43.1")};
  world.settings.policy.tunnel_resolvers = {ip("203.0.113.53")};
  CHECK(decide::tunnel_resolvers(world) == std::vector{ip("203.0.113.53")});
  const auto status = decide::describe(world);
  CHECK(std::any_of(status.warnings.begin(), status.warnings.end(), [](const auto& line) {
    return line.find("192.168.43.1 is out of the tunnel's reach") != line.npos;
  }));
  world.trusted->report.addresses = {*parse_interface_address("192.168.255.2/24")};
  world.trusted->report.resolvers = {ip("fd00:0:0:feed::1"), ip("192.168.255.1")};
  const auto judged = decide::judge_resolvers(world);
  CHECK(judged.accepted == std::vector{ip("192.168.255.1")});
  REQUIRE(judged.refused.size() == 1);
  CHECK(judged.refused[0].find("no IPv6 address") != std::string::npos);
}

TEST_CASE("The order of the server's resolvers is kept", "[dns]") {
  auto world = just_connected();
  world.trusted->report.resolvers = {ip("192.168.255.9"), ip("192.168.255.1")};
  world.report = world.trusted->report;
  const auto effects = run(world, DnsFound{plain_resolv_conf("192.168.43.1")});
  REQUIRE(only<ApplyDns>(effects) != nullptr);
  CHECK(only<ApplyDns>(effects)->setup.servers == world.report->resolvers);
}

TEST_CASE("Protected only when names were seen to be asked for in the tunnel (G13)", "[dns]") {
  auto world = just_connected();
  CHECK(decide::describe(world).state == State::connecting);
  const auto first = run(world, DnsFound{plain_resolv_conf("192.168.43.1")});
  REQUIRE(only<ApplyDns>(first) != nullptr);
  const auto setup = only<ApplyDns>(first)->setup;
  CHECK(words(setup.backends) == "file");
  auto status = decide::describe(world);
  CHECK(status.state == State::connecting);
  CHECK_FALSE(status.dns_applied);
  REQUIRE_FALSE(status.reasons.empty());
  CHECK(status.reasons.back().find("resolv.conf names 192.168.43.1, not 192.168.255.1") != std::string::npos);
  CHECK(only<ApplyDns>(run(world, DnsFound{plain_resolv_conf("192.168.43.1")})) == nullptr);  // it is on its way
  run(world, DnsFound{plain_resolv_conf("192.168.255.1")});
  run(world, DnsApplied{setup, {}});
  status = decide::describe(world);
  CHECK(status.state == State::protected_);
  CHECK(status.dns_applied);
  CHECK(status.dns_backend == "file");
  CHECK(world.dns.foreign_writes == 0);
}

TEST_CASE("A foreign write is undone and counted", "[dns]") {
  auto world = laptop_protected();
  const auto effects = run(world, DnsFound{plain_resolv_conf("192.168.43.1")});
  CHECK(only<ApplyDns>(effects) != nullptr);
  CHECK(world.dns.foreign_writes == 1);
  CHECK(decide::describe(world).state != State::protected_);
  run(world, DnsFound{plain_resolv_conf("192.168.255.1")});
  run(world, DnsApplied{*world.dns.setup, {}});
  CHECK(decide::describe(world).state == State::protected_);
  CHECK(decide::describe(world).dns_foreign_writes == 1);
}

TEST_CASE("Whose file it was is still said when it has been replaced", "[dns]") {
  auto world = just_connected();
  const auto setup =
      only<ApplyDns>(run(world, DnsFound{facts_of({"/run/resolvconf/resolv.conf", router, "", ""})}))->setup;
  run(world, DnsFound{plain_resolv_conf("192.168.255.1")});
  run(world, DnsApplied{setup, {}});
  CHECK(decide::describe(world).dns_reasons.at(0).find("resolvconf's") != std::string::npos);
}

TEST_CASE("The tunnel goes: names stay as they are, and are defended", "[dns]") {
  auto world = laptop_protected();
  const auto gone = run(world, LinkRemoved{tunnel});
  CHECK(only<ApplyDns>(gone) == nullptr);
  CHECK(only<RestoreDns>(gone) == nullptr);
  CHECK(world.dns.setup);
  CHECK(only<ApplyDns>(run(world, DnsFound{plain_resolv_conf("192.168.43.1")})) != nullptr);
  CHECK(world.dns.foreign_writes == 1);
}

TEST_CASE("The tunnel goes, and its resolver does not say where the server is: those of the links are asked", "[dns]") {
  auto world = laptop_protected();
  world.dns.engaged = true;
  (void)run(world, LinkRemoved{tunnel});
  CHECK(only<RestoreDns>(run(world, ServerNamesAsked{})) == nullptr);
  CHECK(only<RestoreDns>(run(world, ServerNamesAsked{})) != nullptr);
  (void)run(world, DnsRestored{});
  CHECK_FALSE(world.dns.setup);
  // Answered: they stay given back until there is a tunnel again.
  const auto answered =
      run(world, ServerNameAnswered{"vpn.example.test", {ip("198.51.100.49")}, std::chrono::seconds{300}});
  CHECK(only<ApplyDns>(answered) == nullptr);
  world = laptop_protected();
  world.names.in_vain = 5;  // while the tunnel stands nothing is given back
  CHECK(only<RestoreDns>(run(world, ServerNamesAsked{})) == nullptr);
}

TEST_CASE("Disable gives back; what cannot be given back yet is tried again", "[dns]") {
  auto world = laptop_protected();
  CHECK_FALSE(decide::gives_names_back(world));
  world.dns.stalled = GENERATE(false, true);  // what was tried before and did not work is not waited for
  CHECK(only<RestoreDns>(run(world, DisableRequested{})) != nullptr);
  CHECK_FALSE(world.dns.setup);
  CHECK(decide::gives_names_back(world));
  CHECK(only<RestoreDns>(run(world, DnsFound{plain_resolv_conf("192.168.43.1")})) == nullptr);  // it is on its way
  SECTION("done") {
    run(world, DnsRestored{});
    CHECK_FALSE(world.dns.engaged);
    CHECK_FALSE(decide::gives_names_back(world));
    CHECK(only<RestoreDns>(run(world, DnsRetryDue{})) == nullptr);
  }
  SECTION("not done") {
    CHECK(only<RestoreDns>(run(world, DnsRestored{"systemd-resolved is not running"})) == nullptr);
    CHECK(world.dns.engaged);
    CHECK_FALSE(decide::gives_names_back(world));  // nobody waits for it until it is tried again
    CHECK(only<RestoreDns>(run(world, DnsRetryDue{})) != nullptr);
    CHECK(decide::gives_names_back(world));
  }
  SECTION("enabled again meanwhile") {
    run(world, LinkRemoved{tunnel});
    run(world, EnableRequested{laptop_protected().settings});
    CHECK_FALSE(world.dns.setup);  // until the tunnel is there
    run(world, DnsRestored{});
    CHECK_FALSE(world.dns.engaged);
  }
}

TEST_CASE("A journal of an earlier run: defended when enabled, given back when not", "[dns]") {
  const auto setup = *laptop_protected().dns.setup;
  auto world = laptop_blocked();
  run(world, DnsEngaged{setup});
  CHECK(only<ApplyDns>(run(world, DnsFound{plain_resolv_conf("192.168.255.1")})) == nullptr);
  CHECK(only<ApplyDns>(run(world, DnsFound{plain_resolv_conf("192.168.43.1")})) != nullptr);
  World off;
  off.enabled = false;
  CHECK(only<RestoreDns>(run(off, DnsEngaged{setup})) == nullptr);  // who runs is not known yet
  CHECK(only<RestoreDns>(run(off, DnsFound{plain_resolv_conf("192.168.255.1")})) != nullptr);
}

TEST_CASE("NetworkManager without effect: the file itself", "[dns]") {
  auto world = just_connected();
  const auto first = run(world, DnsFound{with_networkmanager("192.168.43.1", {})});
  REQUIRE(only<ApplyDns>(first) != nullptr);
  const auto setup = only<ApplyDns>(first)->setup;
  REQUIRE(words(setup.backends) == "networkmanager");
  run(world,
      DnsFound{with_networkmanager("192.168.43.1", decide::global_dns(setup))});  // "success", but the file is not ours
  const auto second = run(world, DnsApplied{setup, {}});
  REQUIRE(only<ApplyDns>(second) != nullptr);
  CHECK(words(only<ApplyDns>(second)->setup.backends) == "file");

  SECTION("it goes and comes back: tried anew") {
    run(world, DnsApplied{*world.dns.setup, {}});
    run(world, DnsFound{plain_resolv_conf("192.168.255.1")});
    run(world, DnsFound{with_networkmanager("192.168.255.1", {})});
    CHECK(words(world.dns.setup->backends) == "networkmanager");
  }
}

TEST_CASE("Failures: said, and tried again when something changes or after a while", "[dns]") {
  auto world = just_connected();
  const auto setup = only<ApplyDns>(run(world, DnsFound{plain_resolv_conf("192.168.43.1")}))->setup;
  const auto failed = run(world, DnsApplied{setup, {{DnsBackend::file, "replace /etc/resolv.conf: Read-only"}}});
  CHECK(only<ApplyDns>(failed) == nullptr);
  CHECK(world.dns.stalled);
  CHECK(decide::describe(world).state == State::connecting);
  CHECK(decide::describe(world).reasons.back().find("Read-only") != std::string::npos);
  CHECK(only<ApplyDns>(run(world, DnsRetryDue{})) != nullptr);
}

TEST_CASE("A service that is just starting is told again; one that refuses, or goes on failing, is passed over",
          "[dns]") {
  auto world = just_connected();
  auto facts = facts_of({"/run/systemd/resolve/stub-resolv.conf", stub, "", "", true});
  const auto setup = only<ApplyDns>(run(world, DnsFound{facts}))->setup;
  REQUIRE(words(setup.backends) == "resolved");
  const DnsFailure passing{DnsBackend::resolved, "SetLinkDomains: Link 3 not known", true};
  const DnsFailure lasting{DnsBackend::resolved, "SetLinkDNS: not permitted", false};

  SECTION("it does what it is told after a while") {
    CHECK(only<ApplyDns>(run(world, DnsApplied{setup, {passing}})) == nullptr);
    CHECK(world.dns.stalled);
    CHECK(world.dns.unfit.empty());
    const auto again = run(world, DnsRetryDue{});
    REQUIRE(only<ApplyDns>(again) != nullptr);
    CHECK(words(only<ApplyDns>(again)->tell) == "resolved");
    facts.resolved = {{ResolvedLink{tunnel, {ip("192.168.255.1")}, {{".", true}}}}};
    run(world, DnsFound{facts});
    run(world, DnsApplied{setup, {}});
    CHECK(world.dns.failures == 0);
    CHECK(decide::describe(world).state == State::protected_);
  }
  SECTION("it refuses") {
    const auto next = run(world, DnsApplied{setup, {lasting}});
    REQUIRE(only<ApplyDns>(next) != nullptr);
    CHECK(words(only<ApplyDns>(next)->setup.backends) == "file");
  }
  SECTION("it goes on failing, until it starts anew or the tunnel is another one") {
    for (int i = 0; i < 10 && world.dns.unfit.empty(); ++i) {
      run(world, DnsApplied{setup, {passing}});
      run(world, DnsRetryDue{});
    }
    CHECK(words(world.dns.unfit) == "resolved");
    CHECK(words(world.dns.setup->backends) == "file");
    run(world, DnsApplied{*world.dns.setup, {}});
    SECTION("it starts anew") {
      ++facts.restarts;
      run(world, DnsFound{facts});
    }
    SECTION("another tunnel") {
      run(world, LinkRemoved{tunnel});
      auto other = tun0();
      other.index = IfIndex{9};
      run(world, LinkChanged{other});
      for (const auto& address : other.addresses) {
        run(world, AddressAdded{other.index, address});
      }
      run(world, ManagementReceived{management::ConnectionId{1}, management::TunnelUp{dual_stack_report()}});
      REQUIRE(world.trusted);
    }
    CHECK(world.dns.unfit.empty());
    CHECK(words(world.dns.setup->backends) == "resolved");
  }
}

TEST_CASE("NetworkManager's push to systemd-resolved: only the latter is told, and nobody tampered", "[dns]") {
  auto world = just_connected();
  auto facts = with_networkmanager("192.168.43.1", {});
  facts.resolved.emplace();
  const auto first = run(world, DnsFound{facts});
  REQUIRE(only<ApplyDns>(first) != nullptr);
  const auto setup = only<ApplyDns>(first)->setup;
  CHECK(words(only<ApplyDns>(first)->tell) == "resolved+networkmanager");
  facts = with_networkmanager("192.168.255.1", decide::global_dns(setup));
  const ResolvedLink ours{tunnel, {ip("192.168.255.1")}, {{".", true}}};
  facts.resolved = {{ours}};
  run(world, DnsFound{facts});
  run(world, DnsApplied{setup, {}});
  CHECK(decide::describe(world).state == State::protected_);
  facts.resolved = {{ResolvedLink{wifi, {ip("192.168.43.1")}, {{"com", false}}}, ours}};
  const auto pushed = run(world, DnsFound{facts});
  REQUIRE(only<ApplyDns>(pushed) != nullptr);
  CHECK(words(only<ApplyDns>(pushed)->tell) == "resolved");
  CHECK(world.dns.foreign_writes == 0);
}

TEST_CASE("systemd-resolved holds when the tunnel alone is asked", "[dns]") {
  DnsFacts facts = facts_of({"/run/systemd/resolve/stub-resolv.conf", stub, "", "", true});
  const DnsSetup setup{{DnsBackend::resolved}, tunnel, {ip("192.168.255.1")}, {}};
  CHECK_FALSE(decide::dns_difference(facts, setup).empty());
  ResolvedLink ours{tunnel, {ip("192.168.255.1")}, {{".", true}}};
  facts.resolved = {{ours}};
  CHECK(decide::dns_difference(facts, setup).empty());
  facts.resolved = {{ResolvedLink{wifi, {}, {{"com", false}}}, ours}};  // a hostile lease claims a domain
  CHECK(decide::dns_difference(facts, setup).find("interface 2") != std::string::npos);
  facts.resolved = {{ResolvedLink{wifi, {ip("192.168.43.1")}, {}}, ours}};
  CHECK_FALSE(decide::dns_difference(facts, setup).empty());
  ours.domains.clear();
  facts.resolved = {{ours}};
  CHECK_FALSE(decide::dns_difference(facts, setup).empty());
}

TEST_CASE("nameserver lines as the C library reads them", "[dns]") {
  using Names = std::vector<std::string>;
  CHECK(nameservers_of("") == Names{});
  CHECK(nameservers_of("nameserver 192.0.2.1") == Names{"192.0.2.1"});
  CHECK(nameservers_of("# nameserver 192.0.2.1\n;nameserver 192.0.2.2\n nameserver 192.0.2.3\n") == Names{});
  CHECK(nameservers_of("nameserver\t2001:DB8:0::1 # x\nnameserver fe80::1%eth0\nnameservers 192.0.2.1\n") ==
        Names{"2001:db8::1", "fe80::1%eth0"});
  CHECK(nameservers_of(codec::render_resolv_conf({ip("192.0.2.1"), ip("2001:db8::1"), ip("192.0.2.2"), ip("192.0.2.3")},
                                                 {"example.test"})) == Names{"192.0.2.1", "2001:db8::1", "192.0.2.2"});
}

TEST_CASE("The journal survives a round trip byte for byte", "[dns]") {
  DnsJournal journal;
  journal.setup = {
      {DnsBackend::resolved, DnsBackend::file}, tunnel, {ip("192.168.255.1"), ip("2001:db8::1")}, {"a.test"}};
  auto& file = journal.resolv_conf.emplace();
  file.kind = FileCopy::Kind::regular;
  for (int byte = 0; byte < 256; ++byte) {
    file.content += static_cast<char>(byte);
  }
  file.mode = 0644;
  journal.file_replaced = true;
  journal.networkmanager.emplace().domains["*"].servers = {"192.0.2.1"};
  journal.resolved = {{wifi, {ip("192.168.43.1")}, {{"lan", false}}}};
  const auto text = codec::render_dns_journal(journal);
  const auto parsed = codec::parse_dns_journal(text, "dns.json");
  INFO((parsed ? "" : parsed.error().message()));
  REQUIRE(parsed);
  CHECK(*parsed == journal);
  CHECK_FALSE(codec::parse_dns_journal(R"({"version":1,"setup":{}})", "dns.json"));
  CHECK_FALSE(codec::parse_dns_journal("{", "dns.json"));
}
