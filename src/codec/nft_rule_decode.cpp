#include "killswitch/codec/nft_rule_decode.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/nft_rule.hpp"
#include "nft_objects.hpp"
#include "nft_rule_sieve.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Match;
using model::Operand;
using model::Verdict;

std::optional<Operand> keyed_operand(Source source, std::uint32_t key) {
  for (const FieldInfo& info : all_fields()) {
    if (info.source == source && info.key == key && source != Source::payload) {
      return Operand{info.field};
    }
  }
  return std::nullopt;
}

/// Nothing: the attribute is not there.
std::optional<std::uint32_t> number(const nftnl_expr* expression, std::uint16_t attribute) {
  return nftnl_expr_is_set(expression, attribute) ? std::optional{nftnl_expr_get_u32(expression, attribute)}
                                                  : std::nullopt;
}

Span bytes_of(const nftnl_expr* expression, std::uint16_t attribute) {
  std::uint32_t size = 0;
  const void* data = nftnl_expr_get(expression, attribute, &size);
  return data == nullptr ? Span{} : Span{static_cast<const std::uint8_t*>(data), size};
}

/// Turns expressions into a rule one after another; what is loaded waits until it is compared or looked up.
class RuleDecoder {
public:
  void expression(const nftnl_expr* expression);
  void refuse(std::string words) {
    if (decoded_.foreign.empty()) {
      decoded_.foreign = std::move(words);
    }
  }
  DecodedRule finish() &&;

private:
  struct Loaded {
    Operand operand;
    std::uint32_t index;  ///< of the first 4-byte register
  };

  void load(std::optional<Operand> operand, std::optional<std::uint32_t> target);
  void payload(const nftnl_expr* data);
  void bitwise(const nftnl_expr* data);
  void compare(const nftnl_expr* data);
  void look_up(const nftnl_expr* data);
  void object(const nftnl_expr* data);
  void log(const nftnl_expr* data);
  void limit(const nftnl_expr* data);
  void reject(const nftnl_expr* data);
  void immediate(const nftnl_expr* data);
  void verdict(Verdict verdict);
  [[nodiscard]] bool starts_at(std::optional<std::uint32_t> source) const;
  std::vector<Operand> take_operands();
  void refine(Match& match) const;
  void name_payload(Operand& operand) const;

  DecodedRule decoded_;
  std::vector<Loaded> loaded_;
  std::vector<std::uint8_t> mask_;
  bool ended_{false};
};

void RuleDecoder::load(std::optional<Operand> operand, std::optional<std::uint32_t> target) {
  const auto index = register_index(target.value_or(0));
  std::uint32_t expected = 0;
  for (const Loaded& one : loaded_) {
    expected += padded(form_of(one.operand).width) / 4;
  }
  if (!operand || !index || *index != expected || !mask_.empty()) {
    refuse("a load that this program never writes");
    return;
  }
  loaded_.push_back({*operand, *index});
}

/// A payload of the shape of a named field is that field, when an earlier match says so. Ports need no statement:
/// they are the same bytes for every protocol that has them, but the first byte of ICMP is a type.
void RuleDecoder::name_payload(Operand& operand) const {
  const auto stated = [this](model::Field field, std::uint32_t value) {
    return std::any_of(decoded_.rule.matches.begin(), decoded_.rule.matches.end(), [&](const Match& match) {
      return match.operands.size() == 1 && match.operands.front().field == field && !match.mask &&
             match.relation == Match::Relation::equal && match.value == model::Value{value};
    });
  };
  const bool ipv4 = stated(model::Field::nfproto, NFPROTO_IPV4) || stated(model::Field::ether_type, 0x0800);
  const bool ipv6 = stated(model::Field::nfproto, NFPROTO_IPV6) || stated(model::Field::ether_type, 0x86dd);
  for (const FieldInfo& info : all_fields()) {
    if (info.source != Source::payload || info.field == model::Field::payload ||
        info.key != payload_base_number(operand.base) || info.offset != operand.offset ||
        info.form.width != operand.length) {
      continue;
    }
    const bool holds = (info.needs == Dependency::ipv4 && ipv4) || (info.needs == Dependency::ipv6 && ipv6) ||
                       (info.needs == Dependency::icmp && stated(model::Field::l4proto, IPPROTO_ICMP)) ||
                       (info.needs == Dependency::icmpv6 && stated(model::Field::l4proto, IPPROTO_ICMPV6)) ||
                       info.needs == Dependency::transport;
    if (holds) {
      operand = Operand{info.field};
      return;
    }
  }
}

void RuleDecoder::payload(const nftnl_expr* data) {
  const auto base = payload_base_of(number(data, NFTNL_EXPR_PAYLOAD_BASE).value_or(UINT32_MAX));
  const std::uint32_t offset = number(data, NFTNL_EXPR_PAYLOAD_OFFSET).value_or(UINT32_MAX);
  const std::uint32_t length = number(data, NFTNL_EXPR_PAYLOAD_LEN).value_or(0);
  if (!base || offset > UINT16_MAX || length == 0 || length > 64) {
    refuse("a payload expression that this program never writes");
    return;
  }
  Operand operand{model::Field::payload, *base, static_cast<std::uint16_t>(offset), static_cast<std::uint16_t>(length)};
  name_payload(operand);
  load(operand, number(data, NFTNL_EXPR_PAYLOAD_DREG));
}

bool RuleDecoder::starts_at(std::optional<std::uint32_t> source) const {
  return !loaded_.empty() && register_index(source.value_or(0)) == std::optional<std::uint32_t>{0};
}

void RuleDecoder::bitwise(const nftnl_expr* data) {
  const Span mask = bytes_of(data, NFTNL_EXPR_BITWISE_MASK);
  const Span flip = bytes_of(data, NFTNL_EXPR_BITWISE_XOR);
  const bool zero = std::all_of(flip.begin(), flip.end(), [](std::uint8_t byte) { return byte == 0; });
  const auto source = number(data, NFTNL_EXPR_BITWISE_SREG);
  if (!starts_at(source) || loaded_.size() != 1 || source != number(data, NFTNL_EXPR_BITWISE_DREG) || !zero ||
      !mask_.empty() || mask.size() != form_of(loaded_.front().operand).width ||
      number(data, NFTNL_EXPR_BITWISE_OP).value_or(NFT_BITWISE_BOOL) != NFT_BITWISE_BOOL) {
    refuse("a bitwise expression that this program never writes");
    return;
  }
  mask_.assign(mask.begin(), mask.end());
}

std::vector<Operand> RuleDecoder::take_operands() {
  std::vector<Operand> operands;
  for (const Loaded& one : loaded_) {
    operands.push_back(one.operand);
  }
  loaded_.clear();
  return operands;
}

/// The mask becomes the length of a prefix where the field is an address, else a number or bytes.
void RuleDecoder::refine(Match& match) const {
  if (mask_.empty()) {
    return;
  }
  const ValueForm form = form_of(match.operands.front());
  const auto length = prefix_length_of(mask_);
  if (auto* address = std::get_if<model::IpAddress>(&match.value); address != nullptr && length) {
    match.value = model::Prefix{*address, *length};
    return;
  }
  match.mask = form.kind == ValueKind::number ? decode_value(form, mask_) : model::Value{mask_};
}

void RuleDecoder::compare(const nftnl_expr* data) {
  const Span value = bytes_of(data, NFTNL_EXPR_CMP_DATA);
  const std::uint32_t operation = number(data, NFTNL_EXPR_CMP_OP).value_or(UINT32_MAX);
  if (!starts_at(number(data, NFTNL_EXPR_CMP_SREG)) || loaded_.size() != 1 ||
      (operation != NFT_CMP_EQ && operation != NFT_CMP_NEQ)) {
    refuse("a comparison that this program never writes");
    return;
  }
  Match match;
  match.operands = take_operands();
  match.relation = operation == NFT_CMP_EQ ? Match::Relation::equal : Match::Relation::not_equal;
  const auto decoded = decode_value(form_of(match.operands.front()), value);
  if (!decoded) {
    refuse(fmt::format("a comparison of '{}' with a value of another width",
                       field_info(match.operands.front().field).name));
    return;
  }
  match.value = *decoded;
  refine(match);
  mask_.clear();
  decoded_.rule.matches.push_back(std::move(match));
}

void RuleDecoder::look_up(const nftnl_expr* data) {
  const std::uint32_t flags = number(data, NFTNL_EXPR_LOOKUP_FLAGS).value_or(0);
  if (!starts_at(number(data, NFTNL_EXPR_LOOKUP_SREG)) || (flags & ~std::uint32_t{NFT_LOOKUP_F_INV}) != 0) {
    refuse("a lookup that this program never writes");
    return;
  }
  const std::string set = text_or_empty(nftnl_expr_get_str(data, NFTNL_EXPR_LOOKUP_SET));
  if (const auto target = number(data, NFTNL_EXPR_LOOKUP_DREG)) {
    Verdict found{Verdict::Kind::look_up, {}, take_operands(), set};
    if (*target != NFT_REG_VERDICT || flags != 0 || !mask_.empty()) {
      refuse("a map lookup that this program never writes");
    }
    verdict(std::move(found));
    return;
  }
  Match match;
  match.operands = take_operands();
  match.relation = flags != 0 ? Match::Relation::not_in_set : Match::Relation::in_set;
  match.set = set;
  if (!mask_.empty()) {
    const ValueForm form = form_of(match.operands.front());
    match.mask = form.kind == ValueKind::number ? decode_value(form, mask_) : model::Value{mask_};
    mask_.clear();
  }
  decoded_.rule.matches.push_back(std::move(match));
}

void RuleDecoder::object(const nftnl_expr* data) {
  if (number(data, NFTNL_EXPR_OBJREF_IMM_TYPE) != std::optional<std::uint32_t>{NFT_OBJECT_COUNTER} ||
      !decoded_.rule.counter.empty() || !loaded_.empty()) {
    refuse("a reference to an object that is no counter");
    return;
  }
  decoded_.rule.counter = text_or_empty(nftnl_expr_get_str(data, NFTNL_EXPR_OBJREF_IMM_NAME));
}

void RuleDecoder::limit(const nftnl_expr* data) {
  const bool ours = nftnl_expr_get_u64(data, NFTNL_EXPR_LIMIT_UNIT) == 1 &&
                    number(data, NFTNL_EXPR_LIMIT_BURST) == std::optional{limit_burst} &&
                    number(data, NFTNL_EXPR_LIMIT_TYPE) == std::optional<std::uint32_t>{NFT_LIMIT_PKTS} &&
                    number(data, NFTNL_EXPR_LIMIT_FLAGS).value_or(0) == 0;
  const std::uint64_t rate = nftnl_expr_get_u64(data, NFTNL_EXPR_LIMIT_RATE);
  if (!ours || rate == 0 || rate > UINT32_MAX || !loaded_.empty() || decoded_.rule.log != model::Log{}) {
    refuse("a limit that this program never writes");
    return;
  }
  decoded_.rule.log.per_second = static_cast<std::uint32_t>(rate);
}

void RuleDecoder::log(const nftnl_expr* data) {
  auto& log = decoded_.rule.log;
  const std::uint16_t group =
      nftnl_expr_is_set(data, NFTNL_EXPR_LOG_GROUP) ? nftnl_expr_get_u16(data, NFTNL_EXPR_LOG_GROUP) : std::uint16_t{0};
  if (group == 0 || log.group != 0 || !loaded_.empty()) {
    refuse("a log that this program never writes");
    return;
  }
  log.group = group;
  log.prefix = text_or_empty(nftnl_expr_get_str(data, NFTNL_EXPR_LOG_PREFIX));
}

void RuleDecoder::reject(const nftnl_expr* data) {
  const std::uint32_t type = number(data, NFTNL_EXPR_REJECT_TYPE).value_or(UINT32_MAX);
  const bool has_code = nftnl_expr_is_set(data, NFTNL_EXPR_REJECT_CODE);
  const std::uint8_t code = nftnl_expr_get_u8(data, NFTNL_EXPR_REJECT_CODE);
  if (type == NFT_REJECT_TCP_RST) {
    verdict({Verdict::Kind::reject_with_tcp_reset, {}, {}, {}});
  } else if (type == NFT_REJECT_ICMPX_UNREACH && has_code && code == NFT_REJECT_ICMPX_ADMIN_PROHIBITED) {
    verdict({Verdict::Kind::reject_admin_prohibited, {}, {}, {}});
  } else {
    refuse("a reject of another kind");
  }
}

void RuleDecoder::immediate(const nftnl_expr* data) {
  const auto code = number(data, NFTNL_EXPR_IMM_VERDICT);
  const auto decoded =
      code ? decode_verdict(*code, nftnl_expr_get_str(data, NFTNL_EXPR_IMM_CHAIN)) : std::optional<Verdict>{};
  if (!decoded || number(data, NFTNL_EXPR_IMM_DREG) != std::optional<std::uint32_t>{NFT_REG_VERDICT}) {
    refuse("a verdict of another kind");
    return;
  }
  verdict(*decoded);
}

void RuleDecoder::verdict(Verdict verdict) {
  if (!loaded_.empty() || decoded_.rule.verdict.kind != Verdict::Kind::none) {
    refuse("two verdicts in one rule");
    return;
  }
  decoded_.rule.verdict = std::move(verdict);
  ended_ = true;
}

/// @param expression one of `known_expressions`
void RuleDecoder::expression(const nftnl_expr* expression) {
  const std::string_view name = nftnl_expr_get_str(expression, NFTNL_EXPR_NAME);
  if (ended_) {
    refuse(broken_expression);
  } else if (name == "meta") {
    load(keyed_operand(Source::meta, number(expression, NFTNL_EXPR_META_KEY).value_or(UINT32_MAX)),
         number(expression, NFTNL_EXPR_META_DREG));
  } else if (name == "ct") {
    load(keyed_operand(Source::ct, number(expression, NFTNL_EXPR_CT_KEY).value_or(UINT32_MAX)),
         number(expression, NFTNL_EXPR_CT_DREG));
  } else if (name == "socket") {
    load(keyed_operand(Source::socket, number(expression, NFTNL_EXPR_SOCKET_KEY).value_or(UINT32_MAX)),
         number(expression, NFTNL_EXPR_SOCKET_DREG));
  } else if (name == "fib") {
    const bool type =
        number(expression, NFTNL_EXPR_FIB_RESULT) == std::optional<std::uint32_t>{NFT_FIB_RESULT_ADDRTYPE};
    load(
        type ? keyed_operand(Source::fib, number(expression, NFTNL_EXPR_FIB_FLAGS).value_or(UINT32_MAX)) : std::nullopt,
        number(expression, NFTNL_EXPR_FIB_DREG));
  } else if (name == "payload") {
    payload(expression);
  } else if (name == "bitwise") {
    bitwise(expression);
  } else if (name == "cmp") {
    compare(expression);
  } else if (name == "lookup") {
    look_up(expression);
  } else if (name == "objref") {
    object(expression);
  } else if (name == "limit") {
    limit(expression);
  } else if (name == "log") {
    log(expression);
  } else if (name == "reject") {
    reject(expression);
  } else if (name == "masq") {
    verdict({Verdict::Kind::masquerade, {}, {}, {}});
  } else {
    immediate(expression);
  }
}

DecodedRule RuleDecoder::finish() && {
  if (decoded_.rule.log.per_second != 0 && decoded_.rule.log.group == 0) {
    refuse("a limit of nothing");
  }
  if (!loaded_.empty() || !mask_.empty()) {
    refuse("something loaded that nothing compares");
  }
  return std::move(decoded_);
}

/// libnftnl walks through user data by the lengths that stand in it and looks at no end.
bool lengths_add_up(Span userdata) {
  while (userdata.size() >= 2 && userdata.size() >= userdata[1] + std::size_t{2}) {
    userdata = userdata.subspan(userdata[1] + std::size_t{2});
  }
  return userdata.empty();
}

/// nft(8)'s user data of a rule; the comment ends with a zero.
std::string decode_comment(const nftnl_rule* rule) {
  std::uint32_t size = 0;
  const void* data = nftnl_rule_get_data(rule, NFTNL_RULE_USERDATA, &size);
  if (data == nullptr || !lengths_add_up({static_cast<const std::uint8_t*>(data), size})) {
    return {};
  }
  std::string comment;
  const auto take = [](const nftnl_udata* datum, void* out) noexcept {
    if (nftnl_udata_type(datum) == NFTNL_UDATA_RULE_COMMENT) {
      const std::string_view text{static_cast<const char*>(nftnl_udata_get(datum)), nftnl_udata_len(datum)};
      *static_cast<std::string*>(out) = text.substr(0, text.find('\0'));
    }
    return 0;
  };
  nftnl_udata_parse(data, size, take, &comment);
  return comment;
}

}  // namespace

std::optional<Verdict> decode_verdict(std::uint32_t code, const char* chain) {
  Verdict verdict;
  verdict.chain = text_or_empty(chain);
  switch (static_cast<std::int32_t>(code)) {
    case NF_ACCEPT: verdict.kind = Verdict::Kind::accept; break;
    case NF_DROP: verdict.kind = Verdict::Kind::drop; break;
    case NFT_JUMP: verdict.kind = Verdict::Kind::jump; break;
    case NFT_GOTO: verdict.kind = Verdict::Kind::goto_chain; break;
    case NFT_RETURN: verdict.kind = Verdict::Kind::return_to_caller; break;
    default: return std::nullopt;
  }
  return verdict;
}

DecodedRule decode_rule(const nlmsghdr& message) {
  Sieve sieve{message};
  const SievedRule sieved = sieve_rule(sieve, message);
  const RuleObject rule{allocated(nftnl_rule_alloc())};
  RuleDecoder decoder;
  if (sieved.sieved != Sieved::whole || nftnl_rule_nlmsg_parse(sieve.message(), rule.get()) < 0) {
    decoder.refuse("a rule that breaks the format");
  } else {
    const ExpressionIterator known{allocated(nftnl_expr_iter_create(rule.get()))};
    for (const std::string& foreign : sieved.expressions) {
      const nftnl_expr* expression = foreign.empty() ? nftnl_expr_iter_next(known.get()) : nullptr;
      expression != nullptr ? decoder.expression(expression) : decoder.refuse(foreign);
    }
  }
  DecodedRule decoded = std::move(decoder).finish();
  decoded.chain = text_or_empty(nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN));
  decoded.rule.comment = decode_comment(rule.get());
  return decoded;
}

}  // namespace killswitch::codec
