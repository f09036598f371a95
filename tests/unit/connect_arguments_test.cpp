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
                          "--management-query-remote",
                          "--management-up-down",
                          "--mark",
                          "27508"};
  CHECK(openvpn_command("client.ovpn", {"--verb", "4"}, "/run/killswitch/openvpn.sock", 27508) == expected);
}
