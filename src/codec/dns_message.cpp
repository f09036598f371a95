#include "killswitch/codec/dns_message.hpp"

#include <arpa/nameser.h>
#include <algorithm>
#include <array>

namespace killswitch::codec {
namespace {

using model::Family;
using model::IpAddress;
using Bytes = std::span<const std::uint8_t>;

constexpr std::uint8_t udp = 17;
constexpr std::size_t udp_header = 8;
constexpr std::size_t most_records = 64;

std::uint16_t number16(Bytes bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
  return text;
}

/// Fills in the addresses; IPv6 extension headers are nothing that a resolver sends.
std::optional<Bytes> behind_ip(Bytes packet, DnsPacket& out) {
  if (packet.empty()) {
    return std::nullopt;
  }
  if (packet[0] >> 4U == 4) {
    const std::size_t header = (packet[0] & 0x0fU) * std::size_t{4};
    const bool fragment = packet.size() >= 8 && (number16(packet, 6) & 0x3fffU) != 0;
    if (header < 20 || packet.size() < header || packet[9] != udp || fragment) {
      return std::nullopt;
    }
    out.source = model::make_ip_address(Family::ipv4, packet.subspan(12, 4));
    out.destination = model::make_ip_address(Family::ipv4, packet.subspan(16, 4));
    return packet.subspan(header);
  }
  constexpr std::size_t header = 40;
  if (packet[0] >> 4U != 6 || packet.size() < header || packet[6] != udp) {
    return std::nullopt;
  }
  out.source = model::make_ip_address(Family::ipv6, packet.subspan(8, 16));
  out.destination = model::make_ip_address(Family::ipv6, packet.subspan(24, 16));
  return packet.subspan(header);
}

/// Addresses that a server on the internet, or in a company's network, can have.
bool is_plausible(const IpAddress& address) {
  const auto& b = address.bytes;
  if (address.family == Family::ipv4) {
    return b[0] != 0 && b[0] != 127 && b[0] < 224 && !is_link_local(address);
  }
  const bool low = std::all_of(b.begin(), b.begin() + 8, [](std::uint8_t byte) { return byte == 0; });
  return !low && b[0] != 0xff && !is_link_local(address);
}

struct Collector {
  DnsPacket& out;
  std::string owner;  ///< the name, or the alias that was followed last
  bool first{true};

  void take_lifetime(std::uint32_t ttl) {
    const std::chrono::seconds life{ttl & 0x7fffffffU};
    out.lifetime = first ? life : std::min(out.lifetime, life);
    first = false;
  }

  void take(ns_msg& message, const ns_rr& record) {
    const Bytes data{ns_rr_rdata(record), static_cast<std::size_t>(ns_rr_rdlen(record))};
    if (ns_rr_class(record) != ns_c_in || lower(ns_rr_name(record)) != owner) {
      return;
    }
    if (ns_rr_type(record) == ns_t_cname) {
      std::array<char, NS_MAXDNAME> target{};
      if (ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), data.data(), target.data(), target.size()) >
          0) {
        owner = lower(target.data());
        take_lifetime(ns_rr_ttl(record));
      }
      return;
    }
    const bool v4 = ns_rr_type(record) == ns_t_a && data.size() == 4;
    const bool v6 = ns_rr_type(record) == ns_t_aaaa && data.size() == 16;
    if (!v4 && !v6) {
      return;
    }
    const auto address = model::make_ip_address(v4 ? Family::ipv4 : Family::ipv6, data);
    if (is_plausible(address)) {
      out.addresses.push_back(address);
      take_lifetime(ns_rr_ttl(record));
    }
  }
};

}  // namespace

std::optional<DnsPacket> parse_dns_packet(Bytes packet) {
  DnsPacket out;
  const auto datagram = behind_ip(packet, out);
  if (!datagram || datagram->size() < udp_header) {
    return std::nullopt;
  }
  const std::size_t length = number16(*datagram, 4);
  if (length < udp_header || length > datagram->size()) {
    return std::nullopt;
  }
  out.source_port = model::Port{number16(*datagram, 0)};
  out.destination_port = model::Port{number16(*datagram, 2)};
  const Bytes content = datagram->subspan(udp_header, length - udp_header);
  ns_msg message{};
  ns_rr record{};
  if (ns_initparse(content.data(), static_cast<int>(content.size()), &message) != 0 ||
      ns_msg_count(message, ns_s_qd) != 1 || ns_parserr(&message, ns_s_qd, 0, &record) != 0) {
    return std::nullopt;
  }
  out.identification = ns_msg_id(message);
  out.response = ns_msg_getflag(message, ns_f_qr) != 0;
  out.name = lower(ns_rr_name(record));
  out.type = record.type;
  if (!out.response || ns_msg_getflag(message, ns_f_rcode) != ns_r_noerror) {
    return out;
  }
  Collector collector{out, out.name};
  const std::size_t records = std::min<std::size_t>(ns_msg_count(message, ns_s_an), most_records);
  for (std::size_t i = 0; i < records; ++i) {
    if (ns_parserr(&message, ns_s_an, static_cast<int>(i), &record) != 0) {
      break;
    }
    collector.take(message, record);
  }
  return out;
}

bool answers(const DnsPacket& answer, const DnsPacket& question) {
  return answer.response && !question.response && answer.source == question.destination &&
         answer.destination == question.source && answer.source_port == question.destination_port &&
         answer.destination_port == question.source_port && answer.identification == question.identification &&
         answer.name == question.name && answer.type == question.type;
}

}  // namespace killswitch::codec
