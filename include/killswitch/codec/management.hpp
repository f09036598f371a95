// OpenVPN's management protocol: bytes in any fragmentation to messages, and commands to lines.
//
// The decoder believes nothing: lines, environment blocks and values that break the protocol become Malformed
// messages and change nothing else. Its memory is bounded whatever arrives. It never keeps a secret: a line with
// a session token is wiped and passed over. Pure: the socket is sense/openvpn's.
// @source OpenVPN doc/management-notes.txt; checked against OpenVPN 2.6.14
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/management.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec {

class ManagementDecoder {
public:
  /// In bytes, without the newline. OpenVPN formats a line into 1280 bytes (ERR_BUF_SIZE), 10 KiB with PKCS#11.
  static constexpr std::size_t line_limit = std::size_t{8} << 10U;
  /// Entries of one environment block that are kept; the many that do not matter here (routes, certificates) are
  /// passed over and not counted.
  static constexpr std::size_t block_entry_limit = 4096;
  /// Names and values of the kept entries together, in bytes.
  static constexpr std::size_t block_byte_limit = std::size_t{256} << 10U;

  /// @return the messages that `bytes` complete, in order. The result does not depend on how a stream is cut.
  [[nodiscard]] std::vector<model::management::Message> feed(std::string_view bytes);

  /// Bytes held for later: an incomplete line and an open environment block.
  [[nodiscard]] std::size_t buffered() const { return line_.size() + (block_ ? block_->bytes : 0); }

private:
  struct Block {
    bool up{false};
    bool dropped{false};  ///< it went over a limit: its report is not believed
    std::map<std::string, std::string, std::less<>> entries;
    std::size_t bytes{0};
  };

  void emit(model::management::Message message);
  void report(std::string reason);
  void complain(const std::vector<std::string>& problems);
  void take_piece(std::string_view piece, bool complete);
  [[nodiscard]] bool take_split_prompt(std::string_view& piece);

  void take_line(std::string_view line);
  void take_remote(std::string_view text);
  void take_state(std::string_view text);
  void take_password(std::string_view text);
  void take_updown(std::string_view text);
  void take_entry(std::string_view entry);
  void finish_block();

  std::string line_;                                     ///< the incomplete line; never starts with a whole prompt
  bool skipping_{false};                                 ///< inside a line that was too long
  bool nonsense_{false};                                 ///< the last line was reported: a run of them is reported once
  bool dynamic_challenge_{false};                        ///< the server answered CRV1: the next 'Auth' is a challenge
  std::optional<model::management::RemoteQuery> asked_;  ///< the last >REMOTE: the entry that is being used
  std::string device_;                                   ///< of the last TunnelUp
  std::optional<Block> block_;
  std::vector<model::management::Message> messages_;  ///< of the feed that is running
};

struct OpenVpnProtocol {
  model::Protocol protocol{model::Protocol::udp};
  std::optional<model::Family> family;
};
/// As OpenVPN prints it: "udp", "udp4", "tcp-client", "tcp6-client", …
/// @source OpenVPN src/openvpn/socket.c, proto_names
[[nodiscard]] std::optional<OpenVpnProtocol> parse_openvpn_protocol(std::string_view text);

/// A name that Linux allows for an interface, without what would be hard to print.
/// @source Linux net/core/dev.c, dev_valid_name
[[nodiscard]] bool is_device_name(std::string_view text);

/// An IPv4 address that is written as IPv6 (::ffff:192.0.2.1, as a udp6 socket does) is IPv4 on the wire.
[[nodiscard]] model::IpAddress without_mapping(const model::IpAddress& address);

/// Whether a variable of >UPDOWN:ENV matters to `decode_tunnel_environment`.
[[nodiscard]] bool is_tunnel_variable(std::string_view name);

/// A report that is complete, and what was skipped on the way to it.
struct DecodedReport {
  model::TunnelReport report;
  std::vector<std::string> problems;
};
/// The environment of >UPDOWN:UP.
/// @param asked the last >REMOTE of the connection, if there was one: it says which protocol is in use
/// @return an error when there is no usable device or no usable address.
[[nodiscard]] Result<DecodedReport> decode_tunnel_environment(
    const std::map<std::string, std::string, std::less<>>& environment,
    const std::optional<model::management::RemoteQuery>& asked);

// Commands; every one ends with a newline.
[[nodiscard]] std::string encode_hold_release();
[[nodiscard]] std::string encode_state_on();  ///< notifications from now on
[[nodiscard]] std::string encode_state();     ///< the state of now, once
[[nodiscard]] std::string encode_remote_mod(const model::IpAddress& address, model::Port port);
[[nodiscard]] std::string encode_remote_accept();
[[nodiscard]] std::string encode_remote_skip();
/// SIGUSR1: OpenVPN starts its connection anew and asks >HOLD and >REMOTE again, also while it waits for an answer.
[[nodiscard]] std::string encode_restart();

// Secrets; the caller wipes the result. An error never contains the value.
/// @return an error for a character that OpenVPN would drop (controls, NUL, newline) and for a value that is longer
///         than it reads.
[[nodiscard]] Result<std::string> encode_username(std::string_view realm, std::string_view value);
[[nodiscard]] Result<std::string> encode_password(std::string_view realm, std::string_view value);
/// The answer to ENTER PASSWORD:, which OpenVPN compares as it is, without quotes or escapes.
[[nodiscard]] Result<std::string> encode_channel_password(std::string_view value);

}  // namespace killswitch::codec
