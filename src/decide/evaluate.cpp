#include "killswitch/decide/evaluate.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace killswitch::decide {
namespace {

using namespace model;

constexpr std::uint32_t nfproto_ipv4 = 2;
constexpr std::uint32_t nfproto_ipv6 = 10;
constexpr std::uint32_t ether_type_ipv4 = 0x0800;
constexpr std::uint32_t ether_type_ipv6 = 0x86dd;
constexpr std::uint8_t protocol_icmp = 1;
constexpr std::uint8_t protocol_icmpv6 = 58;
constexpr int call_depth = 16;  // NFT_JUMP_STACK_SIZE

std::optional<Value> number(std::optional<std::uint32_t> value) {
  return value ? std::optional<Value>{*value} : std::nullopt;
}

std::optional<Value> text(const std::string& value) {
  return value.empty() ? std::nullopt : std::optional<Value>{value};
}

std::optional<Value> address(const IpAddress& value, Family family) {
  return value.family == family ? std::optional<Value>{value} : std::nullopt;
}

std::optional<Value> bytes_of(const Packet& packet, const Operand& operand) {
  const std::size_t end = std::size_t{operand.offset} + operand.length;
  const Bytes& bytes = operand.base == PayloadBase::network ? packet.network : packet.transport;
  if (operand.base == PayloadBase::link || end > bytes.size()) {
    return std::nullopt;
  }
  const auto first = bytes.begin() + operand.offset;
  return Bytes{first, first + operand.length};
}

std::optional<std::uint32_t> port_number(const std::optional<Port>& port) {
  return port ? std::optional<std::uint32_t>{port->number} : std::nullopt;
}

std::optional<std::uint32_t> interface_number(const std::optional<IfIndex>& index) {
  return index ? std::optional<std::uint32_t>{index->number} : std::nullopt;
}

std::optional<std::uint32_t> icmp_type_of(const Packet& packet, std::uint8_t protocol) {
  if (packet.protocol != protocol || !packet.icmp_type) {
    return std::nullopt;
  }
  return *packet.icmp_type;
}

bool is_of_any_frame(Field field) {
  constexpr std::array fields = {Field::iif,        Field::oif,  Field::iifkind, Field::oifkind,
                                 Field::ether_type, Field::mark, Field::skuid};
  return std::find(fields.begin(), fields.end(), field) != fields.end();
}

std::optional<Value> load(const Packet& packet, const Operand& operand) {
  if (packet.ether_type != 0 && !is_of_any_frame(operand.field)) {
    return std::nullopt;
  }
  const bool is_ipv4 = packet.destination.family == Family::ipv4;
  switch (operand.field) {
    case Field::iif: return number(interface_number(packet.iif));
    case Field::oif: return number(interface_number(packet.oif));
    case Field::iifkind: return text(packet.iifkind);
    case Field::oifkind: return text(packet.oifkind);
    case Field::nfproto: return Value{is_ipv4 ? nfproto_ipv4 : nfproto_ipv6};
    case Field::ether_type:
      return Value{packet.ether_type != 0 ? packet.ether_type : is_ipv4 ? ether_type_ipv4 : ether_type_ipv6};
    case Field::l4proto: return Value{std::uint32_t{packet.protocol}};
    case Field::mark: return Value{packet.mark};
    case Field::skuid: return number(packet.uid);
    case Field::ip_saddr: return address(packet.source, Family::ipv4);
    case Field::ip_daddr: return address(packet.destination, Family::ipv4);
    case Field::ip6_saddr: return address(packet.source, Family::ipv6);
    case Field::ip6_daddr: return address(packet.destination, Family::ipv6);
    case Field::ip6_hoplimit: return is_ipv4 ? std::nullopt : std::optional<Value>{std::uint32_t{packet.hop_limit}};
    case Field::icmp_type: return number(icmp_type_of(packet, protocol_icmp));
    case Field::icmpv6_type: return number(icmp_type_of(packet, protocol_icmpv6));
    case Field::th_sport: return number(port_number(packet.source_port));
    case Field::th_dport: return number(port_number(packet.destination_port));
    case Field::fib_daddr_iif_type: return Value{packet.fib_type};
    case Field::ct_state: return Value{packet.ct_state};
    case Field::payload: return bytes_of(packet, operand);
  }
  return std::nullopt;
}

void apply_mask(Value& value, const Value& mask) {
  if (auto* bits = std::get_if<std::uint32_t>(&value); bits != nullptr && std::holds_alternative<std::uint32_t>(mask)) {
    *bits &= std::get<std::uint32_t>(mask);
  }
  if (auto* bytes = std::get_if<Bytes>(&value); bytes != nullptr && std::holds_alternative<Bytes>(mask)) {
    const auto& masked = std::get<Bytes>(mask);
    for (std::size_t i = 0; i < std::min(bytes->size(), masked.size()); ++i) {
      (*bytes)[i] = static_cast<std::uint8_t>((*bytes)[i] & masked[i]);
    }
  }
}

/// Raw payload is compared with typed elements by its bytes: a quoted address is still an address.
bool same(const Value& loaded, const Value& element) {
  if (const auto* prefix = std::get_if<Prefix>(&element)) {
    const auto* held = std::get_if<IpAddress>(&loaded);
    return held != nullptr && prefix->contains(*held);
  }
  const auto* bytes = std::get_if<Bytes>(&loaded);
  if (bytes == nullptr) {
    return loaded == element;
  }
  if (const auto* held = std::get_if<IpAddress>(&element)) {
    return std::equal(bytes->begin(), bytes->end(), held->octets().begin(), held->octets().end());
  }
  if (const auto* held = std::get_if<std::uint32_t>(&element)) {
    std::uint32_t wire = 0;
    for (const auto byte : *bytes) {
      wire = wire << 8U | byte;
    }
    return wire == *held;
  }
  return loaded == element;
}

const SetElement* find_element(const Set& set, const std::vector<Value>& key) {
  for (const auto& element : set.elements) {
    if (element.key.size() == key.size() && std::equal(key.begin(), key.end(), element.key.begin(),
                                                       [](const auto& a, const auto& b) { return same(a, b); })) {
      return &element;
    }
  }
  return nullptr;
}

class Interpreter {
public:
  Interpreter(const Table& table, const Packet& packet) : table_{table}, packet_{packet} {}

  Evaluation run(const Chain& chain) {
    if (auto decided = run_chain(chain, 0)) {
      return *decided;
    }
    return Evaluation{Verdict::Kind::drop, chain.name, {}};  // base chains have policy drop
  }

private:
  const Set* find_set(const std::string& name) const {
    const auto found =
        std::find_if(table_.sets.begin(), table_.sets.end(), [&](const Set& s) { return s.name == name; });
    return found == table_.sets.end() ? nullptr : &*found;
  }

  std::optional<std::vector<Value>> load_all(const std::vector<Operand>& operands) const {
    std::vector<Value> values;
    for (const auto& operand : operands) {
      auto value = load(packet_, operand);
      if (!value) {
        return std::nullopt;
      }
      values.push_back(std::move(*value));
    }
    return values;
  }

  bool holds(const Match& match) const {
    auto values = load_all(match.operands);
    if (!values) {
      return false;
    }
    if (match.mask) {
      apply_mask(values->front(), *match.mask);
    }
    const Set* set = find_set(match.set);
    switch (match.relation) {
      case Match::Relation::equal: return same(values->front(), match.value);
      case Match::Relation::not_equal: return !same(values->front(), match.value);
      case Match::Relation::in_set: return set != nullptr && find_element(*set, *values) != nullptr;
      case Match::Relation::not_in_set: return set != nullptr && find_element(*set, *values) == nullptr;
    }
    return false;
  }

  Verdict resolve(const Verdict& verdict) const {
    if (verdict.kind != Verdict::Kind::look_up) {
      return verdict;
    }
    const auto key = load_all(verdict.key);
    const Set* map = find_set(verdict.map);
    const SetElement* element = key && map != nullptr ? find_element(*map, *key) : nullptr;
    return element != nullptr && element->verdict ? *element->verdict : Verdict{};
  }

  std::optional<Evaluation> call(const std::string& name, int depth) {
    const auto chain =
        std::find_if(table_.chains.begin(), table_.chains.end(), [&](const Chain& c) { return c.name == name; });
    if (chain == table_.chains.end() || depth >= call_depth) {
      return Evaluation{Verdict::Kind::drop, name, "no such chain"};
    }
    return run_chain(*chain, depth + 1);
  }

  std::optional<Evaluation> run_chain(const Chain& chain, int depth) {
    for (const auto& rule : chain.rules) {
      const bool matches =
          std::all_of(rule.matches.begin(), rule.matches.end(), [this](const Match& match) { return holds(match); });
      if (!matches) {
        continue;
      }
      const Verdict verdict = resolve(rule.verdict);
      switch (verdict.kind) {
        case Verdict::Kind::none:
        case Verdict::Kind::look_up: break;
        case Verdict::Kind::return_to_caller: return std::nullopt;
        case Verdict::Kind::jump:
          if (auto decided = call(verdict.chain, depth)) {
            return decided;
          }
          break;
        case Verdict::Kind::goto_chain: return call(verdict.chain, depth);
        case Verdict::Kind::accept:
        case Verdict::Kind::drop:
        case Verdict::Kind::reject_with_tcp_reset:
        case Verdict::Kind::reject_admin_prohibited: return Evaluation{verdict.kind, chain.name, rule.comment};
      }
    }
    return std::nullopt;
  }

  const Table& table_;
  const Packet& packet_;
};

}  // namespace

Evaluation evaluate(const Ruleset& ruleset, const Packet& packet) {
  for (const auto& table : ruleset.tables) {
    for (const auto& chain : table.chains) {
      if (chain.base && chain.base->hook == packet.hook) {
        return Interpreter{table, packet}.run(chain);
      }
    }
  }
  return {};
}

}  // namespace killswitch::decide
