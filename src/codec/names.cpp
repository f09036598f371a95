// Host and interface names. Locale plays no part: only ASCII is looked at.
#include "killswitch/codec/names.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/model/address.hpp"

#include <algorithm>

namespace killswitch::codec {
namespace {

constexpr std::size_t max_host_bytes = 253;
constexpr std::size_t max_label_bytes = 63;
constexpr std::size_t max_interface_bytes = 15;  // IFNAMSIZ with its terminating zero is 16
constexpr std::size_t static_key_line = 32;      // hex digits in a line of an OpenVPN static key

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}

bool is_label(std::string_view label) {
  const auto allowed = [](char c) {
    return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  };
  return !label.empty() && label.size() <= max_label_bytes && std::all_of(label.begin(), label.end(), allowed) &&
         label.front() != '-' && label.back() != '-';
}

}  // namespace

bool is_host(std::string_view text) {
  if (model::parse_ip_address(text)) {
    return true;
  }
  if (!text.empty() && text.back() == '.') {
    text.remove_suffix(1);
  }
  if (text.empty() || text.size() > max_host_bytes) {
    return false;
  }
  const auto labels = split(text, '.');
  return std::all_of(labels.begin(), labels.end(), is_label) &&
         !std::all_of(labels.back().begin(), labels.back().end(), is_digit);
}

bool is_interface_name(std::string_view text) {
  const auto allowed = [](char c) { return c > ' ' && c < '\x7f' && c != '/' && c != ':'; };
  return !text.empty() && text.size() <= max_interface_bytes && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), allowed);
}

bool looks_like_directive(std::string_view text) {
  const auto allowed = [](char c) { return is_lower(c) || is_digit(c) || c == '-'; };
  return !text.empty() && text.size() < static_key_line && is_lower(text.front()) &&
         std::all_of(text.begin(), text.end(), allowed);
}

}  // namespace killswitch::codec
