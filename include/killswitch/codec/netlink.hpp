// Messages and attributes of netlink, walked through by libmnl: a reader that never looks outside of what it was given.
//
// Nothing here knows what a message means. libmnl steps over messages and attributes; what it leaves to its caller, to
// notice that lengths do not add up, is done here once. Buffers start at a multiple of four bytes, as those of os and
// of every allocator do.
// @source Linux include/uapi/linux/netlink.h, libmnl(3)
#pragma once

#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace killswitch::codec {

using Span = std::span<const std::uint8_t>;

/// The structure at the start of `bytes`, which need not be aligned in memory; nothing when it is cut short.
template <typename T>
std::optional<T> read_struct(Span bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < sizeof(T)) {
    return std::nullopt;
  }
  T value{};
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

/// What follows the first `length` bytes and their padding; nothing when there is nothing.
[[nodiscard]] inline Span after(Span bytes, std::size_t length) {
  return bytes.subspan(std::min<std::size_t>(NLMSG_ALIGN(length), bytes.size()));
}

/// Calls `use(message)` for each whole message. @return false when lengths do not add up.
/// libmnl compares lengths as signed numbers, so that to it a message of 2 GiB and more would fit everywhere.
template <typename Use>
bool for_each_message(Span datagram, Use use) {
  auto left = static_cast<int>(datagram.size());
  const auto* message = reinterpret_cast<const nlmsghdr*>(datagram.data());
  while (mnl_nlmsg_ok(message, left) && message->nlmsg_len <= static_cast<std::uint32_t>(left)) {
    use(*message);
    message = mnl_nlmsg_next(message, &left);
  }
  return left <= 0;  // padding that is missing at the very end makes it negative
}

/// What stands behind the header of a message.
[[nodiscard]] inline Span payload_of(const nlmsghdr& message) {
  return {static_cast<const std::uint8_t*>(mnl_nlmsg_get_payload(&message)), mnl_nlmsg_get_payload_len(&message)};
}
[[nodiscard]] inline Span payload_of(const nlattr& attribute) {
  return {static_cast<const std::uint8_t*>(mnl_attr_get_payload(&attribute)), mnl_attr_get_payload_len(&attribute)};
}
/// The attributes of a message of a netfilter subsystem that has been seen to hold a nfgenmsg.
[[nodiscard]] inline Span attributes_of(const nlmsghdr& message) {
  return payload_of(message).subspan(sizeof(nfgenmsg));
}

/// Calls `use(attribute)` for each attribute. @return false when lengths do not add up.
template <typename Use>
bool for_each_attribute(Span bytes, Use use) {
  auto left = static_cast<int>(bytes.size());
  const auto* attribute = reinterpret_cast<const nlattr*>(bytes.data());
  while (mnl_attr_ok(attribute, left)) {
    use(*attribute);
    left -= MNL_ALIGN(attribute->nla_len);
    attribute = mnl_attr_next(attribute);
  }
  return left <= 0;
}

/// The attributes of one level by number; what is missing is empty, what the number table does not reach is left out.
class Attributes {
public:
  explicit Attributes(Span bytes) {
    valid_ = for_each_attribute(bytes, [this](const nlattr& attribute) {
      if (const std::size_t type = mnl_attr_get_type(&attribute); type < all_.size()) {
        all_[type] = &attribute;
      }
    });
  }
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] bool has(std::size_t type) const { return all_.at(type) != nullptr; }
  /// Null: it is not there.
  [[nodiscard]] const nlattr* find(std::size_t type) const { return all_.at(type); }
  [[nodiscard]] Span bytes(std::size_t type) const { return has(type) ? payload_of(*all_[type]) : Span{}; }
  [[nodiscard]] Attributes nest(std::size_t type) const { return Attributes{bytes(type)}; }
  /// Up to the first zero.
  [[nodiscard]] std::string_view text(std::size_t type) const {
    const Span value = bytes(type);
    const std::string_view whole{reinterpret_cast<const char*>(value.data()), value.size()};
    return whole.substr(0, whole.find('\0'));
  }

private:
  std::array<const nlattr*, 64> all_{};
  bool valid_{false};
};

}  // namespace killswitch::codec
