#include "nft_sieve.hpp"

#include <arpa/inet.h>
#include <linux/netfilter.h>

#include <algorithm>
#include <string>

namespace killswitch::codec {
namespace {

constexpr Known verdict_parts[] = {{NFTA_VERDICT_CODE, Form::u32}, {NFTA_VERDICT_CHAIN, Form::text}};

bool has_form(const nlattr& attribute, Form form) {
  const std::size_t length = mnl_attr_get_payload_len(&attribute);
  switch (form) {
    case Form::u8: return length == sizeof(std::uint8_t);
    case Form::u16: return length == sizeof(std::uint16_t);
    case Form::u32: return length == sizeof(std::uint32_t);
    case Form::u64: return length == sizeof(std::uint64_t);
    case Form::text: return length <= NFT_NAME_MAXLEN;
    case Form::bytes: return length > 0;
    case Form::value: return length > 0 && length <= NFT_DATA_VALUE_MAXLEN;
    case Form::nest:
    case Form::list:
    case Form::verdict:
    case Form::foreign: break;
  }
  return false;
}

}  // namespace

/// The copy can have more than the original by the zeros that end its names and by padding at its end.
Sieve::Sieve(const nlmsghdr& message) : buffer_(std::size_t{2} * MNL_ALIGN(message.nlmsg_len)) {
  message_ = mnl_nlmsg_put_header(buffer_.data());
  message_->nlmsg_type = message.nlmsg_type;
  message_->nlmsg_flags = message.nlmsg_flags;
  message_->nlmsg_seq = message.nlmsg_seq;
  void* family = mnl_nlmsg_put_extra_header(message_, sizeof(nfgenmsg));
  std::copy_n(payload_of(message).data(), sizeof(nfgenmsg), static_cast<std::uint8_t*>(family));
}

Sieved Sieve::copy(Span attributes, std::span<const Known> known) {
  Sieved result = Sieved::whole;
  const bool sound = for_each_attribute(attributes, [&](const nlattr& attribute) {
    const auto one = std::find_if(known.begin(), known.end(),
                                  [&](const Known& each) { return each.type == mnl_attr_get_type(&attribute); });
    if (one != known.end()) {
      result = std::max(result, copy_one(attribute, *one));
    }
  });
  return sound ? result : Sieved::broken;
}

Sieved Sieve::copy_one(const nlattr& attribute, const Known& known) {
  if (known.form == Form::foreign) {
    return Sieved::foreign;
  }
  if (known.form == Form::nest || known.form == Form::list) {
    return copy_nest(attribute, known);
  }
  if (known.form == Form::verdict) {
    return copy_verdict(attribute);
  }
  if (!has_form(attribute, known.form)) {
    return Sieved::broken;
  }
  const Span bytes = payload_of(attribute);
  bool copied = false;
  if (known.form == Form::text) {
    const std::string text{bytes.begin(), std::find(bytes.begin(), bytes.end(), std::uint8_t{0})};
    copied = mnl_attr_put_strz_check(message_, buffer_.size(), known.type, text.c_str());
  } else {
    copied = mnl_attr_put_check(message_, buffer_.size(), known.type, bytes.size(), bytes.data());
  }
  return copied ? Sieved::whole : Sieved::broken;
}

Sieved Sieve::copy_nest(const nlattr& attribute, const Known& known) {
  bool listed = true;
  if (known.form == Form::list) {
    (void)for_each_attribute(payload_of(attribute), [&](const nlattr& inner) {
      listed = listed && mnl_attr_get_type(&inner) == known.inside.front().type;
    });
  }
  nlattr* nest = mnl_attr_nest_start_check(message_, buffer_.size(), known.type);
  if (nest == nullptr || !listed) {
    return nest == nullptr ? Sieved::broken : Sieved::foreign;
  }
  const Sieved result = copy(payload_of(attribute), known.inside);
  end(nest);
  return result;
}

/// libnftnl needs a code that it knows and, to jump, the name of a chain.
Sieved Sieve::copy_verdict(const nlattr& attribute) {
  const Attributes parts{payload_of(attribute)};
  if (parts.bytes(NFTA_VERDICT_CODE).size() != sizeof(std::uint32_t)) {
    return Sieved::broken;
  }
  std::uint32_t code = 0;
  std::copy_n(parts.bytes(NFTA_VERDICT_CODE).data(), sizeof code, reinterpret_cast<std::uint8_t*>(&code));
  const auto verdict = static_cast<std::int32_t>(ntohl(code));
  const bool jumps = verdict == NFT_JUMP || verdict == NFT_GOTO;
  if (!jumps && verdict != NF_ACCEPT && verdict != NF_DROP && verdict != NFT_RETURN) {
    return Sieved::foreign;
  }
  if (jumps && !parts.has(NFTA_VERDICT_CHAIN)) {
    return Sieved::broken;
  }
  return copy_nest(attribute, {NFTA_DATA_VERDICT, Form::nest, verdict_parts});
}

}  // namespace killswitch::codec
