#include "killswitch/codec/nft_transaction.hpp"

namespace killswitch::codec {

ProbeBatch encode_probe(std::uint32_t sequence) {
  // Static: the words of the batch point into them.
  static const model::Table owner{model::TableFamily::inet, "killswitch_probe_owner", {}, {}, {}};
  static const model::Table persist{model::TableFamily::inet, "killswitch_probe_persist", {}, {}, {}};
  static const model::Table missing{model::TableFamily::inet, "killswitch_probe_missing", {}, {}, {}};
  static const model::Chain chain{"probe", std::nullopt, {}};
  static const model::Rule rule{
      {model::Match{{{model::Field::fib_daddr_iif_type}}, model::Match::Relation::equal, {}, 2U, {}}}, {}, {}, "fib"};
  TransactionWriter writer{{sequence, std::nullopt}};
  ProbeBatch probe;
  writer.create_table(owner, table_flag_owner);
  probe.owner = writer.last_sequence();
  writer.create_table(persist, table_flag_owner | table_flag_persist);
  probe.owner_persist = writer.last_sequence();
  // A plain table carries the fib rule, so that its fate does not hang on the flags.
  static const model::Table plain{model::TableFamily::inet, "killswitch_probe_fib", {}, {}, {}};
  writer.create_table(plain, 0);
  writer.create_chain(plain, chain);
  if (!writer.add_rule(plain, chain, rule).empty()) {
    return probe;  // cannot be: the rule is a constant that can be expressed
  }
  probe.fib = writer.last_sequence();
  static const model::Rule log{{}, {}, {}, "log", {1, "probe", 0}};
  if (!writer.add_rule(plain, chain, log).empty()) {
    return probe;
  }
  probe.log = writer.last_sequence();
  static const model::Rule socket{
      {model::Match{{{model::Field::socket_mark}}, model::Match::Relation::equal, {}, 1U, {}}}, {}, {}, "socket"};
  if (!writer.add_rule(plain, chain, socket).empty()) {
    return probe;
  }
  probe.socket = writer.last_sequence();
  static const model::Table netdev{model::TableFamily::netdev, "killswitch_probe_egress", {}, {}, {}};
  static const model::Chain egress{"probe", model::BaseChain{model::Hook::egress, 0, {"lo"}}, {}};
  writer.create_table(netdev, 0);
  writer.create_chain(netdev, egress);
  probe.egress = writer.last_sequence();
  static const model::Chain deviceless{"deviceless", model::BaseChain{model::Hook::egress, 0, {}}, {}};
  writer.create_chain(netdev, deviceless);
  probe.deviceless = writer.last_sequence();
  writer.add_devices(netdev, deviceless, {"lo"});
  probe.grows = writer.last_sequence();
  static const model::Chain ahead{"ahead", model::BaseChain{model::Hook::egress, 0, {"no-such-link"}}, {}};
  writer.create_chain(netdev, ahead);
  probe.ahead = writer.last_sequence();
  // Deleting what does not exist is what makes the kernel refuse the whole batch.
  writer.delete_table(missing);
  probe.batch = std::move(writer).finish();
  return probe;
}

}  // namespace killswitch::codec
