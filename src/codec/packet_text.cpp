#include "killswitch/codec/packet_text.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/names.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <charconv>

namespace killswitch::codec {
namespace {

using namespace model;

constexpr std::uint8_t protocol_icmp = 1;
constexpr std::uint8_t protocol_icmpv6 = 58;
constexpr std::uint32_t ether_type_arp = 0x0806;
constexpr std::uint32_t ether_type_ipv4 = 0x0800;
constexpr std::uint32_t ether_type_ipv6 = 0x86dd;
constexpr std::uint32_t smallest_ether_type = 0x0600;  // below stands a length (IEEE 802.3)
constexpr std::uint32_t nobody = 65534;
constexpr std::uint16_t any_source_port = 40000;
constexpr std::uint16_t fragment_offset = 1480;  // the second piece of a full frame

struct Word {
  std::string_view text;
  std::size_t column{1};  ///< counted from 1
};

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::optional<std::uint32_t> number_in(std::string_view text, std::uint32_t maximum) {
  if (!text.starts_with("0x")) {
    return parse_number(text, maximum);
  }
  std::uint32_t number = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + 2, end, number, 16);
  return error == std::errc{} && stop == end && number <= maximum ? std::optional{number} : std::nullopt;
}

class Parser {
public:
  explicit Parser(std::string_view text) : text_{text} {}
  Result<PacketText> parse();

private:
  Word peek() const;
  Word take();
  bool take_if(std::string_view word);
  static Failure expected(std::string_view what, const Word& found);

  Result<std::uint32_t> number(std::string_view what, std::uint32_t maximum);
  Outcome protocol();
  Outcome icmp(std::uint8_t number);
  Outcome addresses();
  Outcome endpoint(IpAddress& address, std::optional<Port>& port);
  Outcome way();
  Outcome interface(std::string& name);
  Outcome options();
  Outcome option(const Word& word);

  bool has_ports() const {
    const auto number = asked_.packet.protocol;
    return number == 6 || number == 17 || number == 132;
  }

  std::string_view text_;
  std::size_t at_{0};
  PacketText asked_;
  bool has_addresses_{false};
};

Word Parser::peek() const {
  std::size_t first = at_;
  while (first < text_.size() && is_space(text_[first])) {
    ++first;
  }
  std::size_t end = first;
  while (end < text_.size() && !is_space(text_[end])) {
    ++end;
  }
  return {text_.substr(first, end - first), first + 1};
}

Word Parser::take() {
  const Word word = peek();
  at_ = word.column - 1 + word.text.size();
  return word;
}

bool Parser::take_if(std::string_view word) {
  if (peek().text != word) {
    return false;
  }
  take();
  return true;
}

Failure Parser::expected(std::string_view what, const Word& found) {
  const auto seen = found.text.empty() ? std::string{"the end"} : fmt::format("'{}'", printable(found.text, 60));
  return fail(fmt::format("column {}: expected {}, found {}", found.column, what, seen));
}

Result<std::uint32_t> Parser::number(std::string_view what, std::uint32_t maximum) {
  const Word word = take();
  const auto value = number_in(word.text, maximum);
  if (!value) {
    return expected(fmt::format("{} (0 to {})", what, maximum), word);
  }
  return *value;
}

Outcome Parser::icmp(std::uint8_t number_of_protocol) {
  asked_.packet.protocol = number_of_protocol;
  asked_.packet.icmp_type = number_of_protocol == protocol_icmp ? std::uint8_t{8} : std::uint8_t{128};  // echo request
  if (!take_if("type")) {
    return done();
  }
  const auto type = number("an ICMP type", 255);
  if (!type) {
    return fail(type.error());
  }
  asked_.packet.icmp_type = static_cast<std::uint8_t>(*type);
  return done();
}

Outcome Parser::protocol() {
  constexpr std::string_view what =
      "a protocol (udp, tcp, sctp, icmp, icmpv6, arp, ethertype 0xNNNN or a number up to 255)";
  const Word word = take();
  if (word.text == "icmp" || word.text == "icmpv6") {
    return icmp(word.text == "icmp" ? protocol_icmp : protocol_icmpv6);
  }
  if (word.text == "arp") {
    asked_.packet.ether_type = ether_type_arp;
    return done();
  }
  if (word.text == "ethertype") {
    const Word type = take();
    const auto value = number_in(type.text, 0xffff);
    if (!value || *value < smallest_ether_type || *value == ether_type_ipv4 || *value == ether_type_ipv6) {
      return expected("an EtherType that is not IP (0x0600 to 0xffff, but neither 0x0800 nor 0x86dd)", type);
    }
    asked_.packet.ether_type = *value;
    return done();
  }
  const auto named = word.text == "udp"    ? std::optional{17U}
                     : word.text == "tcp"  ? std::optional{6U}
                     : word.text == "sctp" ? std::optional{132U}
                                           : number_in(word.text, 255);
  if (!named) {
    return expected(what, word);
  }
  asked_.packet.protocol = static_cast<std::uint8_t>(*named);
  return done();
}

Outcome Parser::endpoint(IpAddress& address, std::optional<Port>& port) {
  const Word word = take();
  std::string_view host = word.text;
  std::optional<std::size_t> colon;  // before the port
  const bool bracketed = host.starts_with('[');
  if (bracketed) {
    const auto close = host.find(']');
    if (close == std::string_view::npos || (close + 1 < host.size() && host[close + 1] != ':')) {
      return expected("an IPv6 address as [ADDRESS] or [ADDRESS]:PORT", word);
    }
    colon = close + 1 < host.size() ? std::optional{close + 1} : std::nullopt;
    host = host.substr(1, close - 1);
  } else if (std::count(host.begin(), host.end(), ':') == 1) {
    colon = host.find(':');
    host = host.substr(0, *colon);
  }
  const auto parsed = parse_ip_address(host);
  if (!parsed || (bracketed && parsed->family == Family::ipv4)) {
    return expected("a numeric IPv4 or IPv6 address", word);
  }
  address = *parsed;
  if (!colon) {
    return done();
  }
  const Word number{word.text.substr(*colon + 1), word.column + *colon + 1};
  if (!has_ports()) {
    return expected("no port: only udp, tcp and sctp have ports", number);
  }
  const auto value = parse_port(number.text);
  if (!value) {
    return expected("a port (1 to 65535)", number);
  }
  port = *value;
  return done();
}

Outcome Parser::addresses() {
  Packet& packet = asked_.packet;
  if (packet.ether_type != 0) {
    return done();
  }
  has_addresses_ = peek().text != "->";
  if (has_addresses_) {
    if (auto source = endpoint(packet.source, packet.source_port); !source) {
      return source;
    }
  }
  if (const Word arrow = take(); arrow.text != "->") {
    return expected("'->' and the destination", arrow);
  }
  const Word destination = peek();
  if (auto parsed = endpoint(packet.destination, packet.destination_port); !parsed) {
    return parsed;
  }
  if (!has_addresses_) {
    packet.source.family = packet.destination.family;
  }
  if (packet.source.family != packet.destination.family) {
    return expected("an address of the same family as the source", destination);
  }
  const bool ipv4 = packet.destination.family == Family::ipv4;
  if (packet.icmp_type && ipv4 != (packet.protocol == protocol_icmp)) {
    return expected(ipv4 ? "an IPv6 address, as icmpv6 has it" : "an IPv4 address, as icmp has it", destination);
  }
  if (packet.destination_port && !packet.source_port) {
    packet.source_port = Port{any_source_port};
  }
  return done();
}

Outcome Parser::interface(std::string& name) {
  const Word word = take();
  if (!is_interface_name(word.text)) {
    return expected("the name of an interface", word);
  }
  name = word.text;
  return done();
}

Outcome Parser::way() {
  const Word word = take();
  if (word.text == "out") {
    asked_.packet.uid = nobody;
    return interface(asked_.out);
  }
  const bool frame = asked_.packet.ether_type != 0;
  if (frame || (word.text != "in" && word.text != "forward")) {
    return expected(frame ? "'out IFACE'" : "'out IFACE', 'in IFACE' or 'forward IFACE IFACE'", word);
  }
  asked_.direction = word.text == "in" ? Direction::in : Direction::forward;
  if (auto named = interface(asked_.in); !named || asked_.direction == Direction::in) {
    return named;
  }
  return interface(asked_.out);
}

Outcome Parser::option(const Word& word) {
  Packet& packet = asked_.packet;
  if (word.text == "fragment") {
    packet.fragment_offset = fragment_offset;
    return done();
  }
  if (word.text == "mark") {
    const auto mark = number("a mark", UINT32_MAX);
    packet.mark = mark ? *mark : 0;
    return mark ? done() : Outcome{fail(mark.error())};
  }
  if (word.text == "socket-mark" && asked_.direction == Direction::in) {
    const auto mark = number("a mark", UINT32_MAX);
    packet.socket_mark = mark ? *mark : 0;
    return mark ? done() : Outcome{fail(mark.error())};
  }
  if (word.text == "ttl" || word.text == "hoplimit") {
    const auto limit = number("a hop limit", 255);
    packet.hop_limit = limit ? static_cast<std::uint8_t>(*limit) : packet.hop_limit;
    return limit ? done() : Outcome{fail(limit.error())};
  }
  const bool from_here = asked_.direction == Direction::out;
  if (word.text == "packet-socket" && from_here) {
    asked_.packet_socket = true;
    return done();
  }
  if (word.text == "uid" && from_here) {
    const Word user = take();
    const auto uid = number_in(user.text, UINT32_MAX);
    if (!uid && (user.text.empty() || user.text.size() > 32 || printable(user.text) != user.text)) {
      return expected("a user's number or name", user);
    }
    packet.uid = uid.value_or(nobody);
    asked_.user = uid ? "" : std::string{user.text};
    return done();
  }
  return expected(from_here ? "mark, uid, ttl, hoplimit, fragment, packet-socket or the end"
                            : "mark, socket-mark (in), ttl, hoplimit, fragment or the end",
                  word);
}

Outcome Parser::options() {
  while (!peek().text.empty()) {
    if (auto parsed = option(take()); !parsed) {
      return parsed;
    }
  }
  return done();
}

Result<PacketText> Parser::parse() {
  for (auto part : {&Parser::protocol, &Parser::addresses, &Parser::way, &Parser::options}) {
    if (auto parsed = (this->*part)(); !parsed) {
      return fail(parsed.error());
    }
  }
  return asked_;
}

}  // namespace

Result<PacketText> parse_packet_text(std::string_view text) {
  return Parser{text}.parse();
}

}  // namespace killswitch::codec
