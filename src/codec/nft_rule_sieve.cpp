#include "nft_rule_sieve.hpp"

#include "killswitch/base/text.hpp"

#include <linux/netfilter/nf_tables.h>

#include <fmt/format.h>
#include <algorithm>
#include <iterator>
#include <string_view>

namespace killswitch::codec {
namespace {

constexpr Known meta[] = {{NFTA_META_DREG, Form::u32}, {NFTA_META_KEY, Form::u32}, {NFTA_META_SREG, Form::foreign}};
constexpr Known ct[] = {{NFTA_CT_DREG, Form::u32},
                        {NFTA_CT_KEY, Form::u32},
                        {NFTA_CT_DIRECTION, Form::foreign},
                        {NFTA_CT_SREG, Form::foreign}};
constexpr Known fib[] = {{NFTA_FIB_DREG, Form::u32}, {NFTA_FIB_RESULT, Form::u32}, {NFTA_FIB_FLAGS, Form::u32}};
constexpr Known socket[] = {
    {NFTA_SOCKET_KEY, Form::u32}, {NFTA_SOCKET_DREG, Form::u32}, {NFTA_SOCKET_LEVEL, Form::foreign}};
constexpr Known payload[] = {{NFTA_PAYLOAD_DREG, Form::u32},
                             {NFTA_PAYLOAD_BASE, Form::u32},
                             {NFTA_PAYLOAD_OFFSET, Form::u32},
                             {NFTA_PAYLOAD_LEN, Form::u32},
                             {NFTA_PAYLOAD_SREG, Form::foreign}};
constexpr Known bitwise[] = {{NFTA_BITWISE_SREG, Form::u32},
                             {NFTA_BITWISE_DREG, Form::u32},
                             {NFTA_BITWISE_LEN, Form::u32},
                             {NFTA_BITWISE_MASK, Form::nest, value_data},
                             {NFTA_BITWISE_XOR, Form::nest, value_data},
                             {NFTA_BITWISE_OP, Form::u32},
                             {NFTA_BITWISE_DATA, Form::foreign}};
constexpr Known cmp[] = {{NFTA_CMP_SREG, Form::u32}, {NFTA_CMP_OP, Form::u32}, {NFTA_CMP_DATA, Form::nest, value_data}};
constexpr Known lookup[] = {{NFTA_LOOKUP_SET, Form::text},
                            {NFTA_LOOKUP_SREG, Form::u32},
                            {NFTA_LOOKUP_DREG, Form::u32},
                            {NFTA_LOOKUP_FLAGS, Form::u32}};
constexpr Known objref[] = {
    {NFTA_OBJREF_IMM_TYPE, Form::u32}, {NFTA_OBJREF_IMM_NAME, Form::text}, {NFTA_OBJREF_SET_SREG, Form::foreign}};
constexpr Known reject[] = {{NFTA_REJECT_TYPE, Form::u32}, {NFTA_REJECT_ICMP_CODE, Form::u8}};
constexpr Known immediate[] = {{NFTA_IMMEDIATE_DREG, Form::u32}, {NFTA_IMMEDIATE_DATA, Form::nest, verdict_data}};

constexpr Known masq[] = {{NFTA_MASQ_FLAGS, Form::foreign},
                          {NFTA_MASQ_REG_PROTO_MIN, Form::foreign},
                          {NFTA_MASQ_REG_PROTO_MAX, Form::foreign}};

constexpr Known log[] = {{NFTA_LOG_GROUP, Form::u16},       {NFTA_LOG_PREFIX, Form::text},
                         {NFTA_LOG_LEVEL, Form::foreign},   {NFTA_LOG_FLAGS, Form::foreign},
                         {NFTA_LOG_SNAPLEN, Form::foreign}, {NFTA_LOG_QTHRESHOLD, Form::foreign}};
constexpr Known limit[] = {{NFTA_LIMIT_RATE, Form::u64},
                           {NFTA_LIMIT_UNIT, Form::u64},
                           {NFTA_LIMIT_BURST, Form::u32},
                           {NFTA_LIMIT_TYPE, Form::u32},
                           {NFTA_LIMIT_FLAGS, Form::u32}};

struct KnownExpression {
  std::string_view name;
  std::span<const Known> data;
};
constexpr KnownExpression known_expressions[] = {
    {"meta", meta}, {"ct", ct},         {"fib", fib},       {"payload", payload}, {"bitwise", bitwise},
    {"cmp", cmp},   {"lookup", lookup}, {"objref", objref}, {"reject", reject},   {"immediate", immediate},
    {"masq", masq}, {"log", log},       {"limit", limit},   {"socket", socket},
};

constexpr Known rule_attributes[] = {
    {NFTA_RULE_TABLE, Form::text}, {NFTA_RULE_CHAIN, Form::text}, {NFTA_RULE_USERDATA, Form::bytes}};

/// One expression of the list into the copy. @return in words what this program never writes; empty: it is copied
std::string sieve_expression(Sieve& sieve, const nlattr& element) {
  const Attributes parts{payload_of(element)};
  const std::string_view name = parts.text(NFTA_EXPR_NAME);
  const auto known = std::find_if(std::begin(known_expressions), std::end(known_expressions),
                                  [&](const KnownExpression& one) { return one.name == name; });
  if (!parts.valid() || mnl_attr_get_type(&element) != NFTA_LIST_ELEM) {
    return broken_expression;
  }
  Sieved sieved = Sieved::foreign;
  if (known != std::end(known_expressions)) {
    const Known expression[] = {{NFTA_EXPR_NAME, Form::text}, {NFTA_EXPR_DATA, Form::nest, known->data}};
    nlattr* nest = sieve.start(NFTA_LIST_ELEM);
    sieved = sieve.copy(payload_of(element), expression);
    sieved == Sieved::whole ? sieve.end(nest) : sieve.cancel(nest);
  }
  if (sieved == Sieved::foreign) {
    return fmt::format("the expression '{}', which this program never writes", printable(name, 40));
  }
  return sieved == Sieved::broken ? broken_expression : "";
}

}  // namespace

SievedRule sieve_rule(Sieve& sieve, const nlmsghdr& message) {
  SievedRule result;
  result.sieved = sieve.copy(attributes_of(message), rule_attributes);
  const Attributes attributes{attributes_of(message)};
  nlattr* list = sieve.start(NFTA_RULE_EXPRESSIONS);
  const bool sound = for_each_attribute(attributes.bytes(NFTA_RULE_EXPRESSIONS), [&](const nlattr& element) {
    result.expressions.push_back(sieve_expression(sieve, element));
  });
  sieve.end(list);
  if (!sound) {
    result.expressions.emplace_back("a broken list of expressions");
  }
  return result;
}

}  // namespace killswitch::codec
