// What is done to resolv.conf and to NetworkManager's file on disk, in a directory of its own: everything comes back
// byte for byte, also when another process does it.
#include "killswitch/enforce/dns.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/snapshot.hpp"
#include "killswitch/sense/dns.hpp"
#include "support/catch.hpp"
#include "support/worlds.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <filesystem>
#include <fstream>

using namespace killswitch;
using namespace killswitch::model;

namespace {

const std::string before = "search lan\nnameserver 192.168.43.1\n# \xff, and no newline at the end";

/// A directory with what is needed, gone with it; and an enforcer that works there.
class Place {
public:
  Place() {
    std::string pattern = (std::filesystem::temp_directory_path() / "killswitch-dns-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    root = pattern;
    places = {path("dns.json"), path("resolv.conf"), path("NetworkManager-intern.conf")};
    start();
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { std::filesystem::remove_all(root); }

  [[nodiscard]] std::string path(const char* name) const { return (root / name).string(); }
  void write(const std::string& where, const std::string& text) const {
    std::ofstream{where, std::ios::binary} << text;
  }
  [[nodiscard]] std::string read(const std::string& where) const {
    const auto text = os::read_file(where);
    return text ? *text : "(" + text.error().message() + ")";
  }
  /// As after a crash: only what is on disk is known.
  void start() {
    dns = std::make_unique<enforce::Dns>(*loop, places, [this](Event event) { events.push_back(std::move(event)); });
  }
  void apply(const std::vector<DnsBackend>& backends) {
    sense::DnsSensor sensor{*loop, [this](Event event) { facts = std::get<DnsFound>(event).facts; },
                            places.resolv_conf};
    sensor.use_bus(nullptr);
    const DnsSetup setup{backends, test::tunnel, {test::ip("192.168.255.1")}, {"example.test"}};
    dns->apply({setup, backends, facts});
  }
  template <typename T>
  const T& last() const {
    REQUIRE_FALSE(events.empty());
    REQUIRE(std::holds_alternative<T>(events.back()));
    return std::get<T>(events.back());
  }

  std::filesystem::path root;
  Result<os::EventLoop> loop = os::EventLoop::create();
  enforce::DnsPlaces places;
  std::vector<Event> events;
  DnsFacts facts;
  std::unique_ptr<enforce::Dns> dns;
};

}  // namespace

TEST_CASE("A plain file comes back byte for byte, with its permissions", "[dns]") {
  Place place;
  const auto& file = place.places.resolv_conf;
  place.write(file, before);
  REQUIRE(::chmod(file.c_str(), 0640) == 0);
  place.apply({DnsBackend::file});
  CHECK(place.last<DnsApplied>().failures.empty());
  CHECK(nameservers_of(place.read(file)) == std::vector<std::string>{"192.168.255.1"});
  CHECK(place.read(file).find("search example.test\n") != std::string::npos);

  SECTION("by the same process") {
    place.dns->restore();
  }
  SECTION("after a crash, and changes that were made twice") {
    place.apply({DnsBackend::file});
    place.start();
    REQUIRE(place.dns->resume());
    CHECK(place.last<DnsEngaged>().setup.servers == std::vector{test::ip("192.168.255.1")});
    place.write(file, "nameserver 192.168.43.99\n");
    place.apply({DnsBackend::file});
    place.dns->restore();
  }
  SECTION("without a daemon") {
    REQUIRE(enforce::restore_dns(place.places, nullptr));
  }
  CHECK(place.read(file) == before);
  struct stat info {};
  REQUIRE(::stat(file.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0640U);
  CHECK_FALSE(std::filesystem::exists(place.places.journal));
  CHECK(enforce::restore_dns(place.places, nullptr));  // nothing to give back is no error
}

TEST_CASE("A link comes back as a link, and what is behind it was not touched", "[dns]") {
  Place place;
  place.write(place.path("behind"), before);
  REQUIRE(::symlink("behind", place.places.resolv_conf.c_str()) == 0);
  place.apply({DnsBackend::file});
  CHECK(place.facts.resolv_conf.real_path == place.path("behind"));
  CHECK(place.read(place.path("behind")) == before);
  CHECK(std::filesystem::is_regular_file(std::filesystem::symlink_status(place.places.resolv_conf)));
  place.dns->restore();
  CHECK(place.last<DnsRestored>().error.empty());
  CHECK(std::filesystem::read_symlink(place.places.resolv_conf) == "behind");
}

TEST_CASE("Where nothing was, nothing is left; a dangling link dangles again", "[dns]") {
  Place place;
  const auto& file = place.places.resolv_conf;
  SECTION("nothing") {
    place.apply({DnsBackend::file});
    CHECK(std::filesystem::exists(file));
    place.dns->restore();
    CHECK_FALSE(std::filesystem::exists(std::filesystem::symlink_status(file)));
  }
  SECTION("dangling") {
    REQUIRE(::symlink("/nowhere/resolv.conf", file.c_str()) == 0);
    place.apply({DnsBackend::file});
    CHECK(std::filesystem::is_regular_file(file));
    place.dns->restore();
    CHECK(std::filesystem::read_symlink(file) == "/nowhere/resolv.conf");
  }
}

TEST_CASE("What cannot be kept is not changed", "[dns]") {
  Place place;
  place.places.journal = place.path("no/such/directory/dns.json");
  place.start();
  place.write(place.places.resolv_conf, before);
  place.apply({DnsBackend::file});
  CHECK(place.last<DnsApplied>().failures.size() == 1);
  CHECK(place.read(place.places.resolv_conf) == before);
}

TEST_CASE("A broken journal is an error that names it, and changes nothing", "[dns]") {
  Place place;
  place.write(place.places.journal, "{");
  const auto resumed = place.dns->resume();
  REQUIRE_FALSE(resumed);
  CHECK(resumed.error().message().find("dns.json") != std::string::npos);
  CHECK_FALSE(enforce::restore_dns(place.places, nullptr));
}

TEST_CASE("NetworkManager is gone: its own file loses our sections and nothing else", "[dns]") {
  Place place;
  const std::string others = "[main]\nx=1\n\n[.intern.other]\ny=2\n";
  const std::string ours =
      "[.intern.global-dns]\nsearches=example.test\n\n[.intern.global-dns-domain-*]\nservers=192.168.255.1\n\n";
  place.write(place.places.networkmanager_state, ours + others);
  place.write(place.places.resolv_conf, before);
  place.facts.networkmanager.emplace();
  // The bus is not there, so NetworkManager cannot be told; the journal has it all the same.
  DnsFacts facts = test::plain_resolv_conf("192.168.43.1");
  facts.resolv_conf.file.content = before;
  facts.networkmanager.emplace();
  const DnsSetup setup{{DnsBackend::networkmanager}, test::tunnel, {test::ip("192.168.255.1")}, {}};
  place.dns->apply({setup, setup.backends, facts});
  CHECK(place.last<DnsApplied>().failures.size() == 1);
  place.write(place.places.resolv_conf, "# Generated by NetworkManager\nnameserver 192.168.255.1\n");
  SECTION("by the daemon") {
    place.dns->restore();
  }
  SECTION("without a daemon") {
    REQUIRE(enforce::restore_dns(place.places, nullptr));
  }
  CHECK(place.read(place.places.networkmanager_state) == others);
  CHECK(place.read(place.places.resolv_conf) == before);
  CHECK_FALSE(std::filesystem::exists(place.places.journal));
}
