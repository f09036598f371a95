// Netlink messages of nf_tables, byte by byte: a writer that appends to one buffer, and a reader that never looks
// outside of what it was given.
//
// The writer exists because one update is some hundred messages that must be ready in tens of microseconds: nothing is
// allocated for a message, an attribute or a nest. Nothing here knows what a message means.
// @source Linux include/uapi/linux/netlink.h, Documentation/userspace-api/netlink/intro.rst
#pragma once

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace killswitch::codec {

using Span = std::span<const std::uint8_t>;

class NetlinkWriter {
public:
  explicit NetlinkWriter(std::vector<std::uint8_t>& out) : out_{out} {}

  /// @param type the whole nlmsg_type, subsystem included
  /// @param resource res_id of nfgenmsg, in host byte order
  void begin(std::uint16_t type, std::uint8_t family, std::uint16_t flags, std::uint32_t sequence,
             std::uint16_t resource = 0) {
    message_ = out_.size();
    append(nlmsghdr{0, type, static_cast<std::uint16_t>(flags | NLM_F_REQUEST), sequence, 0});
    append(nfgenmsg{family, NFNETLINK_V0, htons(resource)});
  }
  void end() { store(message_, static_cast<std::uint32_t>(out_.size() - message_)); }
  /// Asks the kernel to acknowledge the message that was ended last.
  void acknowledge() {
    nlmsghdr header{};
    std::memcpy(&header, out_.data() + message_, sizeof header);
    header.nlmsg_flags |= NLM_F_ACK;
    std::memcpy(out_.data() + message_, &header, sizeof header);
  }

  void put(std::uint16_t type, Span value) {
    char* at = attribute(type, value.size());
    if (!value.empty()) {
      std::memcpy(at, value.data(), value.size());
    }
  }
  /// With the zero that ends strings in nf_tables.
  void put_text(std::uint16_t type, std::string_view text) {
    std::memcpy(attribute(type, text.size() + 1), text.data(), text.size());
  }
  void put_u8(std::uint16_t type, std::uint8_t value) { std::memcpy(attribute(type, 1), &value, 1); }
  void put_be32(std::uint16_t type, std::uint32_t value) {
    const std::uint32_t swapped = htonl(value);
    std::memcpy(attribute(type, sizeof swapped), &swapped, sizeof swapped);
  }
  void put_be64(std::uint16_t type, std::uint64_t value) {
    const std::array<std::uint32_t, 2> swapped{htonl(static_cast<std::uint32_t>(value >> 32U)),
                                               htonl(static_cast<std::uint32_t>(value))};
    std::memcpy(attribute(type, sizeof swapped), swapped.data(), sizeof swapped);
  }

  /// @return what `close` wants
  [[nodiscard]] std::size_t open(std::uint16_t type) {
    const std::size_t at = out_.size();
    append(nlattr{0, static_cast<std::uint16_t>(type | NLA_F_NESTED)});
    return at;
  }
  void close(std::size_t nest) { store(nest, static_cast<std::uint16_t>(out_.size() - nest)); }

  [[nodiscard]] std::size_t size() const { return out_.size(); }

private:
  template <typename T>
  void append(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t at = out_.size();
    out_.resize(at + NLMSG_ALIGN(sizeof value));
    std::memcpy(out_.data() + at, &value, sizeof value);
  }
  template <typename T>
  void store(std::size_t at, T value) {
    std::memcpy(out_.data() + at, &value, sizeof value);
  }
  /// Padding is zero because the buffer grows by zeros.
  char* attribute(std::uint16_t type, std::size_t size) {
    const nlattr header{static_cast<std::uint16_t>(NLA_HDRLEN + size), type};
    const std::size_t at = out_.size();
    out_.resize(at + NLA_HDRLEN + NLMSG_ALIGN(size));
    std::memcpy(out_.data() + at, &header, sizeof header);
    return reinterpret_cast<char*>(out_.data()) + at + NLA_HDRLEN;
  }

  std::vector<std::uint8_t>& out_;
  std::size_t message_{0};
};

/// Calls `use(type, payload)` for each attribute. @return false when lengths do not add up.
template <typename Use>
bool for_each_attribute(Span bytes, Use use) {
  while (bytes.size() >= NLA_HDRLEN) {
    nlattr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.nla_len < NLA_HDRLEN || header.nla_len > bytes.size()) {
      return false;
    }
    use(static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK),
        bytes.subspan(NLA_HDRLEN, static_cast<std::size_t>(header.nla_len) - NLA_HDRLEN));
    bytes = bytes.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nla_len), bytes.size()));
  }
  return bytes.empty();
}

/// The attributes of one level by number; what is missing is empty, what the number table does not reach is left out.
class Attributes {
public:
  explicit Attributes(Span bytes) {
    valid_ = for_each_attribute(bytes, [this](std::uint16_t type, Span payload) {
      if (type < values_.size()) {
        values_[type] = payload;
        present_[type] = true;
      }
    });
  }
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] bool has(std::size_t type) const { return present_.at(type); }
  [[nodiscard]] Span bytes(std::size_t type) const { return values_.at(type); }
  [[nodiscard]] Attributes nest(std::size_t type) const { return Attributes{values_.at(type)}; }
  [[nodiscard]] std::optional<std::uint32_t> be32(std::size_t type) const {
    if (values_.at(type).size() != sizeof(std::uint32_t)) {
      return std::nullopt;
    }
    std::uint32_t value = 0;
    std::memcpy(&value, values_[type].data(), sizeof value);
    return ntohl(value);
  }
  [[nodiscard]] std::uint32_t be32_or(std::size_t type, std::uint32_t otherwise) const {
    return be32(type).value_or(otherwise);
  }
  [[nodiscard]] std::uint64_t be64_or_zero(std::size_t type) const {
    std::uint64_t value = 0;
    if (values_.at(type).size() == sizeof value) {
      for (const std::uint8_t byte : values_[type]) {
        value = (value << 8U) | byte;
      }
    }
    return value;
  }
  /// Up to the first zero.
  [[nodiscard]] std::string_view text(std::size_t type) const {
    const Span value = values_.at(type);
    const std::string_view whole{reinterpret_cast<const char*>(value.data()), value.size()};
    return whole.substr(0, whole.find('\0'));
  }

private:
  std::array<Span, 32> values_{};
  std::array<bool, 32> present_{};
  bool valid_{false};
};

}  // namespace killswitch::codec
