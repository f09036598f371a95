// The name of a VPN server as it stands in a DNS question (RFC 1035, section 4.1.2).
#pragma once

#include "killswitch/model/ruleset.hpp"

#include <string_view>

namespace killswitch::model {

/// The nflog group that questions for servers' names, and their answers, are told to, and how the two are told apart.
inline constexpr std::uint16_t server_names_group = 0x6b73;
inline constexpr const char* question_prefix = "question";
inline constexpr const char* answer_prefix = "answer";

/// Labels with their lengths and the final zero, letters in lower case; a dot at the end changes nothing.
/// @return nothing (empty) for what is no name: a numeric address, an empty label, one of more than 63 bytes, or more
///         than 253 bytes in all
[[nodiscard]] Bytes wire_name(std::string_view name);

/// For each byte of `wire` what counts when names are compared: 0xdf for letters (DNS knows no case), 0xff for the
/// rest.
[[nodiscard]] Bytes caseless_mask(const Bytes& wire);

/// A UDP datagram, from its header on (ports 40000 → 53, no checksum), that asks for records of `type`; behind the
/// question stands `more`, which is counted as one additional record where it is not empty.
[[nodiscard]] Bytes dns_question(const Bytes& wire, std::uint8_t type, const Bytes& more = {});

/// Whether two names are the same to DNS.
[[nodiscard]] bool same_name(std::string_view left, std::string_view right);

}  // namespace killswitch::model
