// The nf_tables codec without a kernel: values, batches decoded back, differences in words, nft(8) text.
#include "killswitch/codec/netlink.hpp"
#include "killswitch/codec/nft_batch.hpp"
#include "killswitch/codec/nft_dump.hpp"
#include "killswitch/codec/nft_text.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/nft_samples.hpp"

#include <arpa/inet.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

using namespace killswitch;
using namespace killswitch::codec;

namespace {

using samples::rule;
using test::check_golden;

/// Messages of one buffer with their sequence numbers.
std::vector<nlmsghdr> headers_of(const std::vector<std::uint8_t>& bytes) {
  std::vector<nlmsghdr> headers;
  for (std::size_t at = 0; at + sizeof(nlmsghdr) <= bytes.size();) {
    nlmsghdr header{};
    std::memcpy(&header, bytes.data() + at, sizeof header);
    headers.push_back(header);
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return headers;
}

/// What creates is of the same form as what is dumped: the decoder reads our own batch.
model::Observation decode_batch(const Batch& batch) {
  DumpDecoder decoder;
  for (const nlmsghdr& header : headers_of(batch.bytes)) {
    const auto progress = decoder.feed(batch.bytes, header.nlmsg_seq);
    REQUIRE(progress);
  }
  return decoder.finish();
}

/// One message of the family inet behind `bytes`; `write` appends its attributes.
template <typename Write>
void append_message(std::vector<std::uint8_t>& bytes, std::uint16_t type, std::uint16_t flags, std::uint32_t sequence,
                    Write write) {
  alignas(nlmsghdr) std::array<char, 1024> buffer{};
  nlmsghdr* message = nftnl_nlmsg_build_hdr(buffer.data(), type, NFPROTO_INET, flags, sequence);
  write(message);
  bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + message->nlmsg_len);
}

Batch replacement(const model::Ruleset& desired, const model::Ruleset& held = {}) {
  const auto batch = encode_replacement(desired, held, {}, {100, 7});
  INFO((batch ? "" : batch.error().message()));
  REQUIRE(batch);
  return *batch;
}

std::size_t count_of(const Batch& batch, std::uint16_t type) {
  const auto headers = headers_of(batch.bytes);
  return static_cast<std::size_t>(std::count_if(headers.begin(), headers.end(), [&](const nlmsghdr& header) {
    return header.nlmsg_type == ((NFNL_SUBSYS_NFTABLES << 8U) | type);
  }));
}

}  // namespace

TEST_CASE("the tables of fields and key types are complete and in the order of the model") {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < all_fields().size(); ++i) {
    CHECK(static_cast<std::size_t>(all_fields()[i].field) == i);
    names.insert(all_fields()[i].name);
  }
  CHECK(names.size() == all_fields().size());
  CHECK(all_fields().back().field == model::Field::payload);
  for (std::size_t i = 0; i < all_key_types().size(); ++i) {
    CHECK(static_cast<std::size_t>(all_key_types()[i].type) == i);
  }
  CHECK(all_key_types().back().type == model::KeyType::uid);
}

TEST_CASE("values stand in registers as the kernel wants them, and come back") {
  struct Row {
    model::Field field;
    model::Value value;
    std::vector<std::uint8_t> bytes;
  };
  const std::vector<Row> rows{
      {model::Field::th_dport, 1194U, {0x04, 0xaa}},
      {model::Field::l4proto, 17U, {17}},
      {model::Field::mark, 0x01020304U, {4, 3, 2, 1}},  // of this machine's byte order
      {model::Field::ip_daddr, samples::address("192.0.2.1"), {192, 0, 2, 1}},
      {model::Field::oifkind, std::string{"tun"}, {'t', 'u', 'n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
  };
  for (const Row& row : rows) {
    const ValueForm form = field_info(row.field).form;
    const auto encoded = encode_value(form, row.value);
    REQUIRE(encoded);
    CHECK(std::vector<std::uint8_t>{encoded->view().begin(), encoded->view().end()} == row.bytes);
    CHECK(decode_value(form, row.bytes) == row.value);
  }
}

TEST_CASE("values of another kind, or too large, are refused") {
  const std::vector<std::pair<model::Field, model::Value>> rows{
      {model::Field::th_dport, 65536U},
      {model::Field::l4proto, 256U},
      {model::Field::ip_daddr, samples::address("2001:db8::1")},
      {model::Field::ip6_daddr, samples::address("192.0.2.1")},
      {model::Field::ip_daddr, 1U},
      {model::Field::oifkind, std::string{"a-name-too-long-x"}},
      {model::Field::oifkind, std::string{}},
      {model::Field::mark, model::Bytes{1, 2}},
  };
  for (const auto& [field, value] : rows) {
    CHECK(!encode_value(field_info(field).form, value));
  }
}

TEST_CASE("a batch decodes to the ruleset it was made of") {
  for (const auto& ruleset : {samples::everything(), samples::realistic(3)}) {
    const auto seen = decode_batch(replacement(ruleset));
    CHECK(seen.differences == std::vector<std::string>{});
    CHECK(differences(ruleset, seen.ruleset) == std::vector<std::string>{});
    CHECK(seen.ruleset.tables[0].chains == ruleset.tables[0].chains);  // rules come back value by value
  }
}

TEST_CASE("one acknowledgement a batch, the generation on its first message, and words for every message") {
  const auto ruleset = samples::everything();  // the words point into it
  const Batch batch = replacement(ruleset);
  const auto headers = headers_of(batch.bytes);
  REQUIRE(headers.size() == batch.steps.size());
  for (const nlmsghdr& header : headers) {
    CHECK(((header.nlmsg_flags & NLM_F_ACK) != 0) == (header.nlmsg_seq == batch.acknowledged));
    CHECK(batch.words(header.nlmsg_seq) != "an unknown message");
  }
  CHECK(headers.front().nlmsg_seq == 100);
  CHECK(headers.front().nlmsg_type == NFNL_MSG_BATCH_BEGIN);
  CHECK(headers.back().nlmsg_type == NFNL_MSG_BATCH_END);
  CHECK(batch.acknowledged == headers.back().nlmsg_seq - 1);
  const Attributes begin{Span{batch.bytes}.subspan(20, headers.front().nlmsg_len - 20)};
  const Span generation = begin.bytes(NFNL_BATCH_GENID);
  CHECK(std::vector<std::uint8_t>{generation.begin(), generation.end()} == std::vector<std::uint8_t>{0, 0, 0, 7});

  std::vector<std::string> words;
  for (const nlmsghdr& header : headers) {
    words.push_back(batch.words(header.nlmsg_seq));
  }
  for (const char* expected :
       {"create table 'killswitch'", "create set 'transport4'", "create chain 'output'", "create counter 'dns'",
        "add elements to set 'dns_ports'", "add rule 'G1: VPN transport' to chain output"}) {
    CHECK(std::find(words.begin(), words.end(), expected) != words.end());
  }
}

TEST_CASE("a full replacement keeps base chains, counters and the elements that stay") {
  const Batch batch = replacement(samples::realistic(2), samples::realistic(1));
  CHECK(count_of(batch, NFT_MSG_DELCHAIN) == 0);
  CHECK(count_of(batch, NFT_MSG_NEWOBJ) == 0);
  CHECK(count_of(batch, NFT_MSG_DELRULE) == 1);
  CHECK(count_of(batch, NFT_MSG_DELSETELEM) == 2);  // one server, in two sets
  CHECK(count_of(batch, NFT_MSG_NEWSETELEM) == 2);
  CHECK(count_of(batch, NFT_MSG_NEWSET) == 0);
}

TEST_CASE("an element update touches nothing but elements") {
  CHECK(differ_only_in_elements(samples::realistic(1), samples::realistic(2)));
  CHECK(!differ_only_in_elements(samples::realistic(1), samples::everything()));
  const auto batch = encode_element_update(samples::realistic(2), samples::realistic(1), {1, {}});
  REQUIRE(batch);
  CHECK(headers_of(batch->bytes).size() == 6);
  CHECK(encode_element_update(samples::realistic(1), samples::realistic(1), {1, {}})->bytes.empty());
}

TEST_CASE("rules of the batch before are sent as they were, and what is new in their place as it is") {
  std::vector<EncodedRule> known;
  auto shifted = samples::everything();
  auto& rules = shifted.tables[0].chains[6].rules;
  rules.insert(rules.begin() + 1, rule({}, samples::drop, "G1: new"));
  rules.back().comment = "G8: another comment";
  for (const auto& ruleset : {samples::everything(), samples::everything(), shifted, samples::realistic(3), shifted}) {
    const auto fresh = encode_replacement(ruleset, {}, {}, {100, 7});
    const auto again = encode_replacement(ruleset, {}, {}, {100, 7, &known});
    REQUIRE((fresh && again));
    CHECK(fresh->bytes == again->bytes);
  }
  rules[1] = rule({samples::is(model::Field::th_dport, 70000U)}, samples::drop, "G1: too large");
  for (int i = 0; i < 2; ++i) {
    const auto refused = encode_replacement(shifted, {}, {}, {100, 7, &known});
    REQUIRE(!refused);
    CHECK(refused.error().message().find("'G1: too large'") != std::string::npos);
  }
}

TEST_CASE("what nf_tables cannot express is refused by name") {
  auto ruleset = samples::everything();
  auto& output = ruleset.tables[0].chains[6];
  output.rules = {rule({samples::is(model::Field::th_dport, 70000U)}, samples::drop, "G1: too large")};
  auto batch = encode_replacement(ruleset, {}, {}, {});
  REQUIRE(!batch);
  CHECK(batch.error().message() ==
        "nft: add rule 'G1: too large' to chain output: 'th dport' cannot be compared with this value");

  ruleset = samples::everything();
  ruleset.tables[0].sets[0].elements[0].key.pop_back();
  batch = encode_replacement(ruleset, {}, {}, {});
  REQUIRE(!batch);
  CHECK(batch.error().message().find("set transport4") != std::string::npos);

  ruleset = samples::everything();
  ruleset.tables[0].chains[0].name = "fwd";
  batch = encode_replacement(ruleset, {}, {}, {});
  REQUIRE(!batch);
  CHECK(batch.error().message() == "nft: 'fwd': the name is a reserved word of nft(8)");
}

TEST_CASE("differences are told in words") {
  const auto wanted = samples::everything();
  struct Row {
    const char* words;
    void (*change)(model::Table& table);
  };
  const std::vector<Row> rows{
      {"chain output, rule 2: wanted", [](model::Table& t) { t.chains[6].rules[1].verdict = samples::drop; }},
      {"chain output, rule 14: '", [](model::Table& t) { t.chains[6].rules.pop_back(); }},
      {"' is not ours", [](model::Table& t) { t.chains[6].rules.push_back(rule({}, samples::accept)); }},
      {"chain refuse is missing", [](model::Table& t) { t.chains.erase(t.chains.begin() + 2); }},
      {"chain extra is not ours",
       [](model::Table& t) {
         t.chains.push_back({"extra", {}, {}});
       }},
      {"chain output: wanted hook 3 priority 0", [](model::Table& t) { t.chains[6].base->priority = 5; }},
      {"set marks: 27507 is missing", [](model::Table& t) { t.sets[9].elements.clear(); }},
      {"set private4: 172.16.0.0/12 is not ours",
       [](model::Table& t) {
         t.sets[6].elements.push_back({{samples::prefix("172.16.0.0/12")}, {}});
       }},
      {"set output_by_interface: 9 : drop is missing",
       [](model::Table& t) { t.sets[10].elements[2].verdict = samples::accept; }},
      {"set marks has another key or kind", [](model::Table& t) { t.sets[9].key = {model::KeyType::uid}; }},
      {"counter dns is missing", [](model::Table& t) { t.counters.erase(t.counters.begin()); }},
  };
  for (const Row& row : rows) {
    auto held = wanted;
    row.change(held.tables[0]);
    const auto found = differences(wanted, held);
    INFO(row.words);
    REQUIRE(!found.empty());
    CHECK(std::any_of(found.begin(), found.end(),
                      [&](const std::string& one) { return one.find(row.words) != std::string::npos; }));
  }
  CHECK(differences(wanted, {}) == std::vector<std::string>{"table killswitch is missing"});
  CHECK(differences({}, wanted) == std::vector<std::string>{"table killswitch is not wanted"});
}

TEST_CASE("the order of chains, sets, elements and counters is no difference") {
  auto held = samples::everything();
  for (auto& set : held.tables[0].sets) {
    std::reverse(set.elements.begin(), set.elements.end());
  }
  std::reverse(held.tables[0].sets.begin(), held.tables[0].sets.end());
  std::reverse(held.tables[0].chains.begin(), held.tables[0].chains.end());
  std::reverse(held.tables[0].counters.begin(), held.tables[0].counters.end());
  CHECK(differences(samples::everything(), held).empty());
}

TEST_CASE("an expression that is not ours becomes a difference") {
  struct Row {
    const char* what;
    void (*write)(nlmsghdr* message);  // into NFTA_LIST_ELEM
    const char* words;
  };
  // libnftnl knows the first of them, and ends the process at the last two if it sees them.
  const std::vector<Row> rows{
      {"an expression of another program", [](nlmsghdr* m) { mnl_attr_put_strz(m, NFTA_EXPR_NAME, "dup"); },
       "the expression 'dup', which this program never writes"},
      {"an expression of a newer kernel", [](nlmsghdr* m) { mnl_attr_put_strz(m, NFTA_EXPR_NAME, "new"); },
       "the expression 'new', which this program never writes"},
      {"an expression without a name", [](nlmsghdr*) {}, "the expression '', which this program never writes"},
      {"a register of another width",
       [](nlmsghdr* m) {
         mnl_attr_put_strz(m, NFTA_EXPR_NAME, "meta");
         nlattr* data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
         mnl_attr_put_u64(m, NFTA_META_DREG, 1);
         mnl_attr_nest_end(m, data);
       },
       "an expression behind the verdict, or a broken one"},
      {"a jump to nowhere",
       [](nlmsghdr* m) {
         mnl_attr_put_strz(m, NFTA_EXPR_NAME, "immediate");
         nlattr* data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
         nlattr* value = mnl_attr_nest_start(m, NFTA_IMMEDIATE_DATA);
         nlattr* verdict = mnl_attr_nest_start(m, NFTA_DATA_VERDICT);
         mnl_attr_put_u32(m, NFTA_VERDICT_CODE, htonl(static_cast<std::uint32_t>(NFT_JUMP)));
         mnl_attr_nest_end(m, verdict);
         mnl_attr_nest_end(m, value);
         mnl_attr_nest_end(m, data);
       },
       "an expression behind the verdict, or a broken one"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Batch batch = replacement({{{model::TableFamily::inet, "killswitch", {}, {}, {{"output", {}, {}}}}}});
    append_message(batch.bytes, NFT_MSG_NEWRULE, 0, 1, [&](nlmsghdr* message) {
      mnl_attr_put_strz(message, NFTA_RULE_TABLE, "killswitch");
      mnl_attr_put_strz(message, NFTA_RULE_CHAIN, "output");
      nlattr* list = mnl_attr_nest_start(message, NFTA_RULE_EXPRESSIONS);
      nlattr* element = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
      row.write(message);
      mnl_attr_nest_end(message, element);
      mnl_attr_nest_end(message, list);
    });
    const auto seen = decode_batch(batch);
    CHECK(seen.differences == std::vector<std::string>{"chain output, rule 1: " + std::string{row.words}});
  }
}

TEST_CASE("what breaks the format is told and not read by half") {
  const model::Ruleset small{{{model::TableFamily::inet,
                               "killswitch",
                               {},
                               {{"marks", {model::KeyType::mark}, false, false, {{{1U}, {}}}}},
                               {{"output", {}, {}}}}}};
  struct Row {
    std::uint16_t type;
    void (*write)(nlmsghdr* message);  // behind the name of the table
    const char* words;
  };
  const std::vector<Row> rows{
      {NFT_MSG_NEWCHAIN, [](nlmsghdr* m) { mnl_attr_put_u64(m, NFTA_CHAIN_POLICY, 0); },
       "a chain that breaks the format"},
      {NFT_MSG_NEWSET, [](nlmsghdr* m) { mnl_attr_put_u8(m, NFTA_SET_FLAGS, 0); }, "a set that breaks the format"},
      {NFT_MSG_NEWTABLE, [](nlmsghdr* m) { mnl_attr_put(m, NFTA_TABLE_FLAGS, 0, nullptr); },
       "a table that breaks the format"},
      {NFT_MSG_NEWSETELEM,
       [](nlmsghdr* m) {
         mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, "marks");
         nlattr* list = mnl_attr_nest_start(m, NFTA_SET_ELEM_LIST_ELEMENTS);
         nlattr* element = mnl_attr_nest_start(m, NFTA_LIST_ELEM);
         mnl_attr_put_u64(m, NFTA_SET_ELEM_TIMEOUT, 1);
         mnl_attr_nest_end(m, element);
         mnl_attr_nest_end(m, list);
       },
       "set marks is not as this program makes sets"},
  };
  for (const Row& row : rows) {
    Batch batch = replacement(small);
    append_message(batch.bytes, row.type, 0, 1, [&](nlmsghdr* message) {
      mnl_attr_put_strz(message, NFTA_TABLE_NAME, "killswitch");
      row.write(message);
    });
    CHECK(decode_batch(batch).differences == std::vector<std::string>{row.words});
  }
}

TEST_CASE("an element update of thousands of elements comes in messages that are not too long") {
  model::Ruleset many{{{model::TableFamily::inet, "killswitch", {}, {}, {}}}};
  model::Set set{"addresses", {model::KeyType::ipv6_addr}, false, true, {}};
  for (std::uint32_t i = 0; i < 5000; ++i) {
    model::IpAddress address = samples::address("2001:db8::");
    address.bytes[4] = static_cast<std::uint8_t>(i >> 8U);
    address.bytes[5] = static_cast<std::uint8_t>(i);
    set.elements.push_back({{model::Prefix{address, 64}}, {}});
  }
  many.tables[0].sets.push_back(set);
  const Batch batch = replacement(many);
  CHECK(count_of(batch, NFT_MSG_NEWSETELEM) > 5);
  CHECK(differences(many, decode_batch(batch).ruleset).empty());
}

TEST_CASE("datagrams that are cut short are errors") {
  const Batch batch = replacement(samples::everything());
  DumpDecoder decoder;
  CHECK(!decoder.feed(Span{batch.bytes}.first(batch.bytes.size() - 1), 100));
  CHECK(!decoder.feed(Span{batch.bytes}.first(10), 100));
  CHECK(decode_replies(Span{batch.bytes}.first(3)).empty());
  for (const std::uint32_t length : {0x80000000U, 0xffffffffU}) {  // negative to libmnl
    std::vector<std::uint8_t> bytes(64);
    std::memcpy(bytes.data(), &length, sizeof length);
    CHECK(!decoder.feed(bytes, 0));
  }
}

TEST_CASE("interrupted dumps and refusals are told") {
  std::vector<std::uint8_t> bytes;
  append_message(bytes, NFT_MSG_NEWTABLE, NLM_F_DUMP_INTR, 5, [](nlmsghdr*) {});
  DumpDecoder decoder;
  const auto progress = decoder.feed(bytes, 5);
  REQUIRE(progress);
  CHECK(progress->interrupted);
  CHECK(!progress->done);

  bytes.assign(36, 0);
  const nlmsghdr header{36, NLMSG_ERROR, 0, 9, 0};
  const std::int32_t refused = -EPERM;
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, &refused, sizeof refused);
  CHECK(decode_replies(bytes) == std::vector<KernelReply>{{9, EPERM}});
  CHECK(decoder.feed(bytes, 9)->errno_value == EPERM);
}

TEST_CASE("comments and names are what nft(8) can read") {
  CHECK(safe_comment("G1: \"quoted\"\n\\") == "G1: ?quoted???");
  CHECK(safe_comment(std::string(200, 'x')).size() == 127);
  CHECK(!name_problem("output_tunnel"));
  for (const char* bad : {"", "1st", "a b", "fwd", "counter", "x;y", "\xc3\xa9"}) {
    CHECK(name_problem(bad));
  }
}

TEST_CASE("the text is as reviewed") {
  check_golden("nft_everything.nft", render_nft_text(samples::everything()));
  check_golden("nft_realistic.nft", render_nft_text(samples::realistic()));
}
