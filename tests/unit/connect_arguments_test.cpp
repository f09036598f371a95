// The command line of `killswitch connect`: whose words are whose, and what OpenVPN is executed with.
#include "killswitch/app/connect_arguments.hpp"
#include "support/catch.hpp"

using namespace killswitch::app;

namespace {

using Words = std::vector<std::string>;

struct Row {
  Words words;
  Words own;
  Words openvpn;
};

}  // namespace

TEST_CASE("The first -- of connect divides the command line", "[app]") {
  const std::vector<Row> rows = {
      {{"connect", "client.ovpn"}, {"connect", "client.ovpn"}, {}},
      {{"connect", "client.ovpn", "--", "--verb", "4"}, {"connect", "client.ovpn"}, {"--verb", "4"}},
      {{"connect", "client.ovpn", "--yes", "--policy", "strict", "--", "--verb", "4"},
       {"connect", "client.ovpn", "--yes", "--policy", "strict"},
       {"--verb", "4"}},
      {{"connect", "--policy", "strict", "client.ovpn"}, {"connect", "--policy", "strict", "client.ovpn"}, {}},
      // what looks like our options behind the separator is OpenVPN's, as are a second separator and empty words
      {{"connect", "a.ovpn", "--", "--yes", "--policy", "x", "--", "", "y"},
       {"connect", "a.ovpn"},
       {"--yes", "--policy", "x", "--", "", "y"}},
      {{"connect", "client.ovpn", "--"}, {"connect", "client.ovpn"}, {}},
      {{"connect", "client.ovpn", "--verb", "4"}, {"connect", "client.ovpn", "--verb", "4"}, {}},
      // other subcommands are CLI11's alone
      {{"explain", "--", "udp"}, {"explain", "--", "udp"}, {}},
      {{}, {}, {}},
  };
  for (const auto& row : rows) {
    CHECK(divide_command_line(row.words) == DividedCommandLine{row.own, row.openvpn});
  }
}

TEST_CASE("OpenVPN gets the user's options unchanged, and those of the kill switch last", "[app]") {
  const Words expected = {"openvpn",
                          "--config",
                          "client.ovpn",
                          "--verb",
                          "4",
                          "--management",
                          "/run/killswitch/openvpn.sock",
                          "unix",
                          "--management-client",
                          "--management-hold",
                          "--management-up-down",
                          "--mark",
                          "27508"};
  OpenVpnCommand command{"client.ovpn", {"--verb", "4"}, "/run/killswitch/openvpn.sock", 27508, false};
  CHECK(openvpn_command(command) == expected);
  command.queries_servers = true;
  CHECK(openvpn_command(command).back() == "--management-query-remote");
}

TEST_CASE("OpenVPN asks for the address of a server only where a name has to be resolved", "[app]") {
  killswitch::model::Profile profile;
  profile.remotes = {{"198.51.100.49", {1194}, {}, {}}, {"2001:db8::1", {1194}, {}, {}}};
  CHECK_FALSE(needs_server_query(profile, {"--verb", "4"}));
  CHECK(needs_server_query(profile, {"--remote", "vpn.example.org"}));
  CHECK(needs_server_query(profile, {"--config", "more.ovpn"}));
  profile.remotes.push_back({"vpn.example.org", {1194}, {}, {}});
  CHECK(needs_server_query(profile, {}));
  profile.via_proxy = true;
  CHECK_FALSE(needs_server_query(profile, {}));
}
