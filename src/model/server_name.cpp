#include "killswitch/model/server_name.hpp"

#include "killswitch/model/packet.hpp"

#include <algorithm>

namespace killswitch::model {
namespace {

// @source RFC 1035, section 2.3.4; a name of 253 bytes takes 255 on the wire
constexpr std::size_t longest_label = 63;
constexpr std::size_t longest_name = 253;

std::uint8_t lower(char c) {
  return static_cast<std::uint8_t>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

bool is_letter(std::uint8_t byte) {
  return byte >= 'a' && byte <= 'z';
}

}  // namespace

Bytes wire_name(std::string_view name) {
  if (name.ends_with('.')) {
    name.remove_suffix(1);
  }
  if (name.empty() || name.size() > longest_name || parse_ip_address(name)) {
    return {};
  }
  Bytes wire;
  wire.reserve(name.size() + 2);
  while (true) {
    const auto dot = name.find('.');
    const auto label = name.substr(0, dot);
    if (label.empty() || label.size() > longest_label) {
      return {};
    }
    wire.push_back(static_cast<std::uint8_t>(label.size()));
    std::transform(label.begin(), label.end(), std::back_inserter(wire), lower);
    if (dot == std::string_view::npos) {
      break;
    }
    name.remove_prefix(dot + 1);
  }
  wire.push_back(0);
  return wire;
}

Bytes caseless_mask(const Bytes& wire) {
  Bytes mask;
  std::size_t label_end = 0;  // the byte there is a length, whatever letter it may look like
  for (std::size_t i = 0; i < wire.size(); ++i) {
    const bool is_length = i == label_end;
    if (is_length) {
      label_end += wire[i] + std::size_t{1};
    }
    mask.push_back(!is_length && is_letter(wire[i]) ? 0xdf : 0xff);
  }
  return mask;
}

Bytes dns_question(const Bytes& wire, std::uint8_t type, const Bytes& more) {
  constexpr std::uint32_t from = 40000;
  constexpr std::uint32_t to = 53;
  constexpr std::size_t headers = 20;
  constexpr std::size_t type_and_class = 4;
  const auto length = headers + wire.size() + type_and_class + more.size();
  Bytes bytes;
  const auto put = [&bytes](const Bytes& part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
  put(wire_number(from, 2));
  put(wire_number(to, 2));
  put(wire_number(static_cast<std::uint32_t>(length), 2));
  put({0, 0});
  put({0x6b, 0x73, 1, 0, 0, 1, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(more.empty() ? 0 : 1)});
  put(wire);
  put({0, type, 0, 1});
  put(more);
  return bytes;
}

bool same_name(std::string_view left, std::string_view right) {
  const auto wire = wire_name(left);
  return !wire.empty() && wire == wire_name(right);
}

}  // namespace killswitch::model
