#include "killswitch/codec/nft_text.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/nft_batch.hpp"
#include "killswitch/codec/nft_fields.hpp"
#include "killswitch/codec/nft_rule.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using model::Match;
using model::Operand;
using model::Verdict;

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string text = "0x";
  for (const std::uint8_t byte : bytes) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

/// No quotes, no control characters: what stands between quotes ends where it should.
std::string in_quotes(std::string_view text) {
  return '"' + safe_comment(text) + '"';
}

std::string_view base_name(model::PayloadBase base) {
  switch (base) {
    case model::PayloadBase::link: return "ll";
    case model::PayloadBase::network: return "nh";
    case model::PayloadBase::transport: break;
  }
  return "th";
}

std::string operand_text(const Operand& operand) {
  if (operand.field == model::Field::payload) {
    return fmt::format("@{},{},{}", base_name(operand.base), operand.offset * 8U, operand.length * 8U);
  }
  return std::string{field_info(operand.field).name};
}

std::string operands_text(const std::vector<Operand>& operands) {
  std::vector<std::string> parts;
  for (const Operand& operand : operands) {
    // A concatenation would end at a fib expression's own dot; the key of one meta field needs its keyword.
    parts.push_back(operand_text(operand));
  }
  return join(parts, " . ");
}

std::string number_text(model::Field field, std::uint32_t number) {
  if (field == model::Field::mark) {
    return fmt::format("0x{:08x}", number);
  }
  return field == model::Field::ether_type ? fmt::format("0x{:04x}", number) : fmt::format("{}", number);
}

std::string value_text(const Operand& operand, const model::Value& value) {
  if (operand.field == model::Field::payload) {
    const auto encoded = encode_value(form_of(operand), value);
    return encoded ? hex(encoded->view()) : "0x";
  }
  if (const auto* number = std::get_if<std::uint32_t>(&value)) {
    return number_text(operand.field, *number);
  }
  if (const auto* address = std::get_if<model::IpAddress>(&value)) {
    return to_string(*address);
  }
  if (const auto* prefix = std::get_if<model::Prefix>(&value)) {
    return to_string(*prefix);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return in_quotes(*text);
  }
  return hex(std::get<model::Bytes>(value));
}

std::string mask_text(const Operand& operand, const Match& match) {
  const auto mask = encode_mask(form_of(operand), match);
  if (match.mask && mask && std::holds_alternative<std::uint32_t>(*match.mask) &&
      operand.field != model::Field::payload) {
    return number_text(operand.field, std::get<std::uint32_t>(*match.mask));
  }
  return mask ? hex(mask->view()) : "0x";
}

std::string match_text(const Match& match) {
  std::string text = operands_text(match.operands);
  if (match.operands.empty()) {
    return text;
  }
  const Operand& first = match.operands.front();
  if (match.mask) {
    text += " & " + mask_text(first, match);
  }
  switch (match.relation) {
    // "==" keeps `ct state == 2` from meaning "some bit of 2", which is what nft(8) makes of it without.
    case Match::Relation::equal: return text + " == " + value_text(first, match.value);
    case Match::Relation::not_equal: return text + " != " + value_text(first, match.value);
    case Match::Relation::in_set: return text + " @" + match.set;
    case Match::Relation::not_in_set: break;
  }
  return text + " != @" + match.set;
}

std::string verdict_text(const Verdict& verdict) {
  switch (verdict.kind) {
    case Verdict::Kind::none: return {};
    case Verdict::Kind::accept: return "accept";
    case Verdict::Kind::drop: return "drop";
    case Verdict::Kind::jump: return "jump " + verdict.chain;
    case Verdict::Kind::goto_chain: return "goto " + verdict.chain;
    case Verdict::Kind::return_to_caller: return "return";
    case Verdict::Kind::reject_with_tcp_reset: return "reject with tcp reset";
    case Verdict::Kind::reject_admin_prohibited: return "reject with icmpx admin-prohibited";
    case Verdict::Kind::masquerade: return "masquerade";
    case Verdict::Kind::look_up: break;
  }
  return operands_text(verdict.key) + " vmap @" + verdict.map;
}

std::string log_text(const model::Log& log) {
  const auto limit = log.per_second != 0
                         ? fmt::format("limit rate {}/second burst {} packets ", log.per_second, limit_burst)
                         : std::string{};
  const auto prefix = log.prefix.empty() ? std::string{} : "prefix " + in_quotes(log.prefix) + " ";
  return fmt::format("{}log {}group {}", limit, prefix, log.group);
}

std::string element_value_text(const model::Value& value, bool mark) {
  return value_text(Operand{mark ? model::Field::mark : model::Field::iif}, value);
}

std::string verdict_suffix(const std::optional<Verdict>& verdict) {
  return verdict ? " : " + verdict_text(*verdict) : "";
}

/// The elements as the kernel will hold them: sorted, without doubles; of a raw set as the bytes they are.
std::vector<std::string> element_texts(const model::Set& set, const std::vector<Operand>& raw) {
  std::vector<std::string> texts;
  const auto encoded = encode_elements(set);
  if (!encoded) {
    return texts;
  }
  for (const model::SetElement& element : set.elements) {
    const auto own = encode_elements(model::Set{set.name, set.key, set.verdict_map, set.interval, {element}});
    if (!own || std::find(encoded->begin(), encoded->end(), own->front()) == encoded->end()) {
      continue;  // inside another prefix
    }
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < element.key.size(); ++i) {
      const KeyTypeInfo& info = key_type_info(set.key[i]);
      const auto bytes = encode_value(info.form, element.key[i]);
      parts.push_back(!raw.empty() && bytes ? hex(bytes->view())
                                            : element_value_text(element.key[i], set.key[i] == model::KeyType::mark));
    }
    texts.push_back(join(parts, " . ") + verdict_suffix(element.verdict));
  }
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return texts;
}

void render_set(std::string& out, const model::Table& table, const model::Set& set) {
  const auto raw = raw_operands(table, set);
  std::vector<std::string> types;
  for (const model::KeyType type : set.key) {
    types.emplace_back(key_type_info(type).name);
  }
  out += fmt::format("\t{} {} {{\n", set.verdict_map ? "map" : "set", set.name);
  out += raw.empty() ? "\t\ttype " + join(types, " . ") : "\t\ttypeof " + operands_text(raw);
  out += set.verdict_map ? " : verdict\n" : "\n";
  out += set.interval ? "\t\tflags interval\n" : "";
  const auto texts = element_texts(set, raw);
  if (!texts.empty()) {
    out += "\t\telements = { " + join(texts, ",\n\t\t\t     ") + " }\n";
  }
  out += "\t}\n\n";
}

void render_chain(std::string& out, const model::Chain& chain) {
  out += fmt::format("\tchain {} {{\n", chain.name);
  if (chain.base) {
    std::string devices;
    for (const std::string& device : chain.base->devices) {
      devices += (devices.empty() ? "" : ", ") + in_quotes(device);
    }
    out += fmt::format("\t\ttype {} hook {}{} priority {}; policy drop;\n",
                       chain.base->type == model::ChainType::nat ? "nat" : "filter", to_string(chain.base->hook),
                       devices.empty() ? "" : " devices = { " + devices + " }", chain.base->priority);
  }
  for (const model::Rule& rule : chain.rules) {
    out += "\t\t" + render_nft_rule(rule) + "\n";
  }
  out += "\t}\n\n";
}

}  // namespace

std::string render_nft_element(const model::SetElement& element) {
  std::vector<std::string> parts;
  for (const model::Value& value : element.key) {
    parts.push_back(element_value_text(value, false));
  }
  return join(parts, " . ") + verdict_suffix(element.verdict);
}

std::string render_nft_rule(const model::Rule& rule) {
  std::vector<std::string> parts;
  for (const Match& match : rule.matches) {
    parts.push_back(match_text(match));
  }
  if (!rule.counter.empty()) {
    parts.push_back("counter name " + in_quotes(rule.counter));
  }
  if (rule.log.group != 0) {
    parts.push_back(log_text(rule.log));
  }
  if (rule.verdict.kind != Verdict::Kind::none) {
    parts.push_back(verdict_text(rule.verdict));
  }
  if (!rule.comment.empty()) {
    parts.push_back("comment " + in_quotes(rule.comment));
  }
  return join(parts, " ");
}

std::string render_nft_text(const model::Ruleset& ruleset) {
  std::string out;
  for (const model::Table& table : ruleset.tables) {
    out += fmt::format("table {} {} {{\n", table.family == model::TableFamily::inet ? "inet" : "netdev", table.name);
    for (const std::string& counter : table.counters) {
      out += fmt::format("\tcounter {} {{\n\t}}\n\n", counter);
    }
    // Chains before the maps that name them would do as well: nft(8) sends all chains first.
    for (const model::Set& set : table.sets) {
      render_set(out, table, set);
    }
    for (const model::Chain& chain : table.chains) {
      render_chain(out, chain);
    }
    if (out.ends_with("\n\n")) {
      out.pop_back();
    }
    out += "}\n";
  }
  return out;
}

}  // namespace killswitch::codec
