// A small vocabulary to write rules in: one function a match, named as nft(8) names it.
#pragma once

#include "killswitch/model/endpoint.hpp"
#include "killswitch/model/ruleset.hpp"

#include <string>
#include <vector>

namespace killswitch::decide {

namespace ip_protocol {  // @source IANA protocol numbers
inline constexpr std::uint32_t icmp = 1;
inline constexpr std::uint32_t tcp = 6;
inline constexpr std::uint32_t udp = 17;
inline constexpr std::uint32_t icmpv6 = 58;
}  // namespace ip_protocol

[[nodiscard]] std::uint32_t protocol_number(model::Protocol protocol);

[[nodiscard]] model::Operand field(model::Field field);
[[nodiscard]] model::Operand transport_bytes(std::uint16_t offset, std::uint16_t length);

[[nodiscard]] model::Match equal(model::Field field, model::Value value);
[[nodiscard]] model::Match in_set(std::vector<model::Operand> key, std::string set);
[[nodiscard]] model::Match not_in_set(std::vector<model::Operand> key, std::string set);

[[nodiscard]] model::Match ipv4();
[[nodiscard]] model::Match ipv6();
[[nodiscard]] model::Match l4proto(std::uint32_t number);
[[nodiscard]] model::Match sport(std::uint16_t port);
[[nodiscard]] model::Match dport(std::uint16_t port);

/// A TCP segment that does not ask for a connection (SYN without ACK).
[[nodiscard]] model::Match no_connection_request();
/// ICMP errors that name no other way, and echo replies; `comment` is completed with what it is.
[[nodiscard]] std::vector<model::Rule> echo_replies(const std::string& comment);
[[nodiscard]] std::vector<model::Rule> icmp_errors(const std::string& comment);

[[nodiscard]] model::Verdict accept();
[[nodiscard]] model::Verdict drop();
[[nodiscard]] model::Verdict go_to(std::string chain);
[[nodiscard]] model::Verdict look_up(model::Field key, std::string map);

/// `matches` then `verdict`, with the guarantee that the rule serves in `comment`.
[[nodiscard]] model::Rule rule(std::vector<model::Match> matches, model::Verdict verdict, std::string comment);
/// The same, counted under `counter`.
[[nodiscard]] model::Rule counted(std::vector<model::Match> matches, std::string counter, model::Verdict verdict,
                                  std::string comment);

/// `first` and then `second`.
[[nodiscard]] std::vector<model::Match> both(std::vector<model::Match> first, const std::vector<model::Match>& second);

}  // namespace killswitch::decide
