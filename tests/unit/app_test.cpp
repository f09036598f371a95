// What the command makes of its arguments: profiles and servers become settings; and the state file, which must never
// be torn nor believed when it is damaged.
#include "killswitch/app/boot_lock.hpp"
#include "killswitch/app/enrolment.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/os/files.hpp"
#include "support/catch.hpp"
#include "support/installation.hpp"
#include "support/worlds.hpp"

#include <sys/stat.h>
#include <filesystem>
#include <fstream>

using namespace killswitch;
using namespace killswitch::app;
using killswitch::test::Installation;

namespace {

void ignore(const std::string& /*step*/) {}

}  // namespace

TEST_CASE("Profiles and servers become settings", "[app]") {
  const Installation place;
  const auto profile = place.write("client.ovpn",
                                   "client\ndev tun\nuser nobody\nmark 77\nfrobnicate 1\n"
                                   "management mgmt.sock unix\nremote 198.51.100.49 1194 udp\n");
  EnrolmentRequest request;
  request.profiles = {profile};
  request.servers = {"[2001:db8::1]:443/tcp"};
  request.interface = "tun3";
  const auto enrolment = enrol(request, place.paths(), {}, ignore);
  REQUIRE(enrolment);
  const auto& settings = enrolment->settings;
  CHECK(settings.policy.name == "laptop");
  CHECK(settings.interface == "tun3");
  CHECK(settings.profile_mark == 77U);
  CHECK(model::endpoints_of(settings.remotes).size() == 2);
  REQUIRE(settings.management);
  CHECK(std::get<model::UnixSocketPath>(settings.management->where).path.front() == '/');
  REQUIRE(enrolment->warnings.size() == 1);
  CHECK(enrolment->warnings[0].find(":5: ") != std::string::npos);
  CHECK(enrolment->warnings[0].find("frobnicate") != std::string::npos);

  SECTION("a profile without a server is refused") {
    request.profiles = {place.write("empty.ovpn", "client\ndev tun\n")};
    CHECK_FALSE(enrol(request, place.paths(), {}, ignore));
  }
  SECTION("helpers that carry OpenVPN are kept, each once") {
    request.transport_programs = {"/bin/sh:daemon", "/bin/sh", "/bin/sh"};
    const auto kept = enrol(request, place.paths(), {}, ignore);
    REQUIRE(kept);
    CHECK(kept->settings.transport_programs ==
          std::vector<model::TransportProgram>{{"/bin/sh", "daemon"}, {"/bin/sh", ""}});
  }
  SECTION("a helper that is not there or not named in full is refused, and named") {
    for (const auto& [program, why] : std::vector<std::pair<std::string, std::string>>{
             {"stunnel4", "absolute path"},
             {"/nonexistent/stunnel4", "/nonexistent/stunnel4: No such file"},
             {"/etc", "/etc is not a program"},
             {"/bin/sh:nobody", "not 'nobody'"},
             {"/bin/sh:no-such-user", "no user 'no-such-user'"}}) {
      request.transport_programs = {program};
      const auto refused = enrol(request, place.paths(), {}, ignore);
      REQUIRE_FALSE(refused);
      CHECK(refused.error().message().find("--transport-program") != std::string::npos);
      CHECK(refused.error().message().find(why) != std::string::npos);
    }
  }
  SECTION("a missing profile is named") {
    request.profiles = {"/nonexistent/client.ovpn"};
    const auto missing = enrol(request, place.paths(), {}, ignore);
    REQUIRE_FALSE(missing);
    CHECK(missing.error().message().find("/nonexistent/client.ovpn") != std::string::npos);
  }
  SECTION("an address of the wrong IP version is not pinned, and said") {
    request.profiles.clear();
    request.servers = {"198.51.100.49:1194/udp6"};
    const auto wrong = enrol(request, place.paths(), {}, ignore);
    REQUIRE(wrong);
    CHECK(wrong->settings.remotes[0].addresses.empty());
    CHECK_FALSE(wrong->settings.remotes[0].failure.empty());
  }
}

TEST_CASE("The state file survives a round trip, is private, and is not believed when damaged", "[app]") {
  const Installation place;
  const auto paths = place.paths();
  const auto nothing = load_state(paths);
  REQUIRE(nothing);
  CHECK_FALSE(nothing->has_value());

  model::SavedState state;
  const auto world = test::laptop_protected();
  state.settings = world.settings;
  state.settings.via_proxy = true;
  state.tunnel = world.trusted;
  REQUIRE(save_state(paths, state));
  const auto loaded = load_state(paths);
  REQUIRE(loaded);
  REQUIRE(loaded->has_value());
  CHECK(**loaded == state);
  struct stat info {};
  REQUIRE(::stat(paths.state_file().c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0600U);

  const auto text = os::read_file(paths.state_file());
  REQUIRE(text);
  for (std::size_t cut = 0; cut < text->size(); cut += 7) {
    REQUIRE(os::replace_file(paths.state_file(), text->substr(0, cut), 0600));
    CAPTURE(cut);
    CHECK_FALSE(load_state(paths));
  }
}

TEST_CASE("A state file that is lost is told from one that never was", "[app]") {
  const Installation place;
  const auto paths = place.paths();
  REQUIRE(save_state(paths, model::SavedState{}));
  CHECK(std::filesystem::exists(paths.enabled_marker()));
  std::filesystem::remove(paths.state_file());
  const auto lost = load_state(paths);
  REQUIRE_FALSE(lost);
  CHECK(lost.error().message().find(paths.enabled_marker()) != std::string::npos);
  CHECK(lost.error().message().find(paths.state_file()) != std::string::npos);

  model::SavedState disabled;
  disabled.enabled = false;
  REQUIRE(save_state(paths, disabled));
  CHECK_FALSE(std::filesystem::exists(paths.enabled_marker()));
  std::filesystem::remove(paths.state_file());
  const auto never = load_state(paths);
  REQUIRE(never);
  CHECK_FALSE(never->has_value());

  SECTION("a directory for the witness that cannot be written to does not stop the state file") {
    auto elsewhere = paths;
    elsewhere.configuration_directory = "/nonexistent/killswitch";
    CHECK(save_state(elsewhere, model::SavedState{}));
    REQUIRE(load_state(elsewhere));
  }
}

TEST_CASE("The early lock leaves a machine alone that is disabled or switched off", "[app]") {
  const Installation place;
  const auto paths = place.paths();
  const auto command_line = place.write("cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet killswitch=off\n");
  CHECK(lock_at_boot(paths, command_line)->kind == BootLock::Kind::disabled);  // never enabled

  REQUIRE(save_state(paths, model::SavedState{}));
  const auto off = lock_at_boot(paths, command_line);
  REQUIRE(off);
  CHECK(off->kind == BootLock::Kind::switched_off);
  CHECK(off->line.find("NOT locked") != std::string::npos);

  model::SavedState disabled;
  disabled.enabled = false;
  REQUIRE(save_state(paths, disabled));
  const auto nothing = lock_at_boot(paths, command_line);
  REQUIRE(nothing);
  CHECK(*nothing == BootLock{});
}

TEST_CASE("A lock is held by one process at a time", "[app]") {
  const Installation place;
  const auto path = place.paths().lock_file();
  auto first = os::try_lock(path);
  REQUIRE(first);
  REQUIRE(first->has_value());
  const auto second = os::try_lock(path);
  REQUIRE(second);
  CHECK_FALSE(second->has_value());
  first->reset();
  const auto third = os::try_lock(path);
  REQUIRE(third);
  CHECK(third->has_value());
}
