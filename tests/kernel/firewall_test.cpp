// The firewall against the kernel, one fresh network namespace a case; nft(8) is the independent witness.
#include "killswitch/enforce/firewall.hpp"

#include "killswitch/codec/nft_text.hpp"
#include "support/catch.hpp"
#include "support/nft_samples.hpp"
#include "support/process.hpp"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <sstream>

using namespace killswitch;
using namespace killswitch::testing;
using enforce::ApplyReport;
using enforce::Firewall;
using Kind = ApplyReport::Kind;

namespace {

Firewall open_firewall() {
  auto firewall = Firewall::open();
  INFO((firewall ? "" : firewall.error().message()));
  REQUIRE(firewall);
  return std::move(*firewall);
}

Kind apply(Firewall& firewall, const model::Ruleset& ruleset) {
  const auto report = firewall.apply(ruleset);
  INFO((report ? "" : report.error().message()));
  REQUIRE(report);
  return report->kind;
}

void verify(Firewall& firewall, const model::Ruleset& ruleset) {
  const auto seen = firewall.read_back(ruleset);
  INFO((seen ? "" : seen.error().message()));
  REQUIRE(seen);
  CHECK(seen->differences == std::vector<std::string>{});
  CHECK(seen->present);
}

/// The listing without what only an owned table has: its flags and the name of the owner.
std::string without_owner(const std::string& listing) {
  std::istringstream lines{listing};
  std::string kept;
  bool after_flags = false;
  for (std::string line; std::getline(lines, line);) {
    const bool flags = line == "\tflags owner" || line == "\tflags ";
    if (!flags && !(after_flags && line.empty())) {
      kept += line.substr(0, line.find(" # progname")) + "\n";
    }
    after_flags = flags;
  }
  return kept;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream{path} << text;
}

std::string list_in_twin(const std::string& text, const std::string& prepare = "true") {
  const std::string path = "/tmp/killswitch-twin-" + std::to_string(::getpid()) + ".nft";
  write_file(path, text);
  const auto twin = shell("unshare --net sh -c '" + prepare + " && nft -f " + path + " && nft list ruleset'");
  ::unlink(path.c_str());
  CHECK(twin.status == 0);
  return twin.text;
}

/// A process that holds `ruleset` in the kernel until it is killed.
Child owner_of(const model::Ruleset& ruleset) {
  Child child{[&] {
    auto firewall = Firewall::open();
    if (firewall && firewall->apply(ruleset)) {
      ::pause();
    }
  }};
  REQUIRE(eventually([] { return shell("nft list table inet killswitch").status == 0; }));
  return child;
}

void send_udp(const char* address, std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  ::inet_pton(AF_INET, address, &to.sin_addr);
  (void)::sendto(socket, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  ::close(socket);
}

/// Everything that leaves is counted and dropped; `comment` makes two of them differ.
model::Ruleset drop_all(const std::string& comment) {
  return {{{model::TableFamily::inet,
            model::table_name,
            {"other"},
            {},
            {samples::base_chain("output", model::Hook::output, 0,
                                 {samples::rule({}, samples::drop, comment, "other")})}}}};
}

}  // namespace

TEST_CASE("a ruleset of every word comes back from the kernel without differences") {
  auto firewall = open_firewall();
  CHECK(apply(firewall, samples::everything()) == Kind::full);
  verify(firewall, samples::everything());
  const auto seen = firewall.read();
  REQUIRE(seen);
  CHECK(codec::differences(samples::everything(), seen->ruleset).empty());
  if (firewall.features().persist) {
    CHECK(seen->ownership == model::Ownership::owner_persist);
  }
}

TEST_CASE("nft(8) lists our tables exactly as those it loads from our text") {
  auto firewall = open_firewall();
  apply(firewall, samples::everything());
  const auto ours = shell("nft list ruleset");
  CHECK(without_owner(ours.text) == list_in_twin(codec::render_nft_text(samples::everything())));
}

TEST_CASE("egress chains on devices: listed alike, read back, and their devices exchanged") {
  const auto ruleset = [](std::vector<std::string> devices) {
    using model::Field;
    model::Table table{model::TableFamily::netdev, model::table_name, {"other"}, {}, {}};
    table.sets.push_back(
        {"servers", {model::KeyType::ipv4_addr}, false, false, {{{samples::address("192.0.2.1")}, {}}}});
    table.chains.push_back(
        {"egress",
         model::BaseChain{model::Hook::egress, 0, std::move(devices)},
         {samples::rule({samples::is(Field::ether_type, 0x0806U)}, samples::accept, "G1: ARP"),
          samples::rule({samples::is(Field::ether_type, 0x0800U), samples::in({{Field::ip_daddr}}, "servers")},
                        samples::accept, "G1: transport"),
          samples::rule({}, samples::drop, "G9", "other")}});
    return model::Ruleset{{samples::everything().tables.front(), std::move(table)}};
  };
  const std::string links = "ip link add v0 type veth peer name v1";
  REQUIRE(shell(links).status == 0);
  auto firewall = open_firewall();
  apply(firewall, ruleset({"v0", "v1"}));
  verify(firewall, ruleset({"v0", "v1"}));
  CHECK(without_owner(shell("nft list ruleset").text) ==
        list_in_twin(codec::render_nft_text(ruleset({"v0", "v1"})), links));
  if (!firewall.features().grows) {
    return;  // there compile gives each device a chain of its own
  }
  apply(firewall, ruleset({"v1"}));
  verify(firewall, ruleset({"v1"}));
  apply(firewall, ruleset({"v0", "v1"}));
  verify(firewall, ruleset({"v1", "v0"}));
}

TEST_CASE("only elements are sent when only elements differ from what was verified") {
  auto firewall = open_firewall();
  CHECK(apply(firewall, samples::realistic(49)) == Kind::full);
  CHECK(apply(firewall, samples::realistic(50)) == Kind::full);  // nothing is verified yet
  verify(firewall, samples::realistic(50));
  CHECK(apply(firewall, samples::realistic(50)) == Kind::unchanged);
  CHECK(apply(firewall, samples::realistic(51)) == Kind::elements);
  verify(firewall, samples::realistic(51));

  auto other = samples::realistic(51);
  other.tables[0].sets[6].elements = {{{samples::prefix("10.0.0.0/7")}, {}}, {{samples::prefix("0.0.0.0/8")}, {}}};
  other.tables[0].sets[7].elements.clear();
  other.tables[0].sets[10].elements[1].verdict = samples::drop;
  CHECK(apply(firewall, other) == Kind::elements);
  verify(firewall, other);
}

TEST_CASE("prefixes inside other prefixes and doubled elements are held once") {
  auto ruleset = samples::everything();
  ruleset.tables[0].sets[6].elements = {{{samples::prefix("10.1.0.0/16")}, {}},
                                        {{samples::prefix("10.0.0.0/8")}, {}},
                                        {{samples::prefix("10.0.0.0/8")}, {}},
                                        {{samples::prefix("255.255.255.255/32")}, {}}};
  auto firewall = open_firewall();
  apply(firewall, ruleset);
  verify(firewall, ruleset);
  CHECK(without_owner(shell("nft list ruleset").text) == list_in_twin(codec::render_nft_text(ruleset)));
}

TEST_CASE("from one shape to another and back: chains, sets, maps and counters come and go") {
  auto firewall = open_firewall();
  auto small = drop_all("G1");
  small.tables[0].sets.push_back({"marks", {model::KeyType::uid}, false, false, {{{5U}, {}}}});  // of another key
  auto elsewhere = drop_all("G1");
  elsewhere.tables[0].chains[0].base->priority = 50;  // a base chain in another place is another chain
  auto inner = drop_all("G1");
  inner.tables[0].chains[0].base.reset();
  for (const auto& ruleset : {samples::everything(), small, samples::realistic(7), small, elsewhere, inner, small}) {
    apply(firewall, ruleset);
    verify(firewall, ruleset);
  }
}

TEST_CASE("counters keep their values over a full update") {
  REQUIRE(shell("ip link set lo up").status == 0);
  auto firewall = open_firewall();
  apply(firewall, drop_all("first"));
  send_udp("127.0.0.1", 9);
  const auto before = firewall.read_counters();
  REQUIRE(before);
  CHECK(before->at("other").packets == 1);
  CHECK(apply(firewall, drop_all("second")) == Kind::full);
  CHECK(firewall.read_counters()->at("other") == before->at("other"));
}

TEST_CASE("a plain table of ours, as from `nft -f` at boot, becomes owned and keeps its counters") {
  REQUIRE(shell("ip link set lo up").status == 0);
  write_file("/tmp/killswitch-plain.nft", codec::render_nft_text(drop_all("boot")));
  REQUIRE(shell("nft -f /tmp/killswitch-plain.nft").status == 0);
  send_udp("127.0.0.1", 9);
  auto firewall = open_firewall();
  apply(firewall, drop_all("daemon"));
  verify(firewall, drop_all("daemon"));
  CHECK(firewall.read_counters()->at("other").packets == 1);
  if (firewall.features().persist) {
    CHECK(firewall.read()->ownership == model::Ownership::owner_persist);
  }
}

TEST_CASE("the table of a killed owner is taken over") {
  auto firewall = open_firewall();
  if (!firewall.features().persist) {
    return;
  }
  auto owner = owner_of(samples::realistic(1));
  owner.kill();
  CHECK(shell("nft list table inet killswitch").status == 0);
  CHECK(apply(firewall, samples::realistic(2)) == Kind::full);
  verify(firewall, samples::realistic(2));
  CHECK(firewall.read()->ownership == model::Ownership::owner_persist);
}

TEST_CASE("the table of a living owner is refused, and the error says so") {
  auto firewall = open_firewall();
  if (!firewall.features().owner) {
    return;
  }
  auto owner = owner_of(samples::realistic(1));
  const auto report = firewall.apply(samples::realistic(2));
  REQUIRE(!report);
  CHECK(report.error().code.value() == EPERM);
  CHECK(report.error().message().find("owns the table") != std::string::npos);
  CHECK(!firewall.remove());
  CHECK(firewall.read_back(samples::realistic(1))->differences.empty());
}

TEST_CASE("the socket handed on keeps the ownership") {
  std::optional<Firewall> before{open_firewall()};
  apply(*before, samples::realistic(1));
  os::Fd copy{::dup(before->fd())};
  const auto port = before->port_id();
  before.reset();
  auto after = Firewall::adopt(std::move(copy));
  REQUIRE(after);
  CHECK(after->port_id() == port);
  CHECK(apply(*after, samples::realistic(2)) == Kind::full);
  verify(*after, samples::realistic(2));
}

TEST_CASE("a socket of another kind is not adopted") {
  CHECK(!Firewall::adopt(os::Fd{::socket(AF_INET, SOCK_DGRAM, 0)}));
}

TEST_CASE("other programs cannot touch an owned table") {
  auto firewall = open_firewall();
  if (!firewall.features().owner) {
    return;
  }
  apply(firewall, samples::realistic(1));
  CHECK(shell("nft flush ruleset").status == 0);
  CHECK(shell("nft insert rule inet killswitch output accept").status != 0);
  CHECK(shell("nft delete table inet killswitch").status != 0);
  CHECK(shell("nft add element inet killswitch marks { 0x1 }").status != 0);
  verify(firewall, samples::realistic(1));
}

TEST_CASE("what others put into an unowned table is named") {
  write_file("/tmp/killswitch-plain.nft", codec::render_nft_text(samples::everything()));
  REQUIRE(shell("nft -f /tmp/killswitch-plain.nft").status == 0);
  REQUIRE(shell("nft insert rule inet killswitch output limit rate 1/second accept; "
                "nft add element inet killswitch marks { 0x7 }; nft add set inet killswitch extra { type mark \\; }; "
                "nft chain inet killswitch forward { policy accept \\; }; nft flush chain inet killswitch refuse")
              .status == 0);
  auto firewall = open_firewall();
  const auto seen = firewall.read_back(samples::everything());
  REQUIRE(seen);
  std::string all;
  for (const auto& difference : seen->differences) {
    all += difference + "\n";
  }
  INFO(all);
  for (const char* words : {"a limit of nothing", "set marks: 7 is not ours", "set extra is not ours",
                            "chain forward: its policy is not drop", "chain refuse, rule 1:"}) {
    CHECK(all.find(words) != std::string::npos);
  }
  // And one apply puts it right.
  apply(firewall, samples::everything());
  verify(firewall, samples::everything());
}

TEST_CASE("an error names the rule, and leaves the old rules in force") {
  auto firewall = open_firewall();
  apply(firewall, samples::realistic(1));
  auto broken = samples::realistic(2);
  auto& output = broken.tables[0].chains[6];
  output.rules.insert(output.rules.begin() + 1,
                      samples::rule({}, samples::verdict(model::Verdict::Kind::jump, "nowhere"), "G1: broken"));
  auto report = firewall.apply(broken);
  REQUIRE(!report);
  INFO(report.error().message());
  CHECK(report.error().message().find("add rule 'G1: broken' to chain output") != std::string::npos);
  CHECK(firewall.read_back(samples::realistic(1))->differences.empty());

  output.rules[1] = samples::rule({samples::is(model::Field::ip_daddr, std::string{"x"})}, samples::accept, "G1: odd");
  report = firewall.apply(broken);
  REQUIRE(!report);
  CHECK(report.error().message().find("'G1: odd'") != std::string::npos);
  CHECK(report.error().message().find("ip daddr") != std::string::npos);
}

TEST_CASE("remove leaves nothing, of an orphan as well") {
  auto firewall = open_firewall();
  CHECK(firewall.remove());
  apply(firewall, samples::realistic(1));
  CHECK(firewall.remove());
  CHECK(shell("nft list ruleset").text.empty());
  auto owner = owner_of(samples::realistic(1));
  owner.kill();
  CHECK(firewall.remove());
  CHECK(shell("nft list ruleset").text.empty());
  CHECK(!firewall.read()->present);
}

TEST_CASE("another program that changes its own tables all the time does not keep us from applying") {
  auto firewall = open_firewall();
  Child busy{[] {
    auto neighbour = os::NetlinkSocket::open(NETLINK_NETFILTER);
    codec::BatchOptions options;
    model::Ruleset one{{{model::TableFamily::inet, "neighbour", {}, {}, {}}}};
    while (neighbour) {
      const auto add = codec::encode_replacement(one, {}, {}, options);
      (void)neighbour->send(add->bytes);
      (void)neighbour->receive();
      (void)neighbour->send(codec::encode_removal(one, options).bytes);
      (void)neighbour->receive();
    }
  }};
  for (std::uint8_t i = 0; i < 200; ++i) {
    apply(firewall, samples::realistic(i));
  }
  busy.kill();
  verify(firewall, samples::realistic(199));
}

TEST_CASE("probing leaves no trace") {
  auto firewall = open_firewall();
  CHECK(shell("nft list ruleset").text.empty());
  CHECK(firewall.features().fib);
}

namespace {

/// Another namespace behind a veth pair that counts what arrives at UDP port 9999, and a process that floods it.
class Flood {
public:
  Flood() : received_{shared()}, receiver_{[this] { receive(); }}, ready_{prepare()}, sender_{[] { send(); }} {}

  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] std::uint64_t received() const { return received_->load(); }

private:
  using Counter = std::atomic<std::uint64_t>;

  static Counter* shared() {
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return new (memory) Counter{0};
  }
  void receive() {
    if (::unshare(CLONE_NEWNET) != 0) {
      return;
    }
    received_->store(1);  // the namespace is there
    const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(9999);
    ::bind(socket, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    std::array<char, 64> buffer{};
    while (::recv(socket, buffer.data(), buffer.size(), 0) >= 0) {
      received_->fetch_add(1);
    }
  }
  bool prepare() {
    if (!eventually([this] { return received_->load() == 1; })) {
      return false;
    }
    const std::string pid = std::to_string(receiver_.pid());
    return shell(
               "set -e; ip link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02; "
               "ip link set v1 netns " +
               pid +
               "; ip addr add 10.9.0.1/24 dev v0; ip link set v0 up; "
               "ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev v0; nsenter -t " +
               pid +
               " -n sh -c "
               "'ip addr add 10.9.0.2/24 dev v1; ip link set v1 up'")
               .status == 0;
  }
  static void send() {
    const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9999);
    ::inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
    for (;;) {
      (void)::sendto(socket, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
  }

  Counter* received_;
  Child receiver_;
  bool ready_;
  Child sender_;
};

/// What was under way when the table came has arrived when the count has stood still for 50 looks.
std::uint64_t settle(const Flood& flood) {
  std::uint64_t settled = flood.received();
  int still = 0;
  REQUIRE(eventually([&] {
    const std::uint64_t now = flood.received();
    still = now == settled ? still + 1 : 0;
    settled = now;
    return still == 50;
  }));
  return settled;
}

/// What the probe says of this kernel, but for persistent ownership (as before Linux 6.9).
model::KernelFeatures without_persist() {
  auto features = open_firewall().features();
  features.persist = false;
  return features;
}

model::Ruleset with_twin(model::Ruleset ruleset) {
  for (model::Table twin : model::Ruleset{ruleset}.tables) {
    twin.name = model::twin_table_name;
    for (model::Chain& chain : twin.chains) {
      if (chain.base) {
        ++chain.base->priority;  // the owned one counts
      }
    }
    ruleset.tables.push_back(std::move(twin));
  }
  return ruleset;
}

bool is_there(const std::string& table) {
  return shell("nft list table inet " + table).status == 0;
}

}  // namespace

TEST_CASE("no packet escapes while 2,000 rulesets follow one another") {
  auto firewall = open_firewall();
  Flood flood;
  REQUIRE(flood.ready());
  // The control: without our table the packets arrive.
  REQUIRE(eventually([&] { return flood.received() > 1000; }));

  apply(firewall, samples::realistic(1));
  const std::uint64_t settled = settle(flood);
  for (int i = 0; i < 2000; ++i) {
    apply(firewall, i % 2 == 0 ? samples::everything() : samples::realistic(static_cast<std::uint8_t>(i)));
  }
  CHECK(flood.received() == settled);
  CHECK(firewall.remove());
  CHECK(eventually([&] { return flood.received() > settled + 1000; }));
}

TEST_CASE("without persistent ownership neither a flush nor a lost socket opens") {
  Flood flood;
  REQUIRE(flood.ready());
  REQUIRE(eventually([&] { return flood.received() > 1000; }));

  std::optional<Firewall> firewall{std::move(*Firewall::open(without_persist()))};
  apply(*firewall, with_twin(samples::realistic(1)));
  verify(*firewall, with_twin(samples::realistic(1)));
  CHECK(firewall->read()->ownership == model::Ownership::owner_twin);
  const std::uint64_t settled = settle(flood);

  // A foreign flush: the owned table stays, and the next apply brings its twin back.
  CHECK(shell("nft flush ruleset").status == 0);
  CHECK(is_there(model::table_name));
  CHECK_FALSE(is_there(model::twin_table_name));
  CHECK_FALSE(firewall->read_back(with_twin(samples::realistic(1)))->differences.empty());
  apply(*firewall, with_twin(samples::realistic(1)));
  verify(*firewall, with_twin(samples::realistic(1)));
  CHECK(shell("nft delete table inet killswitch").status != 0);

  // The owning socket is lost: the twin stays, and the next process makes the owned table anew.
  firewall.reset();
  CHECK_FALSE(is_there(model::table_name));
  CHECK(is_there(model::twin_table_name));
  firewall.emplace(std::move(*Firewall::open(without_persist())));
  CHECK(firewall->read()->ownership == model::Ownership::plain);
  CHECK(firewall->read()->present);
  apply(*firewall, with_twin(samples::realistic(2)));
  verify(*firewall, with_twin(samples::realistic(2)));

  // The other way round, and again and again.
  for (std::uint8_t i = 0; i < 100; ++i) {
    CHECK(shell(i % 2 == 0 ? "nft flush ruleset" : "nft delete table inet killswitch-twin").status == 0);
    CHECK_FALSE(firewall->read_back(with_twin(samples::realistic(i)))->differences.empty());
    apply(*firewall, with_twin(samples::realistic(i)));
    firewall.reset();
    firewall.emplace(std::move(*Firewall::open(without_persist())));
    apply(*firewall, with_twin(samples::realistic(i)));
    verify(*firewall, with_twin(samples::realistic(i)));
  }
  CHECK(flood.received() == settled);

  CHECK(firewall->remove());
  CHECK(shell("nft list ruleset").text.empty());
  CHECK(eventually([&] { return flood.received() > settled + 1000; }));
}

TEST_CASE("the twin of a table does not count a packet a second time") {
  REQUIRE(shell("ip link set lo up").status == 0);
  auto firewall = std::move(*Firewall::open(without_persist()));
  apply(firewall, with_twin(drop_all("G1")));
  send_udp("127.0.0.1", 9);
  CHECK(firewall.read_counters()->at("other").packets == 1);
  CHECK(firewall.read()->counters.at("other").packets == 1);
}
