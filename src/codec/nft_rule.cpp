#include "killswitch/codec/nft_rule.hpp"

#include "killswitch/codec/nft_batch.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>

namespace killswitch::codec {
namespace {

using model::Match;
using model::Operand;
using model::Verdict;

/// One expression: opened by the constructor, closed by the destructor.
class Expression {
public:
  Expression(NetlinkWriter& writer, std::string_view name)
      : writer_{writer}, element_{writer.open(NFTA_LIST_ELEM)}, data_{0} {
    writer_.put_text(NFTA_EXPR_NAME, name);
    data_ = writer_.open(NFTA_EXPR_DATA);
  }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;
  ~Expression() {
    writer_.close(data_);
    writer_.close(element_);
  }

private:
  NetlinkWriter& writer_;
  std::size_t element_;
  std::size_t data_;
};

constexpr std::uint32_t registers = 16;

/// A register that starts at a multiple of 16 bytes has its older name, as nft(8) gives it.
std::uint32_t register_number(std::uint32_t index) {
  return index % 4 == 0 ? NFT_REG_1 + index / 4 : NFT_REG32_00 + index;
}

void write_data(NetlinkWriter& writer, std::uint16_t attribute, Span bytes) {
  const auto nest = writer.open(attribute);
  writer.put(NFTA_DATA_VALUE, bytes);
  writer.close(nest);
}

void write_payload(NetlinkWriter& writer, std::uint32_t base, std::uint32_t offset, std::uint32_t length,
                   std::uint32_t target) {
  const Expression expression{writer, "payload"};
  writer.put_be32(NFTA_PAYLOAD_DREG, target);
  writer.put_be32(NFTA_PAYLOAD_BASE, base);
  writer.put_be32(NFTA_PAYLOAD_OFFSET, offset);
  writer.put_be32(NFTA_PAYLOAD_LEN, length);
}

void write_keyed(NetlinkWriter& writer, Source source, std::uint32_t key, std::uint32_t target) {
  if (source == Source::meta) {
    const Expression expression{writer, "meta"};
    writer.put_be32(NFTA_META_KEY, key);
    writer.put_be32(NFTA_META_DREG, target);
  } else if (source == Source::ct) {
    const Expression expression{writer, "ct"};
    writer.put_be32(NFTA_CT_KEY, key);
    writer.put_be32(NFTA_CT_DREG, target);
  } else {
    const Expression expression{writer, "fib"};
    writer.put_be32(NFTA_FIB_FLAGS, key);
    writer.put_be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    writer.put_be32(NFTA_FIB_DREG, target);
  }
}

void write_load(NetlinkWriter& writer, const Operand& operand, std::uint32_t index) {
  const FieldInfo& info = field_info(operand.field);
  const std::uint32_t target = register_number(index);
  if (operand.field == model::Field::payload) {
    write_payload(writer, payload_base_number(operand.base), operand.offset, operand.length, target);
  } else if (info.source == Source::payload) {
    write_payload(writer, info.key, info.offset, info.form.width, target);
  } else {
    write_keyed(writer, info.source, info.key, target);
  }
}

Problem write_loads(NetlinkWriter& writer, const std::vector<Operand>& operands) {
  std::uint32_t index = 0;
  for (const Operand& operand : operands) {
    const std::uint32_t width = form_of(operand).width;
    if (width == 0 || index + padded(width) / 4 > registers) {
      return fmt::format("{} operands do not fit into the registers", operands.size());
    }
    write_load(writer, operand, index);
    index += padded(width) / 4;
  }
  return operands.empty() ? "a match without an operand" : "";
}

void write_bitwise(NetlinkWriter& writer, Span mask) {
  const Expression expression{writer, "bitwise"};
  writer.put_be32(NFTA_BITWISE_SREG, NFT_REG_1);
  writer.put_be32(NFTA_BITWISE_DREG, NFT_REG_1);
  writer.put_be32(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
  write_data(writer, NFTA_BITWISE_MASK, mask);
  write_data(writer, NFTA_BITWISE_XOR, EncodedValue{{}, static_cast<std::uint8_t>(mask.size())}.view());
}

Problem write_mask(NetlinkWriter& writer, const Match& match) {
  const ValueForm form = form_of(match.operands.front());
  const bool masked = match.mask || std::holds_alternative<model::Prefix>(match.value);
  if (!masked) {
    return {};
  }
  const auto mask = encode_mask(form, match);
  if (!mask || match.operands.size() != 1) {
    return fmt::format("'{}' cannot be masked like this", field_info(match.operands.front().field).name);
  }
  write_bitwise(writer, mask->view());
  return {};
}

Problem write_compare(NetlinkWriter& writer, const Match& match) {
  const auto value = encode_value(form_of(match.operands.front()), match.value);
  if (!value || match.operands.size() != 1) {
    return fmt::format("'{}' cannot be compared with this value", field_info(match.operands.front().field).name);
  }
  const Expression expression{writer, "cmp"};
  writer.put_be32(NFTA_CMP_SREG, NFT_REG_1);
  writer.put_be32(NFTA_CMP_OP, match.relation == Match::Relation::not_equal ? NFT_CMP_NEQ : NFT_CMP_EQ);
  write_data(writer, NFTA_CMP_DATA, value->view());
  return {};
}

void write_lookup(NetlinkWriter& writer, std::string_view set, bool inverted, bool verdict_map) {
  const Expression expression{writer, "lookup"};
  writer.put_text(NFTA_LOOKUP_SET, set);
  writer.put_be32(NFTA_LOOKUP_SREG, NFT_REG_1);
  if (verdict_map) {
    writer.put_be32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
  }
  if (inverted) {
    writer.put_be32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  }
}

Problem write_match(NetlinkWriter& writer, const Match& match) {
  Problem problem = write_loads(writer, match.operands);
  if (!problem.empty()) {
    return problem;
  }
  const bool lookup = match.relation == Match::Relation::in_set || match.relation == Match::Relation::not_in_set;
  problem = write_mask(writer, match);
  if (!problem.empty()) {
    return problem;
  }
  if (!lookup) {
    return write_compare(writer, match);
  }
  write_lookup(writer, match.set, match.relation == Match::Relation::not_in_set, false);
  return {};
}

void write_reject(NetlinkWriter& writer, Verdict::Kind kind) {
  const bool reset = kind == Verdict::Kind::reject_with_tcp_reset;
  const Expression expression{writer, "reject"};
  writer.put_be32(NFTA_REJECT_TYPE, reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMPX_UNREACH);
  writer.put_u8(NFTA_REJECT_ICMP_CODE, reset ? 0 : NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
}

Problem write_rule_verdict(NetlinkWriter& writer, const Verdict& verdict) {
  switch (verdict.kind) {
    case Verdict::Kind::none: return {};
    case Verdict::Kind::reject_with_tcp_reset:
    case Verdict::Kind::reject_admin_prohibited: write_reject(writer, verdict.kind); return {};
    case Verdict::Kind::masquerade: {
      const Expression expression{writer, "masq"};
      return {};
    }
    case Verdict::Kind::look_up: {
      const Problem problem = write_loads(writer, verdict.key);
      write_lookup(writer, verdict.map, false, true);
      return problem;
    }
    case Verdict::Kind::accept:
    case Verdict::Kind::drop:
    case Verdict::Kind::jump:
    case Verdict::Kind::goto_chain:
    case Verdict::Kind::return_to_caller: break;
  }
  const Expression expression{writer, "immediate"};
  writer.put_be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
  const auto nest = writer.open(NFTA_IMMEDIATE_DATA);
  Problem problem = write_verdict(writer, verdict);
  writer.close(nest);
  return problem;
}

/// NF_* and NFT_* codes are one number space, negative ones are nf_tables' own.
std::optional<std::uint32_t> verdict_code(Verdict::Kind kind) {
  switch (kind) {
    case Verdict::Kind::accept: return NF_ACCEPT;
    case Verdict::Kind::drop: return NF_DROP;
    case Verdict::Kind::jump: return static_cast<std::uint32_t>(NFT_JUMP);
    case Verdict::Kind::goto_chain: return static_cast<std::uint32_t>(NFT_GOTO);
    case Verdict::Kind::return_to_caller: return static_cast<std::uint32_t>(NFT_RETURN);
    case Verdict::Kind::none:
    case Verdict::Kind::reject_with_tcp_reset:
    case Verdict::Kind::reject_admin_prohibited:
    case Verdict::Kind::masquerade:
    case Verdict::Kind::look_up: break;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint32_t> register_index(std::uint32_t number) {
  if (number >= NFT_REG_1 && number <= NFT_REG_4) {
    return (number - NFT_REG_1) * 4;
  }
  if (number >= NFT_REG32_00 && number < NFT_REG32_00 + registers) {
    return number - NFT_REG32_00;
  }
  return std::nullopt;
}

std::optional<EncodedValue> encode_mask(const ValueForm& form, const Match& match) {
  if (const auto* prefix = std::get_if<model::Prefix>(&match.value); prefix != nullptr && !match.mask) {
    return encode_prefix_mask(prefix->length, form.width);
  }
  if (!match.mask) {
    return std::nullopt;
  }
  if (const auto* bytes = std::get_if<model::Bytes>(&*match.mask)) {
    // A mask is bytes also where the value is an address.
    return encode_value(ValueForm{ValueKind::bytes, form.order, form.width}, *bytes);
  }
  return encode_value(form, *match.mask);
}

Problem write_verdict(NetlinkWriter& writer, const Verdict& verdict) {
  const auto code = verdict_code(verdict.kind);
  if (!code) {
    return "this verdict cannot stand in a verdict map";
  }
  const auto nest = writer.open(NFTA_DATA_VERDICT);
  writer.put_be32(NFTA_VERDICT_CODE, *code);
  if (!verdict.chain.empty()) {
    writer.put_text(NFTA_VERDICT_CHAIN, verdict.chain);
  }
  writer.close(nest);
  return {};
}

Problem write_expressions(NetlinkWriter& writer, const model::Rule& rule) {
  for (const Match& match : rule.matches) {
    Problem problem = write_match(writer, match);
    if (!problem.empty()) {
      return problem;
    }
  }
  if (!rule.counter.empty()) {
    const Expression expression{writer, "objref"};
    writer.put_be32(NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
    writer.put_text(NFTA_OBJREF_IMM_NAME, rule.counter);
  }
  return write_rule_verdict(writer, rule.verdict);
}

Result<std::vector<std::uint8_t>> encode_expressions(const model::Rule& rule) {
  std::vector<std::uint8_t> bytes;
  NetlinkWriter writer{bytes};
  const Problem problem = write_expressions(writer, rule);
  if (!problem.empty()) {
    return fail(problem);
  }
  return bytes;
}

}  // namespace killswitch::codec
