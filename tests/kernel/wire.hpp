// Packets of the differential test as bytes: each carries its sequence number at its end, so that it is recognised
// wherever it comes out, also inside the ICMP error that answers it.
#pragma once

#include "killswitch/model/packet.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>

namespace killswitch::testing {

using model::Bytes;
using model::Packet;
using View = std::span<const std::uint8_t>;

inline constexpr std::array<std::uint8_t, 4> signature{0x4b, 0x69, 0x6c, 0x6c};
inline constexpr std::uint32_t tcp_tag = 0x4b000000;  // of TCP sequence numbers: what a reset brings back
inline constexpr std::uint8_t trailer_size = 8;

inline void put(Bytes& bytes, std::size_t offset, std::uint32_t number, std::size_t width) {
  const Bytes wire = model::wire_number(number, width);
  std::copy(wire.begin(), wire.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
}

inline std::uint32_t get(View bytes, std::size_t offset, std::size_t width) {
  const auto part = bytes.subspan(offset, width);
  return model::number_of({part.begin(), part.end()});
}

inline void append(Bytes& bytes, View more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

inline std::uint32_t add_words(View bytes, std::uint32_t sum) {
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8U | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
  }
  return sum;
}

inline std::uint16_t fold(std::uint32_t sum) {
  while (sum >> 16U != 0) {
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return static_cast<std::uint16_t>(~sum);
}

/// Where the checksum of a protocol stands in its header; nothing: it has none that we know.
inline std::optional<std::size_t> checksum_offset(std::uint8_t protocol) {
  switch (protocol) {
    case 1:
    case 58: return 2;
    case 6: return 16;
    case 17: return 6;
    default: return std::nullopt;
  }
}

inline void put_checksum(const Packet& packet, Bytes& transport) {
  const auto offset = checksum_offset(packet.protocol);
  if (!offset || transport.size() < *offset + 2 + trailer_size) {
    return;
  }
  put(transport, *offset, 0, 2);
  std::uint32_t sum = 0;
  if (packet.protocol != 1) {
    sum = add_words(packet.source.octets(), sum);
    sum = add_words(packet.destination.octets(), sum);
    sum += packet.protocol + static_cast<std::uint32_t>(transport.size());
  }
  put(transport, *offset, fold(add_words(transport, sum)), 2);
}

inline Bytes trailer(std::uint32_t sequence) {
  Bytes bytes{signature.begin(), signature.end()};
  append(bytes, model::wire_number(sequence, 4));
  return bytes;
}

/// Lays `packet` out with the sequence number at its end, and lets it show these bytes to the interpreter. A transport
/// given beforehand is kept in front of the number.
inline void lay_out(Packet& packet, std::uint32_t sequence) {
  if (packet.ether_type != 0) {
    packet.network.assign(28, 0);  // as long as an ARP packet
    append(packet.network, trailer(sequence));
    return;
  }
  packet.network.clear();
  const bool states_length = !packet.transport.empty();  // the sequence number then stands behind what counts
  Bytes transport = model::transport_bytes(packet);
  if (packet.protocol == 6 && transport.size() >= 20) {
    put(transport, 4, tcp_tag | sequence, 4);
    transport[13] = 0x02;  // SYN
  }
  const std::size_t size = transport.size() + trailer_size;
  transport.resize(packet.more_fragments ? (size + 7) / 8 * 8 - trailer_size : transport.size(), 0);
  append(transport, trailer(sequence));
  if (packet.protocol == 17 && !states_length && transport.size() > 8 + trailer_size - 1) {
    put(transport, 4, static_cast<std::uint32_t>(transport.size()), 2);
  }
  if (!packet.more_fragments && packet.fragment_offset == 0) {
    put_checksum(packet, transport);
  }
  Packet bare = packet;
  bare.transport.clear();
  bare.source_port.reset();
  bare.destination_port.reset();
  bare.icmp_type.reset();
  packet.network = model::network_bytes(bare);
  const std::size_t header = packet.network.size();
  append(packet.network, transport);
  if (packet.destination.family == model::Family::ipv4) {
    put(packet.network, 2, static_cast<std::uint32_t>(packet.network.size()), 2);
    put(packet.network, 4, sequence & 0xffffU, 2);
    put(packet.network, 10, fold(add_words(View{packet.network}.first(header), 0)), 2);
  } else {
    put(packet.network, 4, static_cast<std::uint32_t>(packet.network.size() - 40), 2);
  }
  packet.transport = std::move(transport);
}

/// What came out somewhere: the packet itself, or the refusal that answers it.
struct Sighting {
  enum class Kind : std::uint8_t { packet, unreachable, reset };
  Kind kind{Kind::packet};
  std::uint32_t sequence{0};
  auto operator<=>(const Sighting&) const = default;
};

inline std::optional<std::uint32_t> sequence_of(View bytes) {
  if (bytes.size() < trailer_size) {
    return std::nullopt;
  }
  const auto last = bytes.last(trailer_size);
  return std::equal(signature.begin(), signature.end(), last.begin()) ? std::optional{get(last, 4, 4)} : std::nullopt;
}

/// @param bytes from the transport header on
inline std::optional<Sighting> recognise(std::uint8_t protocol, View bytes) {
  constexpr std::uint8_t reset_flag = 0x04;
  if (protocol == 6 && bytes.size() >= 20 && (bytes[13] & reset_flag) != 0) {
    const std::uint32_t acknowledged = get(bytes, 8, 4) - 1 - std::uint32_t{trailer_size};
    return (acknowledged & 0xff000000U) == tcp_tag
               ? std::optional{Sighting{Sighting::Kind::reset, acknowledged & 0xffffffU}}
               : std::nullopt;
  }
  const auto sequence = sequence_of(bytes);
  if (!sequence) {
    return std::nullopt;
  }
  const bool prohibited4 = protocol == 1 && bytes[0] == 3 && bytes[1] == 13;
  const bool prohibited6 = protocol == 58 && bytes[0] == 1 && bytes[1] == 1;
  return Sighting{prohibited4 || prohibited6 ? Sighting::Kind::unreachable : Sighting::Kind::packet, *sequence};
}

/// @param bytes from the network header on
inline std::optional<Sighting> recognise_network(View bytes) {
  if (bytes.size() >= 20 && bytes[0] >> 4U == 4) {
    const std::size_t header = (bytes[0] & 0xfU) * std::size_t{4};
    return header <= bytes.size() ? recognise(bytes[9], bytes.subspan(header)) : std::nullopt;
  }
  if (bytes.size() >= 40 && bytes[0] >> 4U == 6) {
    return recognise(bytes[6], bytes.subspan(40));
  }
  const auto sequence = sequence_of(bytes);
  return sequence ? std::optional{Sighting{Sighting::Kind::packet, *sequence}} : std::nullopt;
}

}  // namespace killswitch::testing
