#include "killswitch/codec/nft_rule_decode.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/nft_rule.hpp"

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

/// Turns expressions into a rule one after another; what is loaded waits until it is compared or looked up.
class RuleDecoder {
public:
  void expression(Span bytes);
  DecodedRule finish() &&;

private:
  struct Loaded {
    Operand operand;
    std::uint32_t index;  ///< of the first 4-byte register
  };

  void refuse(std::string words) {
    if (decoded_.foreign.empty()) {
      decoded_.foreign = std::move(words);
    }
  }
  void load(std::optional<Operand> operand, const Attributes& data, std::size_t target);
  void payload(const Attributes& data);
  void bitwise(const Attributes& data);
  void compare(const Attributes& data);
  void look_up(const Attributes& data);
  void object(const Attributes& data);
  void reject(const Attributes& data);
  void verdict(Verdict verdict);
  [[nodiscard]] bool starts_at(const Attributes& data, std::size_t source) const;
  std::vector<Operand> take_operands();
  void refine(Match& match) const;
  void name_payload(Operand& operand) const;

  DecodedRule decoded_;
  std::vector<Loaded> loaded_;
  std::vector<std::uint8_t> mask_;
  bool ended_{false};
};

void RuleDecoder::load(std::optional<Operand> operand, const Attributes& data, std::size_t target) {
  const auto index = register_index(data.be32_or(target, 0));
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

void RuleDecoder::payload(const Attributes& data) {
  const auto base = payload_base_of(data.be32_or(NFTA_PAYLOAD_BASE, UINT32_MAX));
  const std::uint32_t offset = data.be32_or(NFTA_PAYLOAD_OFFSET, UINT32_MAX);
  const std::uint32_t length = data.be32_or(NFTA_PAYLOAD_LEN, 0);
  if (!base || offset > UINT16_MAX || length == 0 || length > 64 || data.has(NFTA_PAYLOAD_SREG)) {
    refuse("a payload expression that this program never writes");
    return;
  }
  Operand operand{model::Field::payload, *base, static_cast<std::uint16_t>(offset), static_cast<std::uint16_t>(length)};
  name_payload(operand);
  load(operand, data, NFTA_PAYLOAD_DREG);
}

bool RuleDecoder::starts_at(const Attributes& data, std::size_t source) const {
  return !loaded_.empty() && register_index(data.be32_or(source, 0)) == std::optional<std::uint32_t>{0};
}

void RuleDecoder::bitwise(const Attributes& data) {
  const Span mask = data.nest(NFTA_BITWISE_MASK).bytes(NFTA_DATA_VALUE);
  const Span flip = data.nest(NFTA_BITWISE_XOR).bytes(NFTA_DATA_VALUE);
  const bool zero = std::all_of(flip.begin(), flip.end(), [](std::uint8_t byte) { return byte == 0; });
  const bool in_place = data.be32_or(NFTA_BITWISE_SREG, 0) == data.be32_or(NFTA_BITWISE_DREG, 1);
  if (!starts_at(data, NFTA_BITWISE_SREG) || loaded_.size() != 1 || !in_place || !zero || !mask_.empty() ||
      mask.size() != form_of(loaded_.front().operand).width || data.be32_or(NFTA_BITWISE_OP, 0) != 0) {
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

void RuleDecoder::compare(const Attributes& data) {
  const Span value = data.nest(NFTA_CMP_DATA).bytes(NFTA_DATA_VALUE);
  const std::uint32_t operation = data.be32_or(NFTA_CMP_OP, UINT32_MAX);
  if (!starts_at(data, NFTA_CMP_SREG) || loaded_.size() != 1 || (operation != NFT_CMP_EQ && operation != NFT_CMP_NEQ)) {
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

void RuleDecoder::look_up(const Attributes& data) {
  const std::uint32_t flags = data.be32_or(NFTA_LOOKUP_FLAGS, 0);
  if (!starts_at(data, NFTA_LOOKUP_SREG) || (flags & ~std::uint32_t{NFT_LOOKUP_F_INV}) != 0) {
    refuse("a lookup that this program never writes");
    return;
  }
  const std::string set{data.text(NFTA_LOOKUP_SET)};
  if (data.has(NFTA_LOOKUP_DREG)) {
    Verdict lookup{Verdict::Kind::look_up, {}, take_operands(), set};
    if (data.be32_or(NFTA_LOOKUP_DREG, 1) != NFT_REG_VERDICT || flags != 0 || !mask_.empty()) {
      refuse("a map lookup that this program never writes");
    }
    verdict(std::move(lookup));
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

void RuleDecoder::object(const Attributes& data) {
  if (data.be32_or(NFTA_OBJREF_IMM_TYPE, 0) != NFT_OBJECT_COUNTER || !decoded_.rule.counter.empty() ||
      !loaded_.empty()) {
    refuse("a reference to an object that is no counter");
    return;
  }
  decoded_.rule.counter = data.text(NFTA_OBJREF_IMM_NAME);
}

void RuleDecoder::reject(const Attributes& data) {
  const std::uint32_t type = data.be32_or(NFTA_REJECT_TYPE, UINT32_MAX);
  const Span code = data.bytes(NFTA_REJECT_ICMP_CODE);
  if (type == NFT_REJECT_TCP_RST) {
    verdict({Verdict::Kind::reject_with_tcp_reset, {}, {}, {}});
  } else if (type == NFT_REJECT_ICMPX_UNREACH && code.size() == 1 && code[0] == NFT_REJECT_ICMPX_ADMIN_PROHIBITED) {
    verdict({Verdict::Kind::reject_admin_prohibited, {}, {}, {}});
  } else {
    refuse("a reject of another kind");
  }
}

void RuleDecoder::verdict(Verdict verdict) {
  if (!loaded_.empty() || decoded_.rule.verdict.kind != Verdict::Kind::none) {
    refuse("two verdicts in one rule");
    return;
  }
  decoded_.rule.verdict = std::move(verdict);
  ended_ = true;
}

void RuleDecoder::expression(Span bytes) {
  const Attributes attributes{bytes};
  const std::string_view name = attributes.text(NFTA_EXPR_NAME);
  const Attributes data = attributes.nest(NFTA_EXPR_DATA);
  if (ended_ || !attributes.valid() || !data.valid()) {
    refuse("an expression behind the verdict, or a broken one");
  } else if (name == "meta" && !data.has(NFTA_META_SREG)) {
    load(keyed_operand(Source::meta, data.be32_or(NFTA_META_KEY, UINT32_MAX)), data, NFTA_META_DREG);
  } else if (name == "ct" && !data.has(NFTA_CT_SREG) && !data.has(NFTA_CT_DIRECTION)) {
    load(keyed_operand(Source::ct, data.be32_or(NFTA_CT_KEY, UINT32_MAX)), data, NFTA_CT_DREG);
  } else if (name == "fib" && data.be32_or(NFTA_FIB_RESULT, 0) == NFT_FIB_RESULT_ADDRTYPE) {
    load(keyed_operand(Source::fib, data.be32_or(NFTA_FIB_FLAGS, UINT32_MAX)), data, NFTA_FIB_DREG);
  } else if (name == "payload") {
    payload(data);
  } else if (name == "bitwise") {
    bitwise(data);
  } else if (name == "cmp") {
    compare(data);
  } else if (name == "lookup") {
    look_up(data);
  } else if (name == "objref") {
    object(data);
  } else if (name == "reject") {
    reject(data);
  } else if (name == "masq" && !data.has(NFTA_MASQ_FLAGS) && !data.has(NFTA_MASQ_REG_PROTO_MIN)) {
    verdict({Verdict::Kind::masquerade, {}, {}, {}});
  } else if (name == "immediate" && data.be32_or(NFTA_IMMEDIATE_DREG, 1) == NFT_REG_VERDICT) {
    const auto decoded = decode_verdict(data.nest(NFTA_IMMEDIATE_DATA));
    decoded ? verdict(*decoded) : refuse("a verdict of another kind");
  } else {
    refuse(fmt::format("the expression '{}', which this program never writes", printable(name, 40)));
  }
}

DecodedRule RuleDecoder::finish() && {
  if (!loaded_.empty() || !mask_.empty()) {
    refuse("something loaded that nothing compares");
  }
  return std::move(decoded_);
}

/// nft(8)'s user data: type, length, value. The comment is of type 0 and ends with a zero.
std::string decode_comment(Span userdata) {
  while (userdata.size() >= 2) {
    const std::size_t length = userdata[1];
    if (userdata.size() < length + 2) {
      return {};
    }
    if (userdata[0] == 0) {
      const std::string_view text{reinterpret_cast<const char*>(userdata.data()) + 2, length};
      return std::string{text.substr(0, text.find('\0'))};
    }
    userdata = userdata.subspan(length + 2);
  }
  return {};
}

}  // namespace

std::optional<Verdict> decode_verdict(const Attributes& data) {
  const Attributes inner = data.nest(NFTA_DATA_VERDICT);
  const auto code = inner.be32(NFTA_VERDICT_CODE);
  if (!code) {
    return std::nullopt;
  }
  Verdict verdict;
  verdict.chain = inner.text(NFTA_VERDICT_CHAIN);
  switch (static_cast<std::int32_t>(*code)) {
    case NF_ACCEPT: verdict.kind = Verdict::Kind::accept; break;
    case NF_DROP: verdict.kind = Verdict::Kind::drop; break;
    case NFT_JUMP: verdict.kind = Verdict::Kind::jump; break;
    case NFT_GOTO: verdict.kind = Verdict::Kind::goto_chain; break;
    case NFT_RETURN: verdict.kind = Verdict::Kind::return_to_caller; break;
    default: return std::nullopt;
  }
  return verdict;
}

DecodedRule decode_rule(const Attributes& attributes) {
  RuleDecoder decoder;
  const bool sound = for_each_attribute(attributes.bytes(NFTA_RULE_EXPRESSIONS),
                                        [&](std::uint16_t, Span element) { decoder.expression(element); });
  DecodedRule decoded = std::move(decoder).finish();
  if (!sound && decoded.foreign.empty()) {
    decoded.foreign = "a broken list of expressions";
  }
  decoded.rule.comment = decode_comment(attributes.bytes(NFTA_RULE_USERDATA));
  return decoded;
}

}  // namespace killswitch::codec
