// One request to the kernel, put together by libmnl. Private to this folder.
#pragma once

#include "killswitch/model/address.hpp"

#include <libmnl/libmnl.h>
#include <array>
#include <cstdint>
#include <vector>

namespace killswitch::codec {

/// A buffer with room for one request.
struct NetlinkRequest {
  static constexpr std::size_t message_bytes = 256;  // larger than any request of ours
  alignas(nlmsghdr) std::array<std::uint8_t, message_bytes> bytes{};
  nlmsghdr* header{::mnl_nlmsg_put_header(bytes.data())};

  NetlinkRequest(std::uint16_t type, unsigned flags, std::uint32_t sequence) {
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    header->nlmsg_seq = sequence;
  }
  template <typename Extra>
  Extra& extra() {
    return *static_cast<Extra*>(::mnl_nlmsg_put_extra_header(header, sizeof(Extra)));
  }
  void put(std::uint16_t type, const model::IpAddress& address) {
    ::mnl_attr_put(header, type, address.size(), address.bytes.data());
  }
  void put(std::uint16_t type, std::uint32_t number) { ::mnl_attr_put_u32(header, type, number); }
  [[nodiscard]] std::vector<std::uint8_t> take() const { return {bytes.begin(), bytes.begin() + header->nlmsg_len}; }
};

}  // namespace killswitch::codec
