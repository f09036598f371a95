// Packets and frames of the leak probes, and their recognition in a capture.
#include "killswitch/codec/leak_probe.hpp"

#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Family;

constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint8_t protocol_udp = 17;
constexpr std::uint8_t hop_limit = 64;
constexpr std::uint16_t any_source_port = 40000;
constexpr std::size_t ipv4_header = 20;  // bytes, without options
constexpr std::size_t ipv6_header = 40;
constexpr std::size_t number_digits = 4;  // of a probe in its token

void put16(Bytes& bytes, std::size_t value) {
  bytes.push_back(static_cast<std::uint8_t>(value >> 8U));
  bytes.push_back(static_cast<std::uint8_t>(value));
}

void put(Bytes& bytes, std::span<const std::uint8_t> more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

void put(Bytes& bytes, std::string_view text) {
  bytes.insert(bytes.end(), text.begin(), text.end());
}

void set16(Bytes& bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8U);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}

std::uint16_t get16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

/// @source RFC 1071
std::uint16_t checksum(std::span<const std::uint8_t> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at < bytes.size(); at += 2) {
    sum += static_cast<std::uint32_t>(bytes[at] << 8U | (at + 1 < bytes.size() ? bytes[at + 1] : 0));
  }
  while (sum > 0xffffU) {
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return static_cast<std::uint16_t>(~sum);
}

/// The UDP header and payload; over IPv6 the checksum is not optional.
Bytes udp_segment(const UdpPacket& packet) {
  const std::size_t length = 8 + packet.payload.size();
  Bytes segment;
  put16(segment, any_source_port);
  put16(segment, packet.port.number);
  put16(segment, length);
  put16(segment, 0);
  put(segment, packet.payload);
  Bytes covered;  // RFC 768, RFC 8200 section 8.1; the two pseudo headers sum to the same
  put(covered, packet.source.octets());
  put(covered, packet.destination.octets());
  put16(covered, length);
  put16(covered, protocol_udp);
  put(covered, segment);
  const auto sum = checksum(covered);
  set16(segment, 6, sum == 0 ? 0xffff : sum);
  return segment;
}

std::optional<TcpFlow> flow_of(Family family, std::span<const std::uint8_t> packet, std::size_t header) {
  const std::size_t address = family == Family::ipv4 ? 16 : 24;
  const std::size_t size = family == Family::ipv4 ? 4 : 16;
  const std::size_t protocol = family == Family::ipv4 ? 9 : 6;
  if (packet.size() < header + 4 || packet[protocol] != protocol_tcp) {
    return std::nullopt;
  }
  return TcpFlow{model::make_ip_address(family, packet.subspan(address, size)), model::Port{get16(packet, header + 2)},
                 model::Port{get16(packet, header)}};
}

/// Of an unfragmented TCP packet; nothing for anything else.
std::optional<TcpFlow> tcp_flow(std::span<const std::uint8_t> packet) {
  if (packet.size() >= ipv4_header && packet[0] >> 4U == 4) {
    return flow_of(Family::ipv4, packet, (packet[0] & 0xfU) * std::size_t{4});
  }
  if (packet.size() >= ipv6_header && packet[0] >> 4U == 6) {
    return flow_of(Family::ipv6, packet, ipv6_header);
  }
  return std::nullopt;
}

}  // namespace

Bytes build_udp_packet(const UdpPacket& packet) {
  const auto segment = udp_segment(packet);
  Bytes bytes;
  if (packet.destination.family == Family::ipv6) {
    bytes = {0x60, 0, 0, 0};
    put16(bytes, segment.size());
    bytes.push_back(protocol_udp);
    bytes.push_back(hop_limit);
  } else {
    bytes = {0x45, 0};
    put16(bytes, ipv4_header + segment.size());
    bytes.insert(bytes.end(), {0, 0, 0, 0, hop_limit, protocol_udp, 0, 0});
  }
  put(bytes, packet.source.octets());
  put(bytes, packet.destination.octets());
  if (packet.destination.family == Family::ipv4) {
    set16(bytes, 10, checksum(bytes));
  }
  put(bytes, segment);
  return bytes;
}

Bytes build_echo_request(Family family, std::string_view payload) {
  Bytes bytes{static_cast<std::uint8_t>(family == Family::ipv4 ? 8 : 128), 0, 0, 0, 'k', 's', 0, 1};
  put(bytes, payload);
  if (family == Family::ipv4) {
    set16(bytes, 2, checksum(bytes));
  }
  return bytes;
}

Bytes build_dns_question(std::string_view token) {
  Bytes bytes{'k', 's', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};  // recursion desired, one question
  for (const std::string_view label : {token, std::string_view{"invalid"}}) {
    bytes.push_back(static_cast<std::uint8_t>(label.size()));
    put(bytes, label);
  }
  bytes.insert(bytes.end(), {0, 0, 1, 0, 1});  // root, A, IN
  return bytes;
}

Bytes build_frame(const MacAddress& to, const MacAddress& from, std::span<const std::uint16_t> types,
                  std::span<const std::uint8_t> payload) {
  Bytes bytes;
  put(bytes, to);
  put(bytes, from);
  for (const auto type : types) {
    put16(bytes, type);
  }
  put(bytes, payload);
  return bytes;
}

std::string repeat_token(std::string_view token, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    text += token;
  }
  text.resize(size);
  return text;
}

ProbeMatcher::ProbeMatcher(std::uint64_t secret) : prefix_{fmt::format("kstest{:016x}n", secret)} {}

std::string ProbeMatcher::token(std::size_t probe) const {
  return fmt::format("{}{:0{}}", prefix_, probe, number_digits);
}

std::optional<std::size_t> ProbeMatcher::recognise(std::span<const std::uint8_t> packet) const {
  for (auto at = packet.begin(); at != packet.end();) {
    at = std::search(at, packet.end(), prefix_.begin(), prefix_.end());
    if (packet.end() - at < static_cast<std::ptrdiff_t>(prefix_.size() + number_digits)) {
      break;
    }
    at += static_cast<std::ptrdiff_t>(prefix_.size());
    if (const auto number = parse_number(std::string{at, at + number_digits})) {
      return *number;
    }
  }
  if (const auto flow = tcp_flow(packet)) {
    if (const auto found = flows_.find(*flow); found != flows_.end()) {
      return found->second;
    }
  }
  return std::nullopt;
}

}  // namespace killswitch::codec
