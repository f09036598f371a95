// Any bytes on the management channel: no crash, bounded memory, the same messages however the stream is cut, and
// values that are safe to use.
#include "killswitch/base/text.hpp"
#include "killswitch/codec/management.hpp"

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

using namespace killswitch;
using namespace killswitch::model::management;
using codec::ManagementDecoder;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
}

struct Check {
  void operator()(const RemoteQuery& query) const { require(is_printable(query.host) && query.port.number != 0); }
  void operator()(const State& state) const { require(is_printable(state.name) && state.tunnel_addresses.size() <= 2); }
  void operator()(const TunnelUp& up) const {
    require(codec::is_device_name(up.report.interface) && !up.report.addresses.empty());
    require(up.report.resolvers.size() <= 16 && up.report.search_domains.size() <= 32);
    for (const auto& domain : up.report.search_domains) {
      require(is_printable(domain) && domain.find(' ') == std::string::npos);
    }
  }
  void operator()(const TunnelDown& down) const {
    require(down.interface.empty() || codec::is_device_name(down.interface));
  }
  void operator()(const Hold&) const {}
  void operator()(const ChannelPasswordNeeded&) const {}
  void operator()(const Malformed& malformed) const { require(malformed.reason.size() < 8192); }
  void operator()(const PasswordNeeded& need) const { require(need.realm.size() < 1024); }
  void operator()(const PasswordRefused& refused) const { require(refused.realm.size() < 1024); }
  void operator()(const Fatal& fatal) const { require(fatal.text.size() < 4096); }
  void operator()(const CommandRefused& refused) const { require(refused.text.size() < 4096); }
};

bool same(const Message& one, const Message& other) {
  return std::visit(
      [&](const auto& left) {
        const auto* right = std::get_if<std::decay_t<decltype(left)>>(&other);
        if constexpr (std::equality_comparable<std::decay_t<decltype(left)>>) {
          return right != nullptr && left == *right;
        } else {
          return right != nullptr;
        }
      },
      one);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  ManagementDecoder whole;
  const auto messages = whole.feed(bytes);
  for (const auto& message : messages) {
    std::visit(Check{}, message);
  }
  ManagementDecoder pieces;
  std::vector<Message> again;
  std::size_t step = 1;
  for (auto rest = bytes; !rest.empty(); step = step * 7 % 61 + 1) {
    const auto part = rest.substr(0, step);
    for (auto& message : pieces.feed(part)) {
      again.push_back(std::move(message));
    }
    require(pieces.buffered() <= ManagementDecoder::line_limit + ManagementDecoder::block_byte_limit);
    rest.remove_prefix(part.size());
  }
  require(std::equal(messages.begin(), messages.end(), again.begin(), again.end(), same));
  require(whole.buffered() == pieces.buffered());

  const auto line = codec::encode_password("Auth", bytes);
  require(!line || (line->ends_with('\n') && std::count(line->begin(), line->end(), '\n') == 1));
  return 0;
}
