// DNS messages (RFC 1035) as far as the kill switch looks into them: which name was asked for, which addresses came.
//
// The C library's own parser (ns_initparse and its kin in <arpa/nameser.h>) reads them. Anybody on the link can send an
// answer, so nothing is believed but what its form allows.
#pragma once

#include "killswitch/model/address.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace killswitch::codec {

/// A UDP packet with a DNS message in it, and what tells that an answer belongs to a question.
struct DnsPacket {
  model::IpAddress source;
  model::IpAddress destination;
  model::Port source_port;
  model::Port destination_port;
  std::uint16_t identification{0};
  bool response{false};
  std::string name;  ///< of the one question, in lower case
  std::uint16_t type{0};

  /// Of a response without an error: the A and AAAA records of the name, or of the alias that it stands for.
  std::vector<model::IpAddress> addresses;
  std::chrono::seconds lifetime{0};  ///< the shortest of all records that led there
};

/// @param packet from the IP header on, as nflog tells it
/// @return nothing for what is no whole UDP packet with exactly one question in it
[[nodiscard]] std::optional<DnsPacket> parse_dns_packet(std::span<const std::uint8_t> packet);

/// Whether `answer` was sent by whom `question` asked, to who asked, about the same.
[[nodiscard]] bool answers(const DnsPacket& answer, const DnsPacket& question);

}  // namespace killswitch::codec
