// The management protocol: every kind of line, real sessions of OpenVPN 2.6.14 in any fragmentation, and floods.
#include "killswitch/codec/management.hpp"
#include "support/catch.hpp"

#include <fmt/format.h>
#include <fstream>
#include <random>

namespace {

using namespace killswitch;
using namespace killswitch::model;
using namespace killswitch::model::management;
using codec::ManagementDecoder;

IpAddress ip(std::string_view text) {
  return parse_ip_address(text).value();
}

std::string show(const TunnelReport& report) {
  std::string text = report.interface;
  for (const auto& address : report.addresses) {
    text += " " + to_string(address);
  }
  text += report.server ? " server=" + to_string(*report.server) : "";
  for (const auto& resolver : report.resolvers) {
    text += " dns=" + to_string(resolver);
  }
  for (const auto& domain : report.search_domains) {
    text += " search=" + domain;
  }
  return text;
}

std::string show(const State& state) {
  std::string text = "state " + state.name + (state.detail.empty() ? "" : "(" + state.detail + ")");
  for (const auto& address : state.tunnel_addresses) {
    text += " " + to_string(address);
  }
  text += state.server_address ? " server=" + to_string(*state.server_address) : "";
  text += state.server_port ? fmt::format(" port={}", state.server_port->number) : "";
  return text;
}

/// A message as one line, so that tables and failures read well.
struct Show {
  std::string operator()(const Hold&) const { return "hold"; }
  std::string operator()(const RemoteQuery& query) const {
    return "remote " + to_string(Remote{query.host, query.port, query.protocol, query.family});
  }
  std::string operator()(const State& state) const { return show(state); }
  std::string operator()(const TunnelUp& up) const { return "up " + show(up.report); }
  std::string operator()(const TunnelDown& down) const { return "down " + down.interface; }
  std::string operator()(const PasswordNeeded& need) const {
    return fmt::format("need {}{}{}", need.realm, need.username ? " username" : "", need.challenge ? " challenge" : "");
  }
  std::string operator()(const PasswordRefused& refused) const { return "refused " + refused.realm; }
  std::string operator()(const Fatal& fatal) const { return "fatal " + fatal.text; }
  std::string operator()(const CommandRefused& refused) const { return "error " + refused.text; }
  std::string operator()(const ChannelPasswordNeeded&) const { return "channel password"; }
  std::string operator()(const Malformed& malformed) const { return "malformed " + malformed.reason; }
};

std::vector<std::string> show(const std::vector<Message>& messages) {
  std::vector<std::string> lines;
  for (const auto& message : messages) {
    lines.push_back(std::visit(Show{}, message));
  }
  return lines;
}

std::vector<std::string> decode(std::string_view bytes) {
  return show(ManagementDecoder{}.feed(bytes));
}

using Lines = std::vector<std::string>;

std::string env(const std::vector<std::string>& entries, std::string_view what = "UP") {
  std::string text = fmt::format(">UPDOWN:{}\r\n", what);
  for (const auto& entry : entries) {
    text += ">UPDOWN:ENV," + entry + "\r\n";
  }
  return text + ">UPDOWN:ENV,END\r\n";
}

/// What OpenVPN sent in a recorded session ("TIME > LINE").
std::string received(const std::string& name) {
  std::ifstream file{std::string{TEST_DATA} + "/management/" + name};
  REQUIRE(file.good());
  std::string bytes;
  for (std::string line; std::getline(file, line);) {
    if (line.size() > 11 && line.substr(8, 3) == " > ") {
      bytes += line.substr(11) + "\r\n";
    }
  }
  return bytes;
}

const std::vector<std::pair<std::string, Lines>>& sessions() {
  static const std::string start6 = "remote vpn.example.test:1194/udp6";
  static const std::string dual =
      "tun0 192.168.255.2/24 fd00:0:0:feed::1000/64 server=[2001:db8:b700::220]:1194/udp dns=192.168.255.1";
  static const std::string connected6 =
      "state CONNECTED(SUCCESS) 192.168.255.2 fd00:0:0:feed::1000 server=2001:db8:b700::220 port=1194";
  static const std::string assigned = "state ASSIGN_IP 192.168.255.2 fd00:0:0:feed::1000";
  static const std::vector<std::pair<std::string, Lines>> table{
      {"connect-dual-stack.txt",
       {"hold", "state CONNECTING", start6, "state WAIT", "state AUTH", assigned, "up " + dual, connected6, "down tun0",
        "state EXITING(SIGTERM)"}},
      {"connect-ipv4-only-tunnel.txt",
       {"hold", "state CONNECTING", start6, "state WAIT", "state AUTH", "state ASSIGN_IP 192.168.255.2",
        "up tun0 192.168.255.2/24 server=[2001:db8:b700::220]:1194/udp dns=192.168.255.1 dns=203.0.113.53",
        "state CONNECTED(SUCCESS) 192.168.255.2 server=2001:db8:b700::220 port=1194", "down tun0",
        "state EXITING(SIGTERM)"}},
      {"fallback-udp6-to-udp.txt",
       {"hold", "state CONNECTING", start6, "state WAIT", "state RECONNECTING(network-unreachable)", "hold",
        "remote vpn.example.test:1194/udp", "state WAIT", "state AUTH", assigned,
        "up tun0 192.168.255.2/24 fd00:0:0:feed::1000/64 server=198.51.100.49:1194/udp dns=192.168.255.1",
        "state CONNECTED(SUCCESS) 192.168.255.2 fd00:0:0:feed::1000 server=198.51.100.49 port=1194", "down tun0",
        "state EXITING(SIGTERM)"}},
      {"reconnect-after-server-loss.txt",
       {"hold", start6, "state WAIT", "state AUTH", assigned, "up " + dual, connected6,
        "state RECONNECTING(ping-restart)", "hold", start6, "state WAIT", "state AUTH", connected6, "down tun0",
        "state EXITING(SIGTERM)"}},
  };
  return table;
}

}  // namespace

TEST_CASE("every kind of line") {
  const std::vector<std::pair<std::string, Lines>> table{
      {"", {}},
      {"\r\n\n", {}},
      {">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n", {}},
      {">LOG:1,I,x\n>BYTECOUNT:1,2\n>ECHO:1,forget\n>INFOMSG:OPEN_URL:x\n>NOTIFY:info,x\nSUCCESS: x\nEND\n", {}},
      {">SOMETHING-NEW:x\n", {}},
      {">HOLD:Waiting for hold release:0\r\n", {"hold"}},
      {">HOLD:Waiting for hold release:10\n", {"hold"}},
      {">HOLD:", {}},  // no newline yet

      {">REMOTE:vpn.example.org,1194,udp\n", {"remote vpn.example.org:1194/udp"}},
      {">REMOTE:vpn.example.org,1194,udp4\n", {"remote vpn.example.org:1194/udp4"}},
      {">REMOTE:2001:db8::1,443,tcp6-client\n", {"remote [2001:db8::1]:443/tcp6"}},
      {">REMOTE:vpn.example.org,443,tcp4-client\n", {"remote vpn.example.org:443/tcp4"}},
      {">REMOTE:vpn.example.org,443,tcp-client\n", {"remote vpn.example.org:443/tcp"}},
      {">REMOTE:vpn.example.org,443,tcp\n", {"remote vpn.example.org:443/tcp"}},
      {">REMOTE:vpn.example.org,1194,sctp\n",
       {"malformed >REMOTE:vpn.example.org,1194,sctp: expected HOST,PORT,PROTOCOL"}},
      {">REMOTE:vpn.example.org,0,udp\n", {"malformed >REMOTE:vpn.example.org,0,udp: '0' is not a port (1 to 65535)"}},
      {">REMOTE:a b,1,udp\n", {"malformed >REMOTE:a b,1,udp: expected HOST,PORT,PROTOCOL"}},
      {">REMOTE:,1,udp\n", {"malformed >REMOTE:,1,udp: expected HOST,PORT,PROTOCOL"}},
      {">REMOTE:x,1,udp7\n", {"malformed >REMOTE:x,1,udp7: expected HOST,PORT,PROTOCOL"}},

      {">STATE:1,CONNECTED,SUCCESS,10.8.0.2,192.0.2.1,1194,10.0.0.5,40000,fd00::2\n",
       {"state CONNECTED(SUCCESS) 10.8.0.2 fd00::2 server=192.0.2.1 port=1194"}},
      {">STATE:1,CONNECTED,SUCCESS,10.8.0.2,::ffff:192.0.2.1,1194,,\n",
       {"state CONNECTED(SUCCESS) 10.8.0.2 server=192.0.2.1 port=1194"}},
      {">STATE:1,AUTH_PENDING,timeout 30,,,,,\n", {"state AUTH_PENDING(timeout 30)"}},
      {">STATE:1,EXITING,SIGTERM,,,,,,,,later fields\n", {"state EXITING(SIGTERM)"}},
      {">STATE:1,WAIT\n", {"state WAIT"}},
      {"1795400628,CONNECTING,,,,,,\r\nEND\r\n", {"state CONNECTING"}},
      {">STATE:1,CONNECTED,SUCCESS,10.8.0.2,nowhere,99999,,\n",
       {"malformed the state's address 'nowhere' is not an IPv4 or IPv6 address; the state's port '99999' is not a "
        "port (1 to 65535)",
        "state CONNECTED(SUCCESS) 10.8.0.2"}},
      {">STATE:now,CONNECTED\n", {"malformed state 'now,CONNECTED': expected TIME,NAME,…"}},
      {">STATE:1,connected\n", {"malformed state '1,connected': expected TIME,NAME,…"}},
      {">STATE:1\n", {"malformed state '1': expected TIME,NAME,…"}},

      {">PASSWORD:Need 'Auth' username/password\n", {"need Auth username"}},
      {">PASSWORD:Need 'Private Key' password\n", {"need Private Key"}},
      {">PASSWORD:Need 'HTTP Proxy' username/password\n", {"need HTTP Proxy username"}},
      {">PASSWORD:Need 'Auth' username/password SC:1,Please enter token PIN\n", {"need Auth username challenge"}},
      {">PASSWORD:Need 'token' something\n",
       {"malformed >PASSWORD:Need 'token': expected 'username/password' or 'password'"}},
      {">PASSWORD:Verification Failed: 'Auth'\n", {"refused Auth"}},
      {">PASSWORD:Verification Failed: 'Private Key'\n>PASSWORD:Need 'Private Key' password\n",
       {"refused Private Key", "need Private Key"}},
      {">PASSWORD:Verification Failed: 'Auth' ['CRV1:R,E:Om01u7:Y3Ix:PIN?']\n>PASSWORD:Need 'Auth' username/password\n"
       ">PASSWORD:Need 'Auth' username/password\n",
       {"refused Auth", "need Auth username challenge", "need Auth username"}},
      {">PASSWORD:Verification Failed: ['CRV1:R,E:Om01u7:Y3Ix:PIN?']\n>PASSWORD:Need 'Auth' username/password\n",
       {"refused Auth", "need Auth username challenge"}},
      {">PASSWORD:Auth-Token:SESS_ID_secret\n", {}},
      {">PASSWORD:what secret\n", {"malformed >PASSWORD: neither a question nor a refusal that is known"}},
      {">PASSWORD:Need 'unended\n", {"malformed >PASSWORD: neither a question nor a refusal that is known"}},

      {">FATAL:Cannot allocate TUN/TAP dev dynamically\n", {"fatal Cannot allocate TUN/TAP dev dynamically"}},
      {"ERROR: unknown command, enter 'help' for more options\r\n",
       {"error unknown command, enter 'help' for more options"}},
      {"ERROR: Options error: Parameter at TCP:0 is too long (256 chars max): secret\r\n",
       {"error Options error: Parameter at TCP:0 is too long (256 chars max)"}},
      {"ENTER PASSWORD:", {"channel password"}},
      {"ENTER PASSWORD:\r\nSUCCESS: password is correct\r\n>HOLD:x\n", {"channel password", "hold"}},
      {"ENTER PASSWORD:ERROR: bad password\r\nENTER PASSWORD:",
       {"channel password", "error bad password", "channel password"}},

      {"HTTP/1.1 400 Bad Request\r\nX: y\r\n>HOLD:x\nZ\n",
       {"malformed unknown line 'HTTP/1.1 400 Bad Request'", "hold", "malformed unknown line 'Z'"}},
      {std::string{"\0\x01>HOLD:\n", 9}, {"malformed unknown line '\\x00\\x01>HOLD:'"}},
      {std::string{">FATAL:a\0\x1b[2J\xff\n", 15}, {"fatal a\\x00\\x1b[2J\\xff"}},
  };
  for (const auto& [bytes, expected] : table) {
    CAPTURE(bytes);
    CHECK(decode(bytes) == expected);
  }
}

TEST_CASE("the tunnel's environment") {
  const Lines base{"dev=tun0", "ifconfig_local=10.8.0.2", "ifconfig_netmask=255.255.255.0"};
  const auto with = [&](const Lines& more) {
    Lines all = base;
    all.insert(all.end(), more.begin(), more.end());
    return env(all);
  };
  const std::vector<std::pair<std::string, Lines>> table{
      {env(base), {"up tun0 10.8.0.2/24"}},
      {env({"dev=tun0", "ifconfig_local=10.8.0.6", "ifconfig_remote=10.8.0.5"}), {"up tun0 10.8.0.6/32"}},
      {env({"dev=ovpn-home", "ifconfig_ipv6_local=fd00::2", "ifconfig_ipv6_netbits=64"}), {"up ovpn-home fd00::2/64"}},
      {env({"dev=tun0", "ifconfig_ipv6_local=fd00::2"}), {"up tun0 fd00::2/128"}},
      {env({"dev=tap0", "ifconfig_local=10.8.0.2", "ifconfig_netmask=255.255.255.255"}), {"up tap0 10.8.0.2/32"}},
      {">UPDOWN:UP\n>LOG:1,I,x\n>UPDOWN:ENV,dev=tun0\n>BYTECOUNT:1,1\n>UPDOWN:ENV,ifconfig_local=10.8.0.2\n"
       ">STATE:1,WAIT\n>UPDOWN:ENV,END\n",
       {"state WAIT", "up tun0 10.8.0.2/32"}},

      // the server, with the protocol of the remote that it belongs to
      {with({"trusted_ip=192.0.2.1", "trusted_port=1194", "proto_1=udp", "remote_1=vpn.example.org",
             "remote_port_1=1194"}),
       {"up tun0 10.8.0.2/24 server=192.0.2.1:1194/udp"}},
      {with({"trusted_ip=192.0.2.1", "trusted_port=443", "proto_1=udp", "remote_1=a", "remote_port_1=1194",
             "proto_2=tcp-client", "remote_2=a", "remote_port_2=443"}),
       {"up tun0 10.8.0.2/24 server=192.0.2.1:443/tcp"}},
      {with({"trusted_ip=192.0.2.2", "trusted_port=443", "proto_1=udp", "remote_1=192.0.2.1", "remote_port_1=443",
             "proto_2=tcp-client", "remote_2=192.0.2.2", "remote_port_2=443"}),
       {"up tun0 10.8.0.2/24 server=192.0.2.2:443/tcp"}},
      {with({"trusted_ip=192.0.2.1", "trusted_port=443", "proto_1=udp", "remote_1=a", "remote_port_1=443",
             "proto_2=tcp-client", "remote_2=a", "remote_port_2=443"}),
       {"malformed proto_N: the profile's remotes do not say which protocol leads to the server",
        "up tun0 10.8.0.2/24"}},
      {">REMOTE:a,443,tcp-client\n" +
           with({"trusted_ip=192.0.2.1", "trusted_port=443", "proto_1=udp", "remote_1=a", "remote_port_1=443",
                 "proto_2=tcp-client", "remote_2=a", "remote_port_2=443"}),
       {"remote a:443/tcp", "up tun0 10.8.0.2/24 server=192.0.2.1:443/tcp"}},
      {with({"trusted_ip=192.0.2.9", "trusted_port=3128", "proto_1=tcp-client", "remote_1=a", "remote_port_1=443"}),
       {"up tun0 10.8.0.2/24 server=192.0.2.9:3128/tcp"}},  // a proxy
      {with({"trusted_ip6=::ffff:192.0.2.1", "trusted_port=1194", "proto_1=udp6", "remote_1=a", "remote_port_1=1194"}),
       {"up tun0 10.8.0.2/24 server=192.0.2.1:1194/udp"}},
      {with({"trusted_ip=192.0.2.1", "trusted_port=0", "proto_1=udp"}),
       {"malformed trusted_port: '0' is not a port (1 to 65535)", "up tun0 10.8.0.2/24"}},
      {with({"trusted_ip=255.255.255.255", "trusted_port=1194", "proto_1=udp"}),
       {"malformed trusted_ip: 255.255.255.255 cannot be a server's address", "up tun0 10.8.0.2/24"}},

      // resolvers and domains, in the order of their numbers
      {with({"foreign_option_10=dhcp-option DNS 10.0.0.10", "foreign_option_2=dhcp-option DNS 10.0.0.2",
             "foreign_option_1=dhcp-option DNS6 fd00::53", "foreign_option_3=dhcp-option DNS 10.0.0.2",
             "foreign_option_4=dhcp-option NTP 10.0.0.9", "foreign_option_5=block-outside-dns"}),
       {"up tun0 10.8.0.2/24 dns=fd00::53 dns=10.0.0.2 dns=10.0.0.10"}},
      {with({"foreign_option_1=dhcp-option DOMAIN corp.example", "foreign_option_2=dhcp-option DOMAIN-SEARCH b.example",
             "foreign_option_3=dhcp-option ADAPTER_DOMAIN_SUFFIX c.example"}),
       {"up tun0 10.8.0.2/24 search=corp.example search=b.example search=c.example"}},
      {with({"dns_server_1_address_1=10.0.0.1", "dns_server_1_port_1=53", "dns_server_1_address_2=fd00::1",
             "dns_server_2_address_1=10.0.0.3", "dns_server_2_port_1=5353", "dns_server_1_sni=x",
             "dns_search_domain_1=corp.example"}),
       {"malformed dns_server_2_address_1: resolv.conf cannot name a resolver on port 5353",
        "up tun0 10.8.0.2/24 dns=10.0.0.1 dns=fd00::1 search=corp.example"}},
      {with({"dns_server_1_address4=10.0.0.1", "dns_server_1_address6=fd00::1", "dns_server_1_port6=53"}),
       {"up tun0 10.8.0.2/24 dns=10.0.0.1 dns=fd00::1"}},
      {with({"dns_server_1_address_1=10.0.0.1:53", "dns_server_1_address_2=[fd00::1]:53#dns.example",
             "dns_server_1_address_3=10.0.0.2#x"}),
       {"up tun0 10.8.0.2/24 dns=10.0.0.1 dns=fd00::1 dns=10.0.0.2"}},
      {with({"foreign_option_1=dhcp-option DNS 0.0.0.0", "foreign_option_2=dhcp-option DNS ff02::1",
             "foreign_option_3=dhcp-option DNS [fd00::1", "foreign_option_4=dhcp-option DNS",
             "foreign_option_5=dhcp-option DNS 10.0.0.1 10.0.0.2", "foreign_option_6=dhcp-option DOMAIN a\tb"}),
       {"malformed foreign_option_1: '0.0.0.0' is not the address of a resolver; foreign_option_2: 'ff02::1' is not "
        "the address of a resolver; foreign_option_3: '[fd00::1' is not the address of a resolver; foreign_option_4: "
        "'' "
        "is not the address of a resolver; foreign_option_5: '' is not the address of a resolver; and 1 more",
        "up tun0 10.8.0.2/24"}},

      // not to be believed
      {env({}), {"malformed >UPDOWN:UP: dev='' is not the name of an interface"}},
      {env({"dev=tun0"}), {"malformed >UPDOWN:UP: no usable address"}},
      {env({"dev=../x", "ifconfig_local=10.8.0.2"}),
       {"malformed >UPDOWN:UP: dev='../x' is not the name of an interface"}},
      {env({"dev=averyveryverylongname", "ifconfig_local=10.8.0.2"}),
       {"malformed >UPDOWN:UP: dev='averyveryverylongname' is not the name of an interface"}},
      {env({"dev=tun0", "ifconfig_local=127.0.0.1"}),
       {"malformed >UPDOWN:UP: ifconfig_local: 127.0.0.1 cannot be a tunnel's IPv4 address; no usable address"}},
      {env({"dev=tun0", "ifconfig_local=10.8.0.2", "ifconfig_netmask=255.0.255.0", "ifconfig_ipv6_local=fd00::2",
            "ifconfig_ipv6_netbits=64"}),
       {"malformed ifconfig_netmask: '255.0.255.0' is not a netmask", "up tun0 fd00::2/64"}},
      {env({"dev=tun0", "ifconfig_ipv6_local=fd00::2", "ifconfig_ipv6_netbits=129"}),
       {"malformed >UPDOWN:UP: ifconfig_ipv6_netbits: '129' is not a prefix length; no usable address"}},
      {with({"dev=tun1"}), {"malformed >UPDOWN: two values for 'dev'"}},
      {with({"dev=tun0"}), {"up tun0 10.8.0.2/24"}},

      {env({"dev=tun0"}, "DOWN"), {"down tun0"}},
      {env({}, "DOWN"), {"down "}},
      {env(base) + env({}, "DOWN") + env({}, "DOWN"), {"up tun0 10.8.0.2/24", "down tun0", "down "}},
      {env({"dev=tun0", "dev=tun1"}, "DOWN"), {"malformed >UPDOWN: two values for 'dev'", "down tun0"}},
      {">UPDOWN:ENV,dev=tun0\n>UPDOWN:ENV,END\n", {"malformed >UPDOWN:ENV without >UPDOWN:UP or DOWN before it"}},
      {">UPDOWN:SIDEWAYS\n", {"malformed >UPDOWN:SIDEWAYS: expected UP, DOWN or ENV"}},
      {">UPDOWN:UP\n>UPDOWN:ENV,dev=tun9\n" + env(base),
       {"malformed >UPDOWN: the last environment did not end", "up tun0 10.8.0.2/24"}},
  };
  for (const auto& [bytes, expected] : table) {
    CAPTURE(bytes);
    CHECK(decode(bytes) == expected);
  }
}

TEST_CASE("recorded sessions, cut in any way") {
  std::mt19937 random{20261123};
  for (const auto& [name, expected] : sessions()) {
    CAPTURE(name);
    const auto bytes = received(name);
    CHECK(decode(bytes) == expected);

    ManagementDecoder bytewise;
    Lines lines;
    for (const char& byte : bytes) {
      for (auto& line : show(bytewise.feed({&byte, 1}))) {
        lines.push_back(std::move(line));
      }
    }
    CHECK(lines == expected);
    CHECK(bytewise.buffered() == 0);

    for (int round = 0; round < 50; ++round) {
      ManagementDecoder decoder;
      lines.clear();
      for (std::string_view rest = bytes; !rest.empty();) {
        const auto size = std::min<std::size_t>(rest.size(), 1 + random() % 700);
        for (auto& line : show(decoder.feed(rest.substr(0, size)))) {
          lines.push_back(std::move(line));
        }
        rest.remove_prefix(size);
      }
      CHECK(lines == expected);
    }
  }
}

TEST_CASE("a prompt without a newline is seen at once, in however many parts it comes") {
  ManagementDecoder decoder;
  CHECK(decoder.feed("ENTER PASS").empty());
  CHECK(show(decoder.feed("WORD:")) == Lines{"channel password"});
  CHECK(decoder.buffered() == 0);
  CHECK(show(decoder.feed("SUCCESS: password is correct\r\n>HOLD:x\r\n")) == Lines{"hold"});
}

TEST_CASE("memory is bounded") {
  constexpr std::size_t line_limit = ManagementDecoder::line_limit;
  SECTION("a line without an end") {
    ManagementDecoder decoder;
    const std::string chunk(4096, 'x');
    std::size_t messages = 0;
    for (int i = 0; i < 256; ++i) {
      messages += decoder.feed(chunk).size();
      CHECK(decoder.buffered() <= line_limit);
    }
    CHECK(messages == 1);
    CHECK(show(decoder.feed("\n>HOLD:x\n")) == Lines{"hold"});
  }
  SECTION("the longest line that is read, and one byte more") {
    const std::string fits = "ERROR: " + std::string(line_limit - 7, 'x') + "\n";
    CHECK(std::holds_alternative<CommandRefused>(ManagementDecoder{}.feed(fits).at(0)));
    CHECK(decode("x" + fits) == Lines{"malformed a line longer than 8192 bytes"});
  }
  SECTION("an environment of routes is as long as it likes") {
    std::string bytes = ">UPDOWN:UP\n>UPDOWN:ENV,dev=tun0\n>UPDOWN:ENV,ifconfig_local=10.8.0.2\n";
    for (int i = 0; i < 100'000; ++i) {
      bytes += fmt::format(">UPDOWN:ENV,route_network_{}=10.0.0.0\n", i);
    }
    ManagementDecoder decoder;
    CHECK(decoder.feed(bytes).empty());
    CHECK(decoder.buffered() < 100);
    CHECK(show(decoder.feed(">UPDOWN:ENV,END\n")) == Lines{"up tun0 10.8.0.2/32"});
  }
  SECTION("an environment of options is not") {
    for (const std::size_t width : {std::size_t{1}, std::size_t{8000}}) {
      ManagementDecoder decoder;
      Lines lines = show(decoder.feed(">UPDOWN:UP\n>UPDOWN:ENV,dev=tun0\n>UPDOWN:ENV,ifconfig_local=10.8.0.2\n"));
      for (int i = 0; i < 100'000 / static_cast<int>(width) + 5000; ++i) {
        const auto entry = fmt::format(">UPDOWN:ENV,foreign_option_{}={}\n", i, std::string(width, 'x'));
        for (auto& line : show(decoder.feed(entry))) {
          lines.push_back(std::move(line));
        }
      }
      CHECK(decoder.buffered() <= ManagementDecoder::block_byte_limit);
      CHECK(lines == Lines{"malformed >UPDOWN: an environment of more than 4096 entries or 262144 bytes"});
      CHECK(decoder.feed(">UPDOWN:ENV,END\n").empty());
      CHECK(decoder.buffered() == 0);
    }
  }
  SECTION("nonsense is reported once, not once a line") {
    std::string bytes;
    for (int i = 0; i < 100'000; ++i) {
      bytes += "x\n>UPDOWN:ENV,dev=tun0\n";
    }
    CHECK(decode(bytes) == Lines{"malformed unknown line 'x'"});
  }
}

TEST_CASE("any bytes, cut in any way, give the same messages") {
  static constexpr std::array<std::string_view, 12> words{
      "ENTER PASSWORD:", "\n",           "\r\n",     ">HOLD:x\n",
      ">UPDOWN:UP\n",    ">UPDOWN:ENV,", "dev=tun0", "ifconfig_local=10.0.0.1",
      "END\n",           "1,",           "ERROR:",   ">PASSWORD:Need 'Auth' username/password\n"};
  std::mt19937 random{7};
  for (int round = 0; round < 400; ++round) {
    std::string bytes;
    while (bytes.size() < 12'000) {
      if (random() % 4 == 0) {
        bytes += std::string(random() % 5, static_cast<char>(random() % 256));
      } else if (random() % 400 == 0) {
        bytes += std::string(9000, 'x');
      } else {
        bytes += words[random() % words.size()];
      }
    }
    const auto whole = decode(bytes);
    ManagementDecoder decoder;
    Lines lines;
    for (std::string_view rest = bytes; !rest.empty();) {
      const auto size = std::min<std::size_t>(rest.size(), 1 + random() % 40);
      for (auto& line : show(decoder.feed(rest.substr(0, size)))) {
        lines.push_back(std::move(line));
      }
      rest.remove_prefix(size);
    }
    REQUIRE(lines == whole);
  }
}

TEST_CASE("commands") {
  CHECK(codec::encode_hold_release() == "hold release\n");
  CHECK(codec::encode_state_on() == "state on\n");
  CHECK(codec::encode_state() == "state\n");
  CHECK(codec::encode_remote_mod(ip("192.0.2.1"), Port{1194}) == "remote MOD 192.0.2.1 1194\n");
  CHECK(codec::encode_remote_mod(ip("2001:db8::1"), Port{443}) == "remote MOD 2001:db8::1 443\n");
  CHECK(codec::encode_remote_accept() == "remote ACCEPT\n");
  CHECK(codec::encode_remote_skip() == "remote SKIP\n");
  CHECK(codec::encode_restart() == "signal SIGUSR1\n");

  CHECK(codec::encode_username("Auth", "alice").value() == "username \"Auth\" \"alice\"\n");
  CHECK(codec::encode_password("Private Key", R"(a"b\c d)").value() == "password \"Private Key\" \"a\\\"b\\\\c d\"\n");
  CHECK(codec::encode_password("Auth", "").value() == "password \"Auth\" \"\"\n");
  CHECK(codec::encode_password("Auth", "p\xc3\xa4ss").value() == "password \"Auth\" \"p\xc3\xa4ss\"\n");
  CHECK(codec::encode_channel_password(R"(a"b\c)").value() == "a\"b\\c\n");

  using namespace std::literals;
  for (const auto bad : {"a\nsignal SIGTERM"sv, "a\0b"sv, "a\rb"sv, "a\tb"sv, "\x7f"sv}) {
    CHECK(!codec::encode_username("Auth", bad));
    CHECK(!codec::encode_channel_password(bad));
    CHECK(!codec::encode_username(bad, "x"));
    const auto refused = codec::encode_password("Auth", bad);
    REQUIRE(!refused);
    CHECK(refused.error().message() == "the password has a control character, which OpenVPN does not take");
  }
  CHECK(codec::encode_password("Auth", std::string(255, 'x')));
  CHECK(!codec::encode_password("Auth", std::string(256, 'x')));
}
