// Names that come from files and from the network: what a host and an interface may be called. Used by every
// parser of text in this folder, so that all refuse the same things.
#pragma once

#include <string_view>

namespace killswitch::codec {

/// A numeric address, or labels of letters, digits, '-' and '_' with single dots between them: at most 253 bytes,
/// at most 63 a label. A final dot is allowed. The last label must not be a number ("10.0.0.256" is a mistake).
/// @source RFC 1123 section 2.1; '_' as real servers have it
[[nodiscard]] bool is_host(std::string_view text);

/// 1 to 15 printable bytes without '/', ':' and spaces, neither "." nor "..".
/// @source Linux, dev_valid_name() in net/core/dev.c
[[nodiscard]] bool is_interface_name(std::string_view text);

/// "tun0"-like lower-case words that are safe to show: [a-z][a-z0-9-]*, shorter than a line of a static key.
[[nodiscard]] bool looks_like_directive(std::string_view text);

}  // namespace killswitch::codec
