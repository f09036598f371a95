#include "killswitch/codec/nft_rule.hpp"

#include "killswitch/codec/netlink.hpp"
#include "killswitch/codec/nft_batch.hpp"
#include "nft_message.hpp"
#include "nft_objects.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Match;
using model::Operand;
using model::Verdict;

constexpr std::uint32_t registers = 16;
// @source NFT_RULE_MAXEXPRS, Linux net/netfilter/nf_tables_api.c
constexpr std::size_t most_expressions = 128;
// @source NF_LOG_PREFIXLEN, Linux include/uapi/linux/netfilter/nf_log.h
constexpr std::size_t longest_log_prefix = 128;

/// A register that starts at a multiple of 16 bytes has its older name, as nft(8) gives it.
std::uint32_t register_number(std::uint32_t index) {
  return index % 4 == 0 ? NFT_REG_1 + index / 4 : NFT_REG32_00 + index;
}

/// Appends expressions to one rule, which owns them.
class ExpressionWriter {
public:
  explicit ExpressionWriter(nftnl_rule& rule) : rule_{rule} {}

  [[nodiscard]] Problem match(const Match& match);
  void count(const std::string& counter);
  void log(const model::Log& log);
  [[nodiscard]] Problem verdict(const Verdict& verdict);
  [[nodiscard]] std::size_t count() const { return count_; }

private:
  nftnl_expr* start(const char* name) {
    nftnl_expr* expression = allocated(nftnl_expr_alloc(name));
    nftnl_rule_add_expr(&rule_, expression);
    ++count_;
    return expression;
  }
  void payload(std::uint32_t base, std::uint32_t offset, std::uint32_t length, std::uint32_t target);
  void keyed(Source source, std::uint32_t key, std::uint32_t target);
  void load(const Operand& operand, std::uint32_t index);
  [[nodiscard]] Problem loads(const std::vector<Operand>& operands);
  [[nodiscard]] Problem mask(const Match& match);
  [[nodiscard]] Problem compare(const Match& match);
  [[nodiscard]] nftnl_expr* lookup(const std::string& set);
  void reject(Verdict::Kind kind);

  nftnl_rule& rule_;
  std::size_t count_{0};
};

void ExpressionWriter::payload(std::uint32_t base, std::uint32_t offset, std::uint32_t length, std::uint32_t target) {
  nftnl_expr* expression = start("payload");
  nftnl_expr_set_u32(expression, NFTNL_EXPR_PAYLOAD_DREG, target);
  nftnl_expr_set_u32(expression, NFTNL_EXPR_PAYLOAD_BASE, base);
  nftnl_expr_set_u32(expression, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
  nftnl_expr_set_u32(expression, NFTNL_EXPR_PAYLOAD_LEN, length);
}

void ExpressionWriter::keyed(Source source, std::uint32_t key, std::uint32_t target) {
  if (source == Source::meta) {
    nftnl_expr* expression = start("meta");
    nftnl_expr_set_u32(expression, NFTNL_EXPR_META_KEY, key);
    nftnl_expr_set_u32(expression, NFTNL_EXPR_META_DREG, target);
  } else if (source == Source::ct) {
    nftnl_expr* expression = start("ct");
    nftnl_expr_set_u32(expression, NFTNL_EXPR_CT_KEY, key);
    nftnl_expr_set_u32(expression, NFTNL_EXPR_CT_DREG, target);
  } else if (source == Source::socket) {
    nftnl_expr* expression = start("socket");
    nftnl_expr_set_u32(expression, NFTNL_EXPR_SOCKET_KEY, key);
    nftnl_expr_set_u32(expression, NFTNL_EXPR_SOCKET_DREG, target);
  } else {
    nftnl_expr* expression = start("fib");
    nftnl_expr_set_u32(expression, NFTNL_EXPR_FIB_FLAGS, key);
    nftnl_expr_set_u32(expression, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    nftnl_expr_set_u32(expression, NFTNL_EXPR_FIB_DREG, target);
  }
}

void ExpressionWriter::load(const Operand& operand, std::uint32_t index) {
  const FieldInfo& info = field_info(operand.field);
  const std::uint32_t target = register_number(index);
  if (operand.field == model::Field::payload) {
    payload(payload_base_number(operand.base), operand.offset, operand.length, target);
  } else if (info.source == Source::payload) {
    payload(info.key, info.offset, info.form.width, target);
  } else {
    keyed(info.source, info.key, target);
  }
}

Problem ExpressionWriter::loads(const std::vector<Operand>& operands) {
  std::uint32_t index = 0;
  for (const Operand& operand : operands) {
    const std::uint32_t width = form_of(operand).width;
    if (width == 0 || index + padded(width) / 4 > registers) {
      return fmt::format("{} operands do not fit into the registers", operands.size());
    }
    load(operand, index);
    index += padded(width) / 4;
  }
  return operands.empty() ? "a match without an operand" : "";
}

Problem ExpressionWriter::mask(const Match& match) {
  const bool masked = match.mask || std::holds_alternative<model::Prefix>(match.value);
  if (!masked) {
    return {};
  }
  const auto mask = encode_mask(form_of(match.operands.front()), match);
  if (!mask || match.operands.size() != 1) {
    return fmt::format("'{}' cannot be masked like this", field_info(match.operands.front().field).name);
  }
  const EncodedValue zeros{{}, mask->size};
  nftnl_expr* expression = start("bitwise");
  nftnl_expr_set_u32(expression, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
  nftnl_expr_set_u32(expression, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
  nftnl_expr_set_u32(expression, NFTNL_EXPR_BITWISE_LEN, mask->size);
  nftnl_expr_set(expression, NFTNL_EXPR_BITWISE_MASK, mask->bytes.data(), mask->size);
  nftnl_expr_set(expression, NFTNL_EXPR_BITWISE_XOR, zeros.bytes.data(), zeros.size);
  return {};
}

Problem ExpressionWriter::compare(const Match& match) {
  const auto value = encode_value(form_of(match.operands.front()), match.value);
  if (!value || match.operands.size() != 1) {
    return fmt::format("'{}' cannot be compared with this value", field_info(match.operands.front().field).name);
  }
  nftnl_expr* expression = start("cmp");
  nftnl_expr_set_u32(expression, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
  nftnl_expr_set_u32(expression, NFTNL_EXPR_CMP_OP,
                     match.relation == Match::Relation::not_equal ? NFT_CMP_NEQ : NFT_CMP_EQ);
  nftnl_expr_set(expression, NFTNL_EXPR_CMP_DATA, value->bytes.data(), value->size);
  return {};
}

nftnl_expr* ExpressionWriter::lookup(const std::string& set) {
  nftnl_expr* expression = start("lookup");
  nftnl_expr_set_str(expression, NFTNL_EXPR_LOOKUP_SET, set.c_str());
  nftnl_expr_set_u32(expression, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
  return expression;
}

Problem ExpressionWriter::match(const Match& match) {
  Problem problem = loads(match.operands);
  if (!problem.empty()) {
    return problem;
  }
  const bool in_set = match.relation == Match::Relation::in_set || match.relation == Match::Relation::not_in_set;
  problem = mask(match);
  if (!problem.empty()) {
    return problem;
  }
  if (!in_set) {
    return compare(match);
  }
  nftnl_expr* expression = lookup(match.set);
  if (match.relation == Match::Relation::not_in_set) {
    nftnl_expr_set_u32(expression, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  }
  return {};
}

void ExpressionWriter::count(const std::string& counter) {
  nftnl_expr* expression = start("objref");
  nftnl_expr_set_u32(expression, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
  nftnl_expr_set_str(expression, NFTNL_EXPR_OBJREF_IMM_NAME, counter.c_str());
}

void ExpressionWriter::log(const model::Log& log) {
  if (log.per_second != 0) {
    nftnl_expr* limit = start("limit");
    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_RATE, log.per_second);
    nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_UNIT, 1);  // seconds
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_BURST, limit_burst);
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
    nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_FLAGS, 0);
  }
  nftnl_expr* expression = start("log");
  nftnl_expr_set_u16(expression, NFTNL_EXPR_LOG_GROUP, log.group);
  if (!log.prefix.empty()) {
    nftnl_expr_set_str(expression, NFTNL_EXPR_LOG_PREFIX, log.prefix.c_str());
  }
}

void ExpressionWriter::reject(Verdict::Kind kind) {
  const bool reset = kind == Verdict::Kind::reject_with_tcp_reset;
  nftnl_expr* expression = start("reject");
  nftnl_expr_set_u32(expression, NFTNL_EXPR_REJECT_TYPE, reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMPX_UNREACH);
  nftnl_expr_set_u8(expression, NFTNL_EXPR_REJECT_CODE, reset ? 0 : NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
}

Problem ExpressionWriter::verdict(const Verdict& verdict) {
  if (verdict.kind == Verdict::Kind::none) {
    return {};
  }
  if (verdict.kind == Verdict::Kind::look_up) {
    Problem problem = loads(verdict.key);
    nftnl_expr_set_u32(lookup(verdict.map), NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
    return problem;
  }
  if (verdict.kind == Verdict::Kind::masquerade) {
    start("masq");
    return {};
  }
  const auto code = verdict_code(verdict.kind);
  if (!code) {
    reject(verdict.kind);
    return {};
  }
  nftnl_expr* expression = start("immediate");
  nftnl_expr_set_u32(expression, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_u32(expression, NFTNL_EXPR_IMM_VERDICT, *code);
  if (!verdict.chain.empty()) {
    nftnl_expr_set_str(expression, NFTNL_EXPR_IMM_CHAIN, verdict.chain.c_str());
  }
  return {};
}

/// Names that the kernel would refuse for their length alone; so a rule has a size that is known beforehand.
Problem check_names(const model::Rule& rule) {
  const auto too_long = [](const std::string& name) { return name.size() >= NFT_NAME_MAXLEN; };
  const bool in_match =
      std::any_of(rule.matches.begin(), rule.matches.end(), [&](const Match& match) { return too_long(match.set); });
  if (rule.log.prefix.size() >= longest_log_prefix) {
    return "the prefix of a log has at most 127 characters";
  }
  const bool elsewhere = too_long(rule.counter) || too_long(rule.verdict.chain) || too_long(rule.verdict.map);
  return in_match || elsewhere ? "a name has at most 255 characters" : "";
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

Problem add_expressions(nftnl_rule& out, const model::Rule& rule) {
  Problem problem = check_names(rule);
  ExpressionWriter writer{out};
  for (auto match = rule.matches.begin(); match != rule.matches.end() && problem.empty(); ++match) {
    problem = writer.match(*match);
  }
  if (!problem.empty()) {
    return problem;
  }
  if (!rule.counter.empty()) {
    writer.count(rule.counter);
  }
  if (rule.log.group != 0) {
    writer.log(rule.log);
  }
  problem = writer.verdict(rule.verdict);
  if (problem.empty() && writer.count() > most_expressions) {
    problem = fmt::format("it needs {} expressions, {} are possible", writer.count(), most_expressions);
  }
  return problem;
}

Result<std::vector<std::uint8_t>> encode_expressions(const model::Rule& rule) {
  const RuleObject object{allocated(nftnl_rule_alloc())};
  const Problem problem = add_expressions(*object, rule);
  if (!problem.empty()) {
    return fail(problem);
  }
  // Zero, because libmnl before 1.0.5 leaves the padding of attributes as it is.
  const auto buffer = std::make_unique<std::uint8_t[]>(message_room);
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.get());
  nftnl_rule_nlmsg_build_payload(message, object.get());
  // Without table, chain and comment the list of expressions is all there is; a rule may also have none.
  const Span list = Attributes{payload_of(*message)}.bytes(NFTA_RULE_EXPRESSIONS);
  return std::vector<std::uint8_t>{list.begin(), list.end()};
}

}  // namespace killswitch::codec
