// Preloaded into killswitchd by the laboratory: a kernel that cannot keep tables owned, as Linux before 5.12.
//
// The daemon asks the kernel what it can do; the question about ownership gets a flag that no kernel knows, so that it
// is refused. Everything else goes through untouched.
#include <dlfcn.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

extern "C" ssize_t sendto(int fd, const void* data, size_t size, int flags, const sockaddr* to, socklen_t length) {
  static const auto next = reinterpret_cast<decltype(&sendto)>(dlsym(RTLD_NEXT, "sendto"));
  const std::string_view sent{static_cast<const char*>(data), size};
  if (sent.find("killswitch_probe_owner") == std::string_view::npos) {
    return next(fd, data, size, flags, to, length);
  }
  std::vector<char> changed{sent.begin(), sent.end()};
  for (const std::string_view table : {"killswitch_probe_owner", "killswitch_probe_persist"}) {
    // NFTA_TABLE_FLAGS, a big-endian number, follows the name.
    constexpr std::array<char, 7> attribute{8, 0, 2, 0, 0, 0, 0};
    const auto name = std::search(changed.begin(), changed.end(), table.begin(), table.end());
    const auto found = std::search(name, changed.end(), attribute.begin(), attribute.end());
    if (found != changed.end()) {
      *(found + attribute.size()) = static_cast<char>(0x80);
    }
  }
  return next(fd, changed.data(), changed.size(), flags, to, length);
}
