// Profiles: what is read from them, what is refused and with which words, and that no key survives. Expectations
// about defaults, blocks and quoting were compared with what OpenVPN 2.6.14 makes of the same text (verb 4).
#include "killswitch/codec/profile.hpp"

#include "killswitch/codec/names.hpp"
#include "killswitch/codec/openvpn_options.hpp"
#include "killswitch/codec/profile_line.hpp"
#include "support/catch.hpp"

#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace {

using namespace killswitch;
using model::Family;
using model::Port;
using model::Profile;
using model::ProfileWarning;
using model::Protocol;
using model::Remote;

using Files = std::map<std::string, std::string>;

Result<Profile> parse(const std::string& text, const Files& files = {}) {
  return codec::parse_profile(text, "client.ovpn", [&](const std::string& path) -> Result<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) {
      return fail(2, "open " + path);
    }
    return found->second;
  });
}

std::string read_data(const std::string& name) {
  std::ifstream stream{std::string{PROJECT_ROOT} + "/tests/data/profiles/" + name, std::ios::binary};
  REQUIRE(stream);
  return {std::istreambuf_iterator<char>{stream}, {}};
}

Profile accepted(const std::string& text, const Files& files = {}) {
  auto profile = parse(text, files);
  INFO(text);
  if (!profile) {
    FAIL(profile.error().message());
  }
  return *profile;
}

std::vector<std::string> warnings_of(const std::string& text) {
  std::vector<std::string> lines;
  for (const auto& warning : accepted(text).warnings) {
    lines.push_back(warning.file + ":" + std::to_string(warning.line) + ": " + warning.text);
  }
  return lines;
}

std::string everything_in(const Profile& profile) {
  std::string all = profile.device + profile.device_type + profile.user;
  for (const auto& remote : profile.remotes) {
    all += remote.host + "\n";
  }
  for (const auto& warning : profile.warnings) {
    all += warning.file + warning.text + "\n";
  }
  return all;
}

}  // namespace

TEST_CASE("profile: two remotes of one name with inline keys") {
  Profile expected;
  expected.remotes = {Remote{"vpn.example.org", Port{1194}, Protocol::udp, Family::ipv6},
                      Remote{"vpn.example.org", Port{1194}, Protocol::udp, {}}};
  expected.device = "tun";
  expected.user = "nobody";
  expected.redirects_ipv4 = true;
  expected.redirects_ipv6 = true;
  CHECK(accepted(read_data("two-remotes.ovpn")) == expected);
}

TEST_CASE("profile: connection blocks, proxy, management") {
  Profile expected;
  expected.remotes = {Remote{"one.example.org", Port{443}, Protocol::tcp, {}},
                      Remote{"two.example.org", Port{53}, Protocol::udp, Family::ipv4},
                      Remote{"proxy.example.net", Port{3128}, Protocol::tcp, Family::ipv6}};
  expected.via_proxy = true;
  expected.device = "tun3";
  expected.device_type = "tun";
  expected.mark = 4660;
  expected.management =
      model::ManagementAddress{model::UnixSocketPath{"/run/openvpn/client.sock"}, "/etc/openvpn/password"};
  expected.management_client = true;
  expected.management_hold = true;
  expected.management_query_remote = true;
  expected.management_query_passwords = true;
  expected.management_up_down = true;
  CHECK(accepted(read_data("connections.ovpn")) == expected);
}

TEST_CASE("profile: line ends, byte order mark and dashes change nothing") {
  const auto text = read_data("two-remotes.ovpn");
  const auto expected = accepted(text);
  std::string crlf;
  std::string dashes;
  for (const char c : text) {
    crlf += c == '\n' ? "\r\n" : std::string{c};
  }
  CHECK(accepted(crlf) == expected);
  CHECK(accepted("\xEF\xBB\xBF" + text) == expected);
  CHECK(accepted("\xEF\xBB\xBF--dev tun\n" + text) == expected);
  CHECK(accepted(text.substr(0, text.size() - 1)) == expected);
}

TEST_CASE("profile: no byte of a key survives") {
  for (const auto* name : {"two-remotes.ovpn", "connections.ovpn"}) {
    const auto all = everything_in(accepted(read_data(name)));
    for (const auto* secret : {"NOT-A-", "BEGIN", "feed", "203.0.113.66"}) {
      INFO(name << ": " << secret);
      CHECK(all.find(secret) == std::string::npos);
    }
  }
  // A key that lost its opening tag is read as directives; its lines must not turn up in warnings.
  const auto profile = accepted(
      "remote vpn.example.org\n-----BEGIN OpenVPN Static key V1-----\nfeedfeedfeedfeedfeedfeedfeedfeed\n"
      "MIIBfeedAAA+/=\n<feedfeedfeedfeedfeedfeedfeedfeed>\n</feedfeedfeedfeedfeedfeedfeedfeed>\n");
  CHECK(profile.warnings.size() == 4);
  CHECK(everything_in(profile).find("feed") == std::string::npos);
  CHECK(everything_in(profile).find("BEGIN") == std::string::npos);
  const auto error = parse("remote vpn.example.org\n<FEEDFEED>\nfoo\n");
  REQUIRE_FALSE(error);
  CHECK(error.error().message() == "client.ovpn:2: an opening tag: the block is never closed");
}

TEST_CASE("profile: which servers") {
  struct Row {
    std::string text;
    std::vector<std::string> remotes;
  };
  const auto row = GENERATE(values<Row>({
      {"remote a.example", {"a.example:1194/udp"}},
      {"remote a.example 443 tcp", {"a.example:443/tcp"}},
      {"remote a.example 443 tcp-client", {"a.example:443/tcp"}},
      {"remote a.example 443 tcp4\nremote a.example 443 tcp4-client", {"a.example:443/tcp4", "a.example:443/tcp4"}},
      {"remote a.example 443 tcp6\nremote a.example 443 tcp6-client", {"a.example:443/tcp6", "a.example:443/tcp6"}},
      {"remote a.example 443 udp4\nremote a.example 443 udp6", {"a.example:443/udp4", "a.example:443/udp6"}},
      {"remote 192.0.2.1\nremote 2001:db8::1", {"192.0.2.1:1194/udp", "[2001:db8::1]:1194/udp"}},
      {"remote under_score.example", {"under_score.example:1194/udp"}},
      // Globals count as they stand at the end, wherever the remote is.
      {"remote a.example\nport 99\nproto tcp6", {"a.example:99/tcp6"}},
      {"rport 98\nremote a.example", {"a.example:98/udp"}},
      {"port 1\nport 2\nremote a.example", {"a.example:2/udp"}},
      {"rport 98\nport 99\nremote a.example", {"a.example:99/udp"}},
      {"lport 98\nremote a.example", {"a.example:1194/udp"}},
      {"proto udp6\nremote a.example 1194 udp\nremote b.example\nport 555\nproto tcp4",
       {"a.example:1194/udp4", "b.example:555/tcp4"}},
      {"remote a.example 1194 tcp\nremote b.example 1194 udp\nproto-force tcp", {"a.example:1194/tcp"}},
      // Blocks: exactly what stands before and in them.
      {"port 99\n<connection>\nremote c.example\n</connection>\nport 77", {"c.example:99/udp"}},
      {"<connection>\nremote c.example 443 tcp\nport 99\n</connection>", {"c.example:99/tcp"}},
      {"<connection>\nremote c.example 443 tcp4-client\nremote d.example\n</connection>", {"d.example:443/tcp4"}},
      {"  --<connection>\nremote c.example\n \t</connection> and more", {"c.example:1194/udp"}},
      {"remote a.example\n<connection>\nremote c.example\n</connection>", {"c.example:1194/udp"}},
      // Proxies.
      {"proto tcp\nremote a.example\nhttp-proxy p.example 3128 auth.txt basic", {"p.example:3128/tcp"}},
      {"proto tcp4\nremote a.example\nsocks-proxy 192.0.2.9", {"192.0.2.9:1080/tcp4"}},
      {"remote a.example 1194 tcp\nsocks-proxy p.example 9050 stdin", {"p.example:9050/tcp"}},
      {"remote a.example\nsocks-proxy p.example", {"p.example:1080/tcp4"}},
      // Quotes, comments, versions.
      {"remote \"a.example\" '443' # comment", {"a.example:443/udp"}},
      {"  # remote b.example\n;remote c.example\nremote a.example ;443", {"a.example:1194/udp"}},
      {"setenv opt remote a.example 443", {"a.example:443/udp"}},
      {"--remote a.example", {"a.example:1194/udp"}},
  }));
  std::vector<std::string> remotes;
  for (const auto& remote : accepted(row.text).remotes) {
    remotes.push_back(model::to_string(remote));
  }
  INFO(row.text);
  CHECK(remotes == row.remotes);
}

TEST_CASE("profile: single directives") {
  const std::string remote = "remote a.example\n";
  Profile plain;
  plain.remotes = {Remote{"a.example", Port{1194}, Protocol::udp, {}}};
  const auto with = [&](auto change) {
    auto profile = plain;
    change(profile);
    return profile;
  };
  CHECK(accepted(remote) == plain);
  CHECK(accepted(remote + "dev tap3") == with([](Profile& p) { p.device = "tap3"; }));
  CHECK(accepted(remote + "dev-type tap") == with([](Profile& p) { p.device_type = "tap"; }));
  CHECK(accepted(remote + "mark 27507") == with([](Profile& p) { p.mark = 27507; }));
  CHECK(accepted(remote + "redirect-gateway") == with([](Profile& p) { p.redirects_ipv4 = true; }));
  CHECK(accepted(remote + "redirect-gateway ipv6 !ipv4") == with([](Profile& p) { p.redirects_ipv6 = true; }));
  CHECK(accepted(remote + "redirect-private def1 bypass-dhcp") == with([](Profile& p) { p.redirects_ipv4 = true; }));
  CHECK(accepted(remote + "management 127.0.0.1 7505") == with([](Profile& p) {
          p.management =
              model::ManagementAddress{model::TcpAddress{*model::parse_ip_address("127.0.0.1"), Port{7505}}, ""};
        }));
  CHECK(accepted(remote + "management localhost 7505 pw") == with([](Profile& p) {
          p.management =
              model::ManagementAddress{model::TcpAddress{*model::parse_ip_address("127.0.0.1"), Port{7505}}, "pw"};
        }));
}

TEST_CASE("profile: warnings") {
  struct Row {
    std::string text;
    std::vector<std::string> warnings;
  };
  const auto row = GENERATE(values<Row>({
      {"remote a.example\nremot b.example", {"client.ovpn:2: unknown directive: 'remot'"}},
      {"remote a.example\nRemote b.example",
       {"client.ovpn:2: unknown directive: a line that starts with no directive"}},
      {"remote a.example\n<foo>\nremote b.example\n</foo>", {"client.ovpn:2: unknown block 'foo', skipped"}},
      {"ignore-unknown-option foo bar\nremote a.example\nfoo 1\n<bar>\nx\n</bar>", {}},
      {"remote a.example\nfoo\nignore-unknown-option foo", {"client.ovpn:2: unknown directive: 'foo'"}},
      {"remote a.example\nsetenv opt foo 1\nsetenv opt\nsetenv FOO bar", {}},
      {"remote a.example\nsetenv opt dev", {"client.ovpn:2: dev: expected 'dev NAME', found 0 parameters; ignored"}},
      {"remote a.example\n<connection>\nremote c.example\n</connection>",
       {"client.ovpn:1: remote: not used, as in OpenVPN, because there are <connection> blocks"}},
      {"remote a.example\nsocks-proxy p.example",
       {"client.ovpn:2: socks-proxy: OpenVPN over UDP talks to a relay address that the proxy names only later; it "
        "stays blocked (proto tcp works)"}},
      {"remote a.example\nremote-random-hostname",
       {"client.ovpn:2: remote-random-hostname: the name that OpenVPN asks for cannot be known beforehand; works only "
        "through the management socket (`killswitch connect`)"}},
      {"remote a.example\nmanagement tunnel 7505",
       {"client.ovpn:2: management: 'tunnel' is not a numeric address; the channel is not used"}},
      {"remote a.example\nmanagement 127.0.0.1 7505 stdin",
       {"client.ovpn:2: management: its password is typed at OpenVPN's terminal; the channel is not used"}},
      {"remote a.example\nplugin 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
       {"client.ovpn:2: only the first 16 words of the line count, as in OpenVPN"}},
      {"remote a.example\nplugin 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 # 17", {}},
  }));
  INFO(row.text);
  CHECK(warnings_of(row.text) == row.warnings);
}

TEST_CASE("profile: bad input and the words it gets") {
  struct Row {
    std::string text;
    std::string message;
  };
  const std::string protocols = " (udp, udp4, udp6, tcp, tcp4, tcp6, tcp-client, tcp4-client, tcp6-client)";
  const std::string server = "this configures an OpenVPN server; killswitch wants the profile of a client";
  const auto row = GENERATE_COPY(values<Row>({
      {"", "client.ovpn: no usable remote: add a line such as 'remote vpn.example.org 1194 udp'"},
      {"client\n", "client.ovpn: no usable remote: add a line such as 'remote vpn.example.org 1194 udp'"},
      {"remote a.example 1194 udp\nproto-force tcp",
       "client.ovpn: no usable remote: add a line such as 'remote vpn.example.org 1194 udp'"},
      {"client\n\nremote a.example 70000", "client.ovpn:3: remote: '70000' is not a port (1 to 65535)"},
      {"remote a.example 0", "client.ovpn:1: remote: '0' is not a port (1 to 65535)"},
      {"remote a.example openvpn", "client.ovpn:1: remote: 'openvpn' is not a port (1 to 65535)"},
      {"remote a.example 1194 sctp", "client.ovpn:1: remote: 'sctp' is not a protocol" + protocols},
      {"remote a.example 1194 UDP", "client.ovpn:1: remote: 'UDP' is not a protocol" + protocols},
      {"remote a.example 1194 tcp-server",
       "client.ovpn:1: remote: 'tcp-server' waits for connections; a client needs 'tcp-client'"},
      {"remote", "client.ovpn:1: remote: expected 'remote HOST [PORT [PROTOCOL]]', found 0 parameters"},
      {"remote a 1 udp x", "client.ovpn:1: remote: expected 'remote HOST [PORT [PROTOCOL]]', found 4 parameters"},
      {"remote a..example", "client.ovpn:1: remote: 'a..example' is not a host name or a numeric address"},
      {"remote 'a b'", "client.ovpn:1: remote: 'a b' is not a host name or a numeric address"},
      {"remote \"\"", "client.ovpn:1: remote: '' is not a host name or a numeric address"},
      {"remote 10.0.0.256", "client.ovpn:1: remote: '10.0.0.256' is not a host name or a numeric address"},
      {"remote fe80::1%eth0", "client.ovpn:1: remote: 'fe80::1%eth0' is not a host name or a numeric address"},
      {"remote a.example;id", "client.ovpn:1: remote: 'a.example;id' is not a host name or a numeric address"},
      {"port x", "client.ovpn:1: port: 'x' is not a port (1 to 65535)"},
      {"rport -1", "client.ovpn:1: rport: '-1' is not a port (1 to 65535)"},
      {"proto ipx", "client.ovpn:1: proto: 'ipx' is not a protocol" + protocols},
      {"dev a/b", "client.ovpn:1: dev: 'a/b' is not an interface name (1 to 15 printable bytes without '/')"},
      {"dev abcdefghijklmnop",
       "client.ovpn:1: dev: 'abcdefghijklmnop' is not an interface name (1 to 15 printable bytes without '/')"},
      {"dev-type ppp", "client.ovpn:1: dev-type: 'ppp' is not a device type (tun, tap)"},
      {"mark 0x10",
       "client.ovpn:1: mark: '0x10' is not a decimal number from 1 to 2147483647 (OpenVPN reads no other form)"},
      {"mark 0", "client.ovpn:1: mark: '0' is not a decimal number from 1 to 2147483647 (OpenVPN reads no other form)"},
      {"management 127.0.0.1",
       "client.ovpn:1: management: expected 'management ADDRESS PORT|unix [PASSWORDFILE]', found 1 parameter"},
      {"management 127.0.0.1 x", "client.ovpn:1: management: 'x' is not a port (1 to 65535)"},
      {"management \"\" unix", "client.ovpn:1: management: the path of a unix socket has 1 to 107 bytes"},
      {"management-hold yes", "client.ovpn:1: management-hold: expected 'management-hold', found 1 parameter"},
      {"redirect-gateway def2", "client.ovpn:1: redirect-gateway: unknown flag 'def2'"},
      {"http-proxy p.example",
       "client.ovpn:1: http-proxy: expected 'http-proxy HOST PORT [AUTHFILE] [METHOD]', found 1 parameter"},
      {"remote a.example\nhttp-proxy p.example 80",
       "client.ovpn:2: http-proxy: carries TCP only, and the server 'a.example' is reached over UDP (proto tcp)"},
      {"proto tcp\nremote a.example\nhttp-proxy p.example 80\nsocks-proxy p.example",
       "client.ovpn:3: http-proxy: cannot be used together with socks-proxy"},
      {"server 10.8.0.0 255.255.255.0", "client.ovpn:1: server: " + server},
      {"remote a.example\nmode server", "client.ovpn:2: mode: " + server},
      {"server-bridge", "client.ovpn:1: server-bridge: " + server},
      {"mode tls", "client.ovpn:1: mode: 'tls' is not a mode (p2p)"},
      {"user ''", "client.ovpn:1: user: the name is empty"},
      {"remote a.example\n<ca>\nabc\n", "client.ovpn:2: <ca>: the block is never closed"},
      {"remote a.example\n<ca>\nabc\n<key>\n</key>\n", "client.ovpn:2: <ca>: the block is never closed"},
      {"<connection>\nport 5\n</connection>", "client.ovpn:1: <connection>: needs a 'remote' line"},
      {"<connection>\nremote a.example\n", "client.ovpn:1: <connection>: the block is never closed"},
      {"\n<connection>\nremote a.example\n\nport 0\n</connection>",
       "client.ovpn:5: port: '0' is not a port (1 to 65535)"},
      {"<connection>\nremote a.example\nmark 5\n</connection>",
       "client.ovpn:3: mark: cannot stand in a <connection> block"},
      {"<connection>\nconfig x\n</connection>", "client.ovpn:2: config: cannot stand in a <connection> block"},
      {"<connection>\n<connection>\nremote a.example\n</connection>",
       "client.ovpn:2: <connection>: the block is never closed"},
      {"<remote>\na.example\n</remote>",
       "client.ovpn:1: <remote>: this directive cannot be a block; write it on one line"},
      {"remote \"a.example", "client.ovpn:1: no closing double quote"},
      {"remote 'a.example", "client.ovpn:1: no closing single quote"},
      {"remote a.example \\\n1194", "client.ovpn:1: the line ends in a backslash; OpenVPN has no continued lines"},
      {"remote a.example\\", "client.ovpn:1: the line ends in a backslash; OpenVPN has no continued lines"},
      {"ca c:\\keys\\ca.crt",
       "client.ovpn:1: bad backslash: it may stand only before a backslash, a double quote or a blank"},
      {"verb 3\n# " + std::string(300, 'x'), "client.ovpn:2: the line is longer than 255 bytes, which OpenVPN refuses"},
      {std::string{"verb 3\nremote a\0.example\n", 24}, "client.ovpn:2: a zero byte: this is not a text file"},
      {std::string(1048577, '\n'), "client.ovpn: larger than 1 MiB, which no OpenVPN profile is"},
  }));
  const auto profile = parse(row.text);
  INFO(row.text.substr(0, 400));
  REQUIRE_FALSE(profile);
  CHECK(profile.error().message() == row.message);
}

TEST_CASE("profile: included files") {
  const Files files{{"more.conf", "port 99\nremote b.example\n"},
                    {"bad.conf", "\nremote b.example 0\n"},
                    {"loop.conf", "config loop.conf\n"},
                    {"twice.conf", "config twice-a.conf\n"},
                    {"fan.conf", "verb 3\n"}};
  const auto profile = accepted("remote a.example\nconfig more.conf\n", files);
  CHECK(profile.remotes == std::vector<Remote>{Remote{"a.example", Port{99}, Protocol::udp, {}},
                                               Remote{"b.example", Port{99}, Protocol::udp, {}}});

  const auto message = [&](const std::string& text) {
    const auto refused = parse(text, files);
    return refused ? std::string{"accepted"} : refused.error().message();
  };
  CHECK(message("config bad.conf") == "bad.conf:2: remote: '0' is not a port (1 to 65535)");
  CHECK(message("\nconfig gone.conf") == "client.ovpn:2: config: open gone.conf: No such file or directory");
  CHECK(message("config loop.conf") ==
        "loop.conf:1: config: more than 10 levels of files; does 'loop.conf' include itself?");
  std::string fan;
  for (int i = 0; i < 101; ++i) {
    fan += "config fan.conf\n";
  }
  CHECK(message(fan) == "client.ovpn:101: config: more than 100 included files");
}

TEST_CASE("profile: ten levels of files are allowed") {
  Files files;
  for (int level = 2; level < 10; ++level) {
    files[std::to_string(level)] = "config " + std::to_string(level + 1) + "\n";
  }
  files["10"] = "remote a.example\n";
  CHECK(accepted("config 2\n", files).remotes.size() == 1);
  files["10"] = "config 11\n";
  files["11"] = "remote a.example\n";
  const auto refused = parse("config 2\n", files);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() == "10:1: config: more than 10 levels of files; does '11' include itself?");
}

TEST_CASE("profile: a closing tag counts where OpenVPN sees one") {
  // OpenVPN reads a block in pieces of 255 bytes; a long line may hold the closing tag where a piece begins.
  const auto profile = accepted("<ca>\n" + std::string(255, 'A') + "</ca>\nremote a.example 5\n");
  CHECK(profile.remotes == std::vector<Remote>{Remote{"a.example", Port{5}, Protocol::udp, {}}});
  CHECK_FALSE(parse("<ca>\n" + std::string(254, 'A') + "</ca>\nremote a.example 5\n"));
}

TEST_CASE("profile line: words as OpenVPN splits them") {
  struct Row {
    std::string line;
    std::vector<std::string> words;
  };
  const auto row = GENERATE(values<Row>({
      {"", {}},
      {" \t\r\n", {}},
      {"# a b", {}},
      {"; a b", {}},
      {"a#b c;d", {"a#b", "c;d"}},
      {"a #b", {"a"}},
      {"a 'b c' \"d e\"", {"a", "b c", "d e"}},
      {"a ''", {"a", ""}},
      {"'a'b", {"a", "b"}},
      {"a\"b\"", {"a\"b\""}},
      {"a \"b\\\"c\\\\\"", {"a", "b\"c\\"}},
      {"a 'b\\c'", {"a", "b\\c"}},
      {"a\\ b", {"a b"}},
      {"a\\\\b", {"a\\b"}},
      {"\\\"a", {"\"a"}},
      {"a \\#b", {"a"}},
      {"a\vb\fc\n", {"a", "b", "c"}},
  }));
  const auto split = codec::split_option_line(row.line);
  INFO(row.line);
  REQUIRE(split);
  CHECK(split->words == row.words);
  CHECK_FALSE(split->cut);
}

TEST_CASE("names of hosts and interfaces") {
  const auto label63 = std::string(63, 'a');
  for (const auto& good :
       std::vector<std::string>{"a", "a.b", "vpn.example.org.", "1.example", "x_y", label63, "::1", "192.0.2.1",
                                label63 + "." + label63 + "." + label63 + "." + std::string(61, 'a')}) {
    INFO(good);
    CHECK(codec::is_host(good));
  }
  for (const auto& bad : std::vector<std::string>{"", ".", "a..b", ".a", "-a", "a-", "a b", "a/b", "a:b", "1.2.3",
                                                  "256", label63 + "a", "a\n", "ä.example", "[::1]", "a..",
                                                  label63 + "." + label63 + "." + label63 + "." + label63}) {
    INFO(bad);
    CHECK_FALSE(codec::is_host(bad));
  }
  CHECK(codec::is_interface_name("tun0"));
  CHECK(codec::is_interface_name("abcdefghijklmno"));
  for (const auto* bad : {"", ".", "..", "a b", "a/b", "a:1", "abcdefghijklmnop", "tun\n"}) {
    CHECK_FALSE(codec::is_interface_name(bad));
  }
}

TEST_CASE("the table of OpenVPN's options") {
  for (const auto* name : {"allow-compression", "ca", "remote", "verb", "tls-crypt-v2", "x509-username-field"}) {
    CHECK(codec::is_openvpn_option(name));
  }
  for (const auto* name : {"", "Remote", "remot", "--remote", "zzz"}) {
    CHECK_FALSE(codec::is_openvpn_option(name));
  }
}
