// Policies: defaults, every key, every refusal with its words; and the policies that are shipped.
#include "killswitch/codec/policy_json.hpp"

#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

using namespace killswitch;
using model::Policy;
using model::Refusal;

std::string read_policy_file(const std::string& name) {
  std::ifstream stream{std::string{PROJECT_ROOT} + "/policies/" + name, std::ios::binary};
  REQUIRE(stream);
  return {std::istreambuf_iterator<char>{stream}, {}};
}

Policy accepted(const std::string& text) {
  auto policy = codec::parse_policy(text, "x.json");
  if (!policy) {
    FAIL(policy.error().message());
  }
  return *policy;
}

model::Prefix prefix(const char* text) {
  return *model::parse_prefix(text);
}

}  // namespace

TEST_CASE("policy: what is not said is strict") {
  Policy expected;
  expected.name = "x";
  CHECK(accepted(R"({"version":1,"name":"x"})") == expected);
  CHECK(expected.transport_programs.empty());
  CHECK_FALSE((expected.dhcp || expected.neighbour_discovery || expected.server_names || expected.any_tunnel_resolver ||
               expected.host_to_internal || expected.internal_to_tunnel));
  CHECK(expected.refusal == Refusal::drop);
}

TEST_CASE("policy: every key, and back") {
  Policy expected;
  expected.name = "every-key-1";
  expected.description = "Ünïcode \"quoted\"\n";
  expected.transport_programs = {{"/usr/bin/stunnel4", "stunnel4"}, {"/opt/vpn/openvpn", ""}};
  expected.transport_mark = 0xffffffff;
  expected.dhcp = true;
  expected.neighbour_discovery = true;
  expected.server_names = true;
  expected.tunnel_resolvers = {*model::parse_ip_address("9.9.9.9"), *model::parse_ip_address("2620:fe::fe")};
  expected.host_to_internal = true;
  expected.internal_to_tunnel = true;
  expected.refusal = Refusal::reject;
  const auto text = R"({
    "version": 1, "name": "every-key-1", "description": "Ünïcode \"quoted\"\n",
    "transport": {"identify": "automatic", "mark": 4294967295,
                  "programs": ["/usr/bin/stunnel4:stunnel4", "/opt/vpn/openvpn"]},
    "links": {"dhcp": true, "neighbour_discovery": true, "server_names": true},
    "dns": {"tunnel_resolvers": ["9.9.9.9", "2620:fe::fe"], "any_tunnel_resolver": false},
    "internal": {"host": true, "tunnel": true}, "refusal": "reject"})";
  CHECK(accepted(text) == expected);
  CHECK(accepted(codec::render_policy(expected)) == expected);

  Policy any;
  any.name = "any";
  any.any_tunnel_resolver = true;
  any.waives = {model::Guarantee::dns};
  CHECK(accepted(R"({"name":"any","version":1,"dns":{"any_tunnel_resolver":true,"tunnel_resolvers":[]},
                    "waives":["G7"]})") == any);
  CHECK(accepted(codec::render_policy(any)) == any);
}

TEST_CASE("policy: the text is stable") {
  Policy policy;
  policy.name = "x";
  CHECK(codec::render_policy(policy) == R"({
  "version": 1,
  "name": "x",
  "description": "",
  "transport": {
    "mark": 27507
  },
  "links": {
    "dhcp": false,
    "neighbour_discovery": false,
    "server_names": false
  },
  "dns": {
    "tunnel_resolvers": [],
    "any_tunnel_resolver": false
  },
  "internal": {
    "host": false,
    "tunnel": false
  },
  "lan": [],
  "inbound": [],
  "endpoints": [],
  "trusted_interfaces": [],
  "waives": [],
  "refusal": "drop"
}
)");
}

TEST_CASE("policy: bad input and the words it gets") {
  struct Row {
    std::string text;
    std::string message;
  };
  const auto with = [](const std::string& more) { return R"({"version":1,"name":"x",)" + more + "}"; };
  const std::string resolver = "expected the address of a resolver behind the tunnel, not ";
  const auto row = GENERATE_COPY(values<Row>({
      // Syntax.
      {"", "x.json:1:1: not JSON: value - unexpected end of input; expected '[', '{', or a literal"},
      {"{\n  \"version\" 1}", "x.json:2:13: not JSON: object separator - unexpected number literal; expected ':'"},
      {R"({"version":1,"name":"x",})", "x.json:1:25: not JSON: object key - unexpected '}'; expected string literal"},
      {R"({"version":1,"name":"x"} {})", "x.json:1:26: not JSON: value - unexpected '{'; expected end of input"},
      {std::string{"{\"version\":1,\"name\":\"x\"}\0{", 26}, "x.json:1:25: not JSON: a zero byte"},
      {"// comment\n{}", "x.json:1:1: not JSON: value - invalid literal; last read: '/'"},
      {std::string(1048577, ' '), "x.json: larger than 1 MiB"},
      {std::string(17, '['), "x.json: /0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0: more than 16 levels"},
      {"1e999", "x.json:1:5: not JSON: number overflow parsing '1e999'"},
      // Shape.
      {"[]", "x.json: expected an object, found an array"},
      {"3", "x.json: expected an object, found 3"},
      {"{}", "x.json: /version: expected 1, found nothing"},
      {R"({"version":1})", "x.json: /name: expected a name, found nothing"},
      {R"({"version":2,"name":"x"})", "x.json: /version: expected a whole number from 1 to 1, found 2"},
      {R"({"version":"1","name":"x"})", "x.json: /version: expected a whole number from 1 to 1, found \"1\""},
      {R"({"version":1,"name":"x","name":"y"})", "x.json: /name: this key stands twice"},
      {with(R"("links":{"dhcp":true,"dhcp":false})"), "x.json: /links/dhcp: this key stands twice"},
      {with(R"("linsk":{})"), "x.json: /linsk: unknown key; did you mean \"links\"?"},
      {with(R"("links":{"dchp":true})"), "x.json: /links/dchp: unknown key; did you mean \"dhcp\"?"},
      {with(R"("links":{"wifi":true})"),
       "x.json: /links/wifi: unknown key; known here: \"dhcp\", \"neighbour_discovery\", \"pppoe\", \"server_names\""},
      {with(R"("a/b~c":1)"),
       "x.json: /a~1b~0c: unknown key; known here: \"version\", \"name\", \"description\", "
       "\"transport\", \"links\", \"dns\", \"internal\", \"lan\", \"inbound\", \"endpoints\", \"router\", "
       "\"trusted_interfaces\", \"waives\", \"refusal\""},
      // Values.
      {R"({"version":1,"name":"Laptop"})",
       "x.json: /name: expected a name of 1 to 64 letters a-z, digits and '-', found \"Laptop\""},
      {R"({"version":1,"name":""})",
       "x.json: /name: expected a name of 1 to 64 letters a-z, digits and '-', found \"\""},
      {R"({"version":1,"name":"../x"})",
       "x.json: /name: expected a name of 1 to 64 letters a-z, digits and '-', found \"../x\""},
      {R"({"version":1,"name":7})", "x.json: /name: expected text, found 7"},
      {with(R"("description":null)"), "x.json: /description: expected text, found null"},
      {with(R"("links":{"dhcp":"yes"})"), "x.json: /links/dhcp: expected true or false, found \"yes\""},
      {with(R"("links":{"neighbour_discovery":1})"),
       "x.json: /links/neighbour_discovery: expected true or false, found 1"},
      {with(R"("links":true)"), "x.json: /links: expected an object, found true"},
      {with(R"("transport":{"identify":"user"})"),
       "x.json: /transport/identify: expected \"automatic\" or \"mark\", found \"user\""},
      {with(R"("transport":{"mark":0})"),
       "x.json: /transport/mark: expected a whole number from 1 to 4294967295, found 0"},
      {with(R"("transport":{"mark":4294967296})"),
       "x.json: /transport/mark: expected a whole number from 1 to 4294967295, found 4294967296"},
      {with(R"("transport":{"mark":-1})"),
       "x.json: /transport/mark: expected a whole number from 1 to 4294967295, found -1"},
      {with(R"("transport":{"mark":1.5})"),
       "x.json: /transport/mark: expected a whole number from 1 to 4294967295, found 1.5"},
      {with(R"("internal":{"host":[]})"), "x.json: /internal/host: expected true or false, found an array"},
      {with(R"("refusal":"ignore")"), "x.json: /refusal: expected \"reject\" or \"drop\", found \"ignore\""},
      {with(R"("dns":{"tunnel_resolvers":"9.9.9.9"})"),
       "x.json: /dns/tunnel_resolvers: expected an array, found \"9.9.9.9\""},
      {with(R"("dns":{"tunnel_resolvers":["9.9.9.9","dns.quad9.net"]})"),
       "x.json: /dns/tunnel_resolvers/1: expected an IPv4 or IPv6 address, found \"dns.quad9.net\""},
      {with(R"("dns":{"tunnel_resolvers":["0.0.0.0"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "an unspecified address, found \"0.0.0.0\""},
      {with(R"("dns":{"tunnel_resolvers":["127.0.0.53"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "a loopback address, found \"127.0.0.53\""},
      {with(R"("dns":{"tunnel_resolvers":["169.254.1.1"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "a link-local address, found \"169.254.1.1\""},
      {with(R"("dns":{"tunnel_resolvers":["224.0.0.251"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "a multicast address, found \"224.0.0.251\""},
      {with(R"("dns":{"tunnel_resolvers":["255.255.255.255"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "a reserved or broadcast address, found \"255.255.255.255\""},
      {with(R"("dns":{"tunnel_resolvers":["::"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "an unspecified address, found \"::\""},
      {with(R"("dns":{"tunnel_resolvers":["::1"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "a loopback address, found \"::1\""},
      {with(R"("dns":{"tunnel_resolvers":["fe80::1"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "a link-local address, found \"fe80::1\""},
      {with(R"("dns":{"tunnel_resolvers":["ff02::fb"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "a multicast address, found \"ff02::fb\""},
      {with(R"("dns":{"tunnel_resolvers":["::ffff:127.0.0.1"]})"),
       "x.json: /dns/tunnel_resolvers/0: " + resolver + "an IPv4 address written as IPv6, found \"::ffff:127.0.0.1\""},
      {with(R"("dns":{"tunnel_resolvers":["9.9.9.9"],"any_tunnel_resolver":true})"),
       "x.json: /dns/any_tunnel_resolver: true contradicts \"tunnel_resolvers\": name the resolvers or allow any, not "
       "both"},
  }));
  const auto policy = codec::parse_policy(row.text, "x.json");
  INFO(row.text.substr(0, 200));
  REQUIRE_FALSE(policy);
  CHECK(policy.error().message() == row.message);
}

TEST_CASE("policy: those that are shipped") {
  Policy laptop = accepted(read_policy_file("laptop.json"));
  CHECK_FALSE(laptop.description.empty());
  laptop.description.clear();
  Policy expected;
  expected.name = "laptop";
  expected.dhcp = true;
  expected.neighbour_discovery = true;
  expected.server_names = true;
  expected.host_to_internal = true;
  expected.internal_to_tunnel = true;
  expected.refusal = Refusal::reject;
  CHECK(laptop == expected);

  Policy strict = accepted(read_policy_file("strict.json"));
  CHECK_FALSE(strict.description.empty());
  strict.description.clear();
  expected = Policy{};
  expected.name = "strict";
  expected.neighbour_discovery = true;
  expected.refusal = Refusal::reject;
  CHECK(strict == expected);
}

TEST_CASE("policy: the shipped policies with a local network and with a router") {
  auto laptop = accepted(read_policy_file("laptop.json"));
  auto lan = accepted(read_policy_file("laptop-lan.json"));
  CHECK(lan.lan == std::vector<model::LanAccess>{{{"*"}, {prefix("192.168.0.0/16"), prefix("fe80::/10")}}});
  lan.lan.clear();
  lan.name = laptop.name;
  lan.description = laptop.description;
  CHECK(lan == laptop);

  auto router = accepted(read_policy_file("router.json"));
  CHECK(router.router == model::Router{{"br-lan", "lan*"}, true, true, true});
  CHECK(accepted(codec::render_policy(router)) == router);  // `policy show` prints a template
  router.router = {};
  router.name = laptop.name;
  router.description = laptop.description;
  CHECK(router == laptop);
}

TEST_CASE("policy: what it names besides the tunnel, and back") {
  Policy expected;
  expected.name = "x";
  expected.lan = {{{"wl*"}, {prefix("192.168.43.0/24"), prefix("fd00:43::/48")}},
                  {{"eth0", "eth1"}, {prefix("198.51.100.0/24")}}};
  expected.inbound = {{{"eth0"}, model::Protocol::tcp, model::Port{22}, {prefix("0.0.0.0/0"), prefix("::/0")}},
                      {{"*"}, model::Protocol::udp, model::Port{53}, {prefix("10.0.0.0/8")}}};
  expected.endpoints = {{*model::parse_ip_address("192.0.2.9"), model::Port{443}, model::Protocol::tcp},
                        {*model::parse_ip_address("2001:db8::9"), model::Port{51820}, model::Protocol::udp}};
  expected.router = {{"br-lan"}, false, false, true};
  expected.trusted_interfaces = {"wg0", "virbr1"};
  expected.waives = {model::Guarantee::fail_closed, model::Guarantee::one_tunnel, model::Guarantee::dns,
                     model::Guarantee::inbound};
  const auto text = R"({"version":1,"name":"x",
    "lan":[{"links":["wl*"],"prefixes":["192.168.43.0/24","fd00:43::/48"]},
           {"links":["eth0","eth1"],"prefixes":["198.51.100.0/24"]}],
    "inbound":[{"links":["eth0"],"protocol":"tcp","port":22,"from":["0.0.0.0/0","::/0"]},
               {"links":["*"],"protocol":"udp","port":53,"from":["10.0.0.0/8"]}],
    "endpoints":["192.0.2.9:443/tcp","[2001:db8::9]:51820/udp"],
    "router":{"lan":["br-lan"],"services":["dns"]},
    "trusted_interfaces":["wg0","virbr1"],
    "waives":["G11","G7","G6","G1"]})";
  CHECK(accepted(text) == expected);
  CHECK(accepted(codec::render_policy(expected)) == expected);
}

TEST_CASE("policy: allowances that are refused, and their words") {
  struct Row {
    std::string text;
    std::string message;
  };
  const std::string links = "expected the name of a link, or its beginning with a final '*', found ";
  const std::string prefix_words = "expected a prefix as 192.168.1.0/24, with no bits set behind its length, found ";
  const std::string width = "expected a prefix of at least 7 bits that is on a link, found ";
  const std::string server =
      "expected address, port and protocol as 192.0.2.9:443/tcp or [2001:db8::9]:443/tcp, found ";
  const std::string computer = "expected the address of one other computer, found ";
  const auto row = GENERATE_COPY(values<Row>({
      {R"("lan":{})", "/lan: expected an array, found an object"},
      {R"("lan":[{}])", "/lan/0/links: expected names of links, found nothing"},
      {R"("lan":[{"links":["wlo1"]}])", "/lan/0/prefixes: expected prefixes, found nothing"},
      {R"("lan":[{"links":[],"prefixes":["10.0.0.0/8"]}])", "/lan/0/links: expected at least one link, found an array"},
      {R"("lan":[{"links":["a*b"],"prefixes":["10.0.0.0/8"]}])", "/lan/0/links/0: " + links + "\"a*b\""},
      {R"("lan":[{"links":[""],"prefixes":["10.0.0.0/8"]}])", "/lan/0/links/0: " + links + "\"\""},
      {R"("lan":[{"links":["e","e"],"prefixes":["10.0.0.0/8"]}])", "/lan/0/links/1: this link stands here twice"},
      {R"("lan":[{"links":["*"],"prefixes":[]}])", "/lan/0/prefixes: expected at least one prefix, found an array"},
      {R"("lan":[{"links":["*"],"prefixes":["192.168.1.1/24"]}])",
       "/lan/0/prefixes/0: " + prefix_words + "\"192.168.1.1/24\""},
      {R"("lan":[{"links":["*"],"prefixes":["0.0.0.0/0"]}],"waives":["G1"])",
       "/lan/0/prefixes/0: " + width + "\"0.0.0.0/0\""},
      {R"("lan":[{"links":["*"],"prefixes":["127.0.0.0/8"]}],"waives":["G1"])",
       "/lan/0/prefixes/0: " + width + "\"127.0.0.0/8\""},
      {R"("lan":[{"links":["*"],"prefixes":["10.0.0.0/8","10.1.0.0/16"]}])",
       "/lan/0/prefixes/1: overlaps 10.0.0.0/8, which stands here already"},
      {R"("lan":[{"links":["*"],"prefixes":["10.0.0.0/8","198.51.100.0/24"]}])",
       "/lan/0/prefixes/1: this gives up G1: 198.51.100.0/24 is a public prefix: a network that claims it receives "
       "what "
       "is sent there in the clear; if it is meant, \"waives\" must name \"G1\""},
      {R"("lan":[{"links":["*"],"prefixes":["10.0.0.0/7"]}])",
       "/lan/0/prefixes/0: this gives up G1: 10.0.0.0/7 is a public prefix: a network that claims it receives what is "
       "sent there in the clear; if it is meant, \"waives\" must name \"G1\""},
      {R"("inbound":[{"links":["e"],"protocol":"sctp","port":22,"from":["10.0.0.0/8"]}])",
       "/inbound/0/protocol: expected \"udp\" or \"tcp\", found \"sctp\""},
      {R"("inbound":[{"links":["e"],"protocol":"tcp","port":0,"from":["10.0.0.0/8"]}])",
       "/inbound/0/port: expected a whole number from 1 to 65535, found 0"},
      {R"("inbound":[{"links":["e"],"protocol":"tcp","port":22}])",
       "/inbound/0/from: expected prefixes, found nothing"},
      {R"("inbound":[{"links":["e"],"protocol":"tcp","port":22,"from":["0.0.0.0/0"]}])",
       "/inbound/0/from/0: this gives up G11: 0.0.0.0/0, a public prefix, reaches port 22/tcp of this host outside the "
       "tunnel; if it is meant, \"waives\" must name \"G11\""},
      {R"("inbound":[{"links":["e"],"protocol":"udp","port":5353,"from":["10.0.0.0/8"]}])",
       "/inbound/0/port: this gives up G7: answers of a name service (port 5353) leave a link; if it is meant, "
       "\"waives\" must name \"G7\""},
      {R"("endpoints":["192.0.2.9:443"])", "/endpoints/0: " + server + "\"192.0.2.9:443\""},
      {R"("endpoints":["vpn.example.org:443/tcp"])", "/endpoints/0: " + server + "\"vpn.example.org:443/tcp\""},
      {R"("endpoints":["224.0.0.1:443/udp"])", "/endpoints/0: " + computer + "\"224.0.0.1:443/udp\""},
      {R"("endpoints":["192.0.2.9:1/udp","192.0.2.9:1/udp"])", "/endpoints/1: this server stands here twice"},
      {R"("endpoints":["192.0.2.9:53/udp"])",
       "/endpoints/0: this gives up G7: questions for names leave a link to 192.0.2.9:53/udp; if it is meant, "
       "\"waives\" must name \"G7\""},
      {R"("router":{})", "/router/lan: expected names of links, found nothing"},
      {R"("router":{"lan":["*"]})", "/router/lan: \"*\" names every link, also the one to the VPN server"},
      {R"("router":{"lan":["l"],"services":["ssh"]})",
       "/router/services/0: expected \"dhcp\" or \"dns\", found \"ssh\""},
      {R"("router":{"lan":["l"],"services":["dns","dns"]})", "/router/services/1: this service stands here twice"},
      {R"("trusted_interfaces":["wg*"])",
       "/trusted_interfaces/0: expected the whole name of an interface, found \"wg*\""},
      {R"("trusted_interfaces":["wg0"])",
       "/trusted_interfaces/0: this gives up G6: everything may use the interface wg0, which is known by its name "
       "alone; if it is meant, \"waives\" must name \"G6\""},
      {R"("router":{"lan":["l*"]},"trusted_interfaces":["l1"],"waives":["G6"])",
       "/trusted_interfaces/0: this interface is one of /router/lan, which is not trusted"},
      {R"("dns":{"any_tunnel_resolver":true})",
       "/dns/any_tunnel_resolver: this gives up G7: programs may ask any resolver in the tunnel; if it is meant, "
       "\"waives\" must name \"G7\""},
      {R"("waives":["G7"])", "/waives/0: nothing in this policy breaks G7: a waiver must be needed"},
      {R"("lan":[{"links":["*"],"prefixes":["10.0.0.0/8"]}],"waives":["G1"])",
       "/waives/0: nothing in this policy breaks G1: a waiver must be needed"},
      {R"("waives":["G5"])", "/waives/0: expected \"G1\" or \"G6\" or \"G7\" or \"G11\", found \"G5\""},
      {R"("trusted_interfaces":["wg0"],"waives":["G6","G6"])", "/waives/1: this guarantee stands here twice"},
  }));
  const auto policy = codec::parse_policy(R"({"version":1,"name":"x",)" + row.text + "}", "x.json");
  INFO(row.text);
  REQUIRE_FALSE(policy);
  CHECK(policy.error().message() == "x.json: " + row.message);
}

TEST_CASE("policy: every shipped file has the name of its policy") {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator{std::string{PROJECT_ROOT} + "/policies"}) {
    const auto name = entry.path().filename().string();
    if (name.find(".schema.") == std::string::npos) {
      INFO(name);
      CHECK(accepted(read_policy_file(name)).name + ".json" == name);
      ++count;
    }
  }
  CHECK(count >= 2);
}
