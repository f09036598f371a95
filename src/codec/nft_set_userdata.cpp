#include "killswitch/codec/nft_transaction.hpp"

#include "nft_objects.hpp"

namespace killswitch::codec {
namespace {

// @source enum expr_types, enum byteorder and payload_expr_build_udata, nftables
constexpr std::uint32_t byteorder_invalid = 0;
constexpr std::uint32_t byteorder_host = 1;
constexpr std::uint32_t byteorder_network = 2;
constexpr std::uint32_t expression_concat = 13;
constexpr std::uint32_t expression_payload = 7;
// The length of a note is a single byte.
constexpr std::uint32_t longest_note = 255;

/// A note that holds notes: opened by the constructor, closed by the destructor.
class Nest {
public:
  Nest(nftnl_udata_buf* notes, std::uint8_t type) : notes_{notes}, start_{nftnl_udata_nest_start(notes, type)} {}
  Nest(const Nest&) = delete;
  Nest& operator=(const Nest&) = delete;
  ~Nest() { nftnl_udata_nest_end(notes_, start_); }

private:
  nftnl_udata_buf* notes_;
  nftnl_udata* start_;
};

void put_payload(nftnl_udata_buf* notes, const model::Operand& operand) {
  nftnl_udata_put_u32(notes, NFTNL_UDATA_SET_TYPEOF_EXPR, expression_payload);
  const Nest data{notes, NFTNL_UDATA_SET_TYPEOF_DATA};
  nftnl_udata_put_u32(notes, 0, 0);  // no protocol is known
  nftnl_udata_put_u32(notes, 1, 0);  // no field of it
  nftnl_udata_put_u32(notes, 2, payload_base_number(operand.base) + 1);
  nftnl_udata_put_u32(notes, 3, operand.offset * 8U);
  nftnl_udata_put_u32(notes, 4, operand.length * 8U);
}

/// `typeof @th,192,32 . …`: without it nft(8) would not accept its own listing of a lookup of raw bytes.
void put_typeof(nftnl_udata_buf* notes, const std::vector<model::Operand>& operands) {
  const Nest key{notes, NFTNL_UDATA_SET_KEY_TYPEOF};
  if (operands.size() == 1) {
    put_payload(notes, operands.front());
    return;
  }
  nftnl_udata_put_u32(notes, NFTNL_UDATA_SET_TYPEOF_EXPR, expression_concat);
  const Nest data{notes, NFTNL_UDATA_SET_TYPEOF_DATA};
  std::uint8_t index = 0;
  for (const model::Operand& operand : operands) {
    const Nest part{notes, index++};
    put_payload(notes, operand);
  }
}

}  // namespace

std::vector<std::uint8_t> set_userdata(const model::Set& set, const std::vector<model::Operand>& raw) {
  std::uint32_t order = byteorder_invalid;
  if (set.key.size() == 1 && raw.empty()) {
    const bool host = key_type_info(set.key.front()).form.order == ByteOrder::host;
    order = host ? byteorder_host : byteorder_network;
  }
  const UserData notes{allocated(nftnl_udata_buf_alloc(2 * longest_note))};
  nftnl_udata_put_u32(notes.get(), NFTNL_UDATA_SET_KEYBYTEORDER, order);
  if (!raw.empty() && raw.size() <= 6) {  // more would make a note longer than it can be
    put_typeof(notes.get(), raw);
  }
  const auto* bytes = static_cast<const std::uint8_t*>(nftnl_udata_buf_data(notes.get()));
  return {bytes, bytes + nftnl_udata_buf_len(notes.get())};
}

}  // namespace killswitch::codec
