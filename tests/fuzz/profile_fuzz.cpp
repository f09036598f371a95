// Fuzzes the profile parser. The text includes itself by any name, so that `config` is walked as well. Invariants:
// what is accepted has a remote, and none of it holds a line break or more than a line of OpenVPN.
#include "killswitch/codec/names.hpp"
#include "killswitch/codec/profile.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace killswitch;

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{data, data + size};
  const auto half = text.substr(text.size() / 2);
  const codec::IncludeReader reader = [&](const std::string& path) -> Result<std::string> {
    if (path == "missing") {
      return fail("open missing");
    }
    return path == "half" ? half : text;
  };
  const auto profile = codec::parse_profile(text, "client.ovpn", reader);
  if (!profile) {
    require(!profile.error().context.empty());
    return 0;
  }
  require(!profile->remotes.empty());
  for (const auto& remote : profile->remotes) {
    require(codec::is_host(remote.host) && remote.port.number != 0);
  }
  require(profile->device.empty() || codec::is_interface_name(profile->device));
  require(!profile->mark || *profile->mark != 0);
  for (const auto& warning : profile->warnings) {
    require(warning.line > 0 && warning.text.find('\n') == std::string::npos);
  }
  return 0;
}
