// The pinhole for the VPN server's own name: on a link, from any program, a DNS question for exactly this name may
// pass, and its answer come in. What else could be told by a question (other labels, more sections, another type) is
// compared byte by byte; what is left free is the identification, the ports and the case of the letters.
//
// Offsets count from the UDP header: 8 bytes of it (length at 4), then the DNS header (RFC 1035, section 4.1.1):
// identification at 8, flags at 10, the four counts from 12; the question at 20.
#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/model/server_name.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <set>

namespace killswitch::decide {

using namespace model;

namespace {

constexpr std::uint16_t dns_port = 53;
constexpr std::uint16_t length_at = 4;
constexpr std::uint16_t flags_at = 10;
constexpr std::uint16_t question_count_at = 12;
constexpr std::uint16_t record_counts_at = 14;  // answers, authorities, additional records
constexpr std::uint16_t name_at = 20;
constexpr std::uint16_t type_and_class = 4;
constexpr std::size_t widest_comparison = 16;  // of one cmp expression in the kernel

constexpr std::array<std::uint8_t, 2> address_types{1, 28};  // A, AAAA

Match bytes_are(std::uint16_t offset, Bytes value) {
  Match match;
  match.operands = {transport_bytes(offset, static_cast<std::uint16_t>(value.size()))};
  match.value = std::move(value);
  return match;
}

Match masked_bytes_are(std::uint16_t offset, Bytes mask, Bytes value) {
  Match match = bytes_are(offset, std::move(value));
  match.mask = std::move(mask);
  return match;
}

Bytes operator+(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// The question's name is this one, whatever the case of its letters.
Matches named(const Bytes& wire) {
  const Bytes mask = caseless_mask(wire);
  Matches matches;
  for (std::size_t at = 0; at < wire.size(); at += widest_comparison) {
    const auto end = std::min(at + widest_comparison, wire.size());
    const auto part = [at, end](const Bytes& all) {
      return Bytes{all.begin() + static_cast<std::ptrdiff_t>(at), all.begin() + static_cast<std::ptrdiff_t>(end)};
    };
    Bytes value = part(wire);
    Bytes which = part(mask);
    for (std::size_t i = 0; i < value.size(); ++i) {
      value[i] = static_cast<std::uint8_t>(value[i] & which[i]);
    }
    const auto offset = static_cast<std::uint16_t>(name_at + at);
    const bool all_count = std::all_of(which.begin(), which.end(), [](std::uint8_t bits) { return bits == 0xff; });
    matches.push_back(all_count ? bytes_are(offset, std::move(value))
                                : masked_bytes_are(offset, std::move(which), std::move(value)));
  }
  return matches;
}

/// Flags with the bits of QR and the operation code as wanted, and one question.
Matches headed(std::uint8_t bits, std::uint8_t value) {
  return {masked_bytes_are(flags_at, {bits, 0}, {value, 0}), bytes_are(question_count_at, {0, 1})};
}

constexpr std::uint8_t response = 0x80;
constexpr std::uint8_t response_and_operation = 0xf8;

std::string question_chain(std::size_t name_bytes) {
  return fmt::format("question_{}", name_bytes);
}

/// Behind a name of so many bytes: type A or AAAA of the internet, then nothing, or the one pseudo-record of EDNS
/// (RFC 6891): empty, or with the client's cookie of 8 bytes (RFC 7873). The length of the packet says which.
Rules question_tail(std::size_t name_bytes) {
  constexpr std::uint16_t udp_and_dns_header = 20;
  constexpr std::uint16_t record = 11;
  constexpr std::uint16_t cookie = 12;
  constexpr std::uint16_t record_data_at = 9;
  const auto behind_name = static_cast<std::uint16_t>(name_at + name_bytes);
  const auto bare = static_cast<std::uint16_t>(udp_and_dns_header + name_bytes + type_and_class);
  const auto length_is = [](unsigned length) {
    return bytes_are(length_at, {static_cast<std::uint8_t>(length >> 8U), static_cast<std::uint8_t>(length & 0xffU)});
  };
  const Bytes record_begins{0, 0, 41};  // the root's name, type OPT
  const auto data_at = static_cast<std::uint16_t>(behind_name + type_and_class + record_data_at);
  Rules rules;
  for (const auto type : address_types) {
    const Bytes asked{0, type, 0, 1};
    rules.push_back(
        rule({length_is(bare), bytes_are(record_counts_at, {0, 0, 0, 0, 0, 0}), bytes_are(behind_name, asked)},
             accept(), "G7: question for the VPN server's own name"));
    rules.push_back(rule({length_is(bare + record), bytes_are(record_counts_at, {0, 0, 0, 0, 0, 1}),
                          bytes_are(behind_name, asked + record_begins), bytes_are(data_at, {0, 0})},
                         accept(), "G7: question for the VPN server's own name, EDNS"));
    rules.push_back(rule({length_is(bare + record + cookie), bytes_are(record_counts_at, {0, 0, 0, 0, 0, 1}),
                          bytes_are(behind_name, asked + record_begins), bytes_are(data_at, {0, 12, 0, 10, 0, 8})},
                         accept(), "G7: question for the VPN server's own name, EDNS with a cookie"));
  }
  for (auto& one : rules) {
    one.log = {server_names_group, question_prefix, 0};
  }
  return rules;
}

std::vector<Bytes> wire_names(const Context& context) {
  std::vector<Bytes> names;
  for (const auto& name : names_in_question(context.world)) {
    names.push_back(wire_name(name));
  }
  return names;
}

Verdict jump_to(std::string chain) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::jump;
  verdict.chain = std::move(chain);
  return verdict;
}

}  // namespace

Rules server_names_out(const Context& context, Layer layer) {
  if (names_in_question(context.world).empty()) {
    return {};
  }
  constexpr std::uint32_t ether_type_ipv4 = 0x0800;
  constexpr std::uint32_t ether_type_ipv6 = 0x86dd;
  const auto family4 = layer == Layer::packets ? ipv4() : equal(Field::ether_type, ether_type_ipv4);
  const auto family6 = layer == Layer::packets ? ipv6() : equal(Field::ether_type, ether_type_ipv6);
  const Matches to_port = {l4proto(ip_protocol::udp), dport(dns_port)};
  const char* comment = "G7: is it a question for the VPN server's own name?";
  return {rule(both({family4, not_in_set({field(Field::ip_daddr)}, "tunnel_names4")}, to_port), jump_to("server_names"),
               comment),
          rule(both({family6, not_in_set({field(Field::ip6_daddr)}, "tunnel_names6")}, to_port),
               jump_to("server_names"), comment)};
}

/// The resolvers of a tunnel that is gone, while programs still ask them: they are behind it, and nobody on a link is
/// to learn who they are.
std::vector<IpAddress> resolvers_behind_tunnel(const World& world) {
  auto resolvers = tunnel_resolvers(world);
  if (world.dns.setup) {
    resolvers.insert(resolvers.end(), world.dns.setup->servers.begin(), world.dns.setup->servers.end());
  }
  std::sort(resolvers.begin(), resolvers.end());
  resolvers.erase(std::unique(resolvers.begin(), resolvers.end()), resolvers.end());
  return resolvers;
}

Rules server_names_in(const Context& context) {
  Rules rules;
  for (const auto& wire : wire_names(context)) {
    auto one = rule(both(both({l4proto(ip_protocol::udp), sport(dns_port)}, headed(response, response)), named(wire)),
                    accept(), "G11: answer to the question for the VPN server's own name");
    one.log = {server_names_group, answer_prefix, 0};
    rules.push_back(std::move(one));
  }
  return rules;
}

std::vector<Chain> server_name_chains(const Context& context, Layer layer) {
  const auto names = wire_names(context);
  if (names.empty()) {
    return {};
  }
  Rules rules;
  std::set<std::size_t> lengths;
  for (const auto& wire : names) {
    rules.push_back(rule(both(headed(response_and_operation, 0), named(wire)), go_to(question_chain(wire.size())),
                         "G7: the name is the VPN server's"));
    lengths.insert(wire.size());
  }
  std::vector<Chain> chains;
  for (const auto length : lengths) {
    auto tail = question_tail(length);
    if (layer == Layer::frames) {
      for (auto& one : tail) {
        one.log = {};  // told at the hooks of IP packets already
      }
    }
    chains.push_back(chain(question_chain(length), std::move(tail)));
  }
  chains.push_back(chain("server_names", std::move(rules)));
  return chains;
}

}  // namespace killswitch::decide
