// What the kernel tells about changes of its ruleset, message by message: ours are passed over, others' are named.
#include "killswitch/codec/nft_event.hpp"

#include "support/catch.hpp"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <cstring>
#include <string_view>

namespace {

using namespace killswitch;
using Bytes = std::vector<std::uint8_t>;
using Touches = std::vector<model::Touch>;

constexpr std::uint32_t ours = 4711;
constexpr std::uint32_t theirs = 815;

template <typename T>
Bytes raw(const T& value) {
  Bytes bytes(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes attribute(unsigned type, const Bytes& payload) {
  auto bytes =
      raw(nlattr{static_cast<std::uint16_t>(sizeof(nlattr) + payload.size()), static_cast<std::uint16_t>(type)}) +
      payload;
  bytes.resize((bytes.size() + 3U) & ~std::size_t{3U});
  return bytes;
}

Bytes text(unsigned type, std::string_view value) {
  Bytes bytes{value.begin(), value.end()};
  bytes.push_back(0);
  return attribute(type, bytes);
}

Bytes message(int type, std::uint8_t family, const Bytes& attributes, std::uint32_t port = theirs) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + sizeof(nfgenmsg) + attributes.size());
  header.nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8U | type);
  header.nlmsg_pid = port;
  return raw(header) + raw(nfgenmsg{family, NFNETLINK_V0, 0}) + attributes;
}

Bytes about(int type, std::string_view table, std::string_view name, std::uint8_t family = NFPROTO_INET,
            std::uint32_t port = theirs) {
  const bool is_chain = type == NFT_MSG_NEWCHAIN || type == NFT_MSG_DELCHAIN;
  return message(type, family, text(1, table) + text(is_chain ? NFTA_CHAIN_NAME : 2, name), port);
}

Bytes generation(std::string_view program, std::uint32_t pid, std::uint32_t port = theirs) {
  return message(NFT_MSG_NEWGEN, NFPROTO_UNSPEC,
                 attribute(NFTA_GEN_ID, raw(htonl(7))) + attribute(NFTA_GEN_PROC_PID, raw(htonl(pid))) +
                     text(NFTA_GEN_PROC_NAME, program),
                 port);
}

Touches fed(const Bytes& bytes) {
  codec::NftEventDecoder decoder{ours};
  auto touches = decoder.feed(bytes);
  REQUIRE(touches);
  return *touches;
}

}  // namespace

TEST_CASE("a change of our table names its program and the worst of what it did", "[nft_event]") {
  struct Row {
    Bytes bytes;
    const char* what;
  };
  const Row rows[] = {
      {about(NFT_MSG_DELRULE, "killswitch", "output") + about(NFT_MSG_DELTABLE, "killswitch", ""),
       "inet killswitch: table deleted"},
      {about(NFT_MSG_NEWRULE, "killswitch", "output"), "inet killswitch: rule put into chain output"},
      {about(NFT_MSG_DELCHAIN, "killswitch", "egress", NFPROTO_NETDEV),
       "netdev killswitch: chain egress deleted, or devices taken from it"},
      {about(NFT_MSG_NEWSETELEM, "killswitch", "servers"), "inet killswitch: elements put into set servers"},
      {about(NFT_MSG_NEWOBJ, "killswitch", "dns"), "inet killswitch: something in it changed"},
      {about(NFT_MSG_NEWCHAIN, "killswitch", "a\n{}\xff"), "inet killswitch: chain a\\x0a{}\\xff made or changed"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(fed(row.bytes + generation("nft", 42)) == Touches{{"nft", 42, row.what}});
  }
}

TEST_CASE("a transaction may come in pieces; each is told once", "[nft_event]") {
  codec::NftEventDecoder decoder{ours};
  CHECK(decoder.feed(about(NFT_MSG_DELTABLE, "killswitch", ""))->empty());
  CHECK(decoder.feed(about(NFT_MSG_NEWTABLE, "other", ""))->empty());
  CHECK(decoder.feed(generation("ufw", 5))->size() == 1);
  CHECK(decoder.feed(generation("ufw", 5))->empty());
  CHECK(decoder.feed(about(NFT_MSG_DELTABLE, "killswitch", ""))->empty());
  decoder.forget();
  CHECK(decoder.feed(generation("ufw", 5))->empty());
}

TEST_CASE("our own changes, other tables and other families are nobody's business", "[nft_event]") {
  CHECK(
      fed(about(NFT_MSG_DELTABLE, "killswitch", "", NFPROTO_INET, ours) + generation("killswitchd", 1, ours)).empty());
  CHECK(fed(about(NFT_MSG_DELTABLE, "filter", "") + generation("nft", 2)).empty());
  CHECK(fed(about(NFT_MSG_DELTABLE, "killswitch", "", NFPROTO_IPV4) + generation("nft", 2)).empty());
  CHECK(fed(about(NFT_MSG_DELTABLE, "killswitch2", "") + generation("nft", 2)).empty());
  // What we did in between does not end what they began.
  CHECK(fed(about(NFT_MSG_DELTABLE, "killswitch", "") + generation("killswitchd", 1, ours) + generation("nft", 2)) ==
        Touches{{"nft", 2, "inet killswitch: table deleted"}});
}

TEST_CASE("lengths that do not add up are an error", "[nft_event]") {
  codec::NftEventDecoder decoder{ours};
  auto cut = about(NFT_MSG_DELTABLE, "killswitch", "");
  cut.erase(cut.end() - 4, cut.end());
  CHECK(!decoder.feed(cut));
  CHECK(decoder.feed(generation("nft", 2))->empty());
  CHECK(fed({}).empty());
}
