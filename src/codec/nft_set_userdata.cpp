#include "killswitch/codec/nft_transaction.hpp"

namespace killswitch::codec {
namespace {

// @source enum nftnl_udata_set_types, libnftnl udata.h; enum expr_types, enum byteorder and payload_expr_build_udata,
// nftables
constexpr std::uint8_t udata_key_byteorder = 0;
constexpr std::uint8_t udata_key_typeof = 3;
constexpr std::uint32_t byteorder_invalid = 0;
constexpr std::uint32_t byteorder_host = 1;
constexpr std::uint32_t byteorder_network = 2;
constexpr std::uint32_t expression_concat = 13;
constexpr std::uint32_t expression_payload = 7;

void append_udata_u32(std::vector<std::uint8_t>& out, std::uint8_t type, std::uint32_t value) {
  out.insert(out.end(), {type, 4});
  const auto encoded = encode_value(ValueForm{}, value);
  out.insert(out.end(), encoded->bytes.begin(), encoded->bytes.begin() + 4);
}

std::vector<std::uint8_t> udata_of_payload(const model::Operand& operand) {
  std::vector<std::uint8_t> inner;
  append_udata_u32(inner, 0, 0);  // no protocol is known
  append_udata_u32(inner, 1, 0);  // no field of it
  append_udata_u32(inner, 2, payload_base_number(operand.base) + 1);
  append_udata_u32(inner, 3, operand.offset * 8U);
  append_udata_u32(inner, 4, operand.length * 8U);
  std::vector<std::uint8_t> out;
  append_udata_u32(out, 0, expression_payload);
  out.insert(out.end(), {1, static_cast<std::uint8_t>(inner.size())});
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

/// `typeof @th,192,32 . …`: without it nft(8) would not accept its own listing of a lookup of raw bytes.
std::vector<std::uint8_t> udata_typeof(const std::vector<model::Operand>& operands) {
  std::vector<std::uint8_t> inner;
  if (operands.size() == 1) {
    inner = udata_of_payload(operands.front());
  } else {
    std::vector<std::uint8_t> parts;
    std::uint8_t index = 0;
    for (const model::Operand& operand : operands) {
      const auto part = udata_of_payload(operand);
      parts.insert(parts.end(), {index++, static_cast<std::uint8_t>(part.size())});
      parts.insert(parts.end(), part.begin(), part.end());
    }
    append_udata_u32(inner, 0, expression_concat);
    inner.insert(inner.end(), {1, static_cast<std::uint8_t>(parts.size())});
    inner.insert(inner.end(), parts.begin(), parts.end());
  }
  std::vector<std::uint8_t> out{udata_key_typeof, static_cast<std::uint8_t>(inner.size())};
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

}  // namespace

std::vector<std::uint8_t> set_userdata(const model::Set& set, const std::vector<model::Operand>& raw) {
  std::uint32_t order = byteorder_invalid;
  if (set.key.size() == 1 && raw.empty()) {
    const bool host = key_type_info(set.key.front()).form.order == ByteOrder::host;
    order = host ? byteorder_host : byteorder_network;
  }
  std::vector<std::uint8_t> out;
  append_udata_u32(out, udata_key_byteorder, order);
  if (!raw.empty() && raw.size() <= 6) {  // the notes' lengths are single bytes
    const auto more = udata_typeof(raw);
    out.insert(out.end(), more.begin(), more.end());
  }
  return out;
}

}  // namespace killswitch::codec
