// Where the chains at egress stand: on which devices, and on which that are not there yet.
//
// The kernel hooks a chain to devices by name. Some kernels let a chain grow, some take names ahead of the devices, on
// others a chain has the devices it was made with and vanishes with the last of them (probed: KernelFeatures). The
// rules stand once, in a chain of their own, however many base chains lead to it.
#include "compile_parts.hpp"
#include "killswitch/decide/facts.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace killswitch::decide {

using namespace model;

namespace {

// @source NFT_NETDEVICE_MAX, Linux include/net/netfilter/nf_tables.h
constexpr std::size_t most_devices = 256;

/// What drivers call a device before udev gives it its lasting name: it sends with this one for a moment, and has no
/// other where there is no udev.
struct FirstName {
  const char* prefix;
  int count;
};
constexpr std::array first_names{
    FirstName{"bnep", 2},         ///< Bluetooth tethering. @source net/bluetooth/bnep/core.c
    FirstName{"eth", 4},          ///< Ethernet, also over USB (cdc_ncm, ipheth, r8152)
    FirstName{"thunderbolt", 2},  ///< @source drivers/net/thunderbolt/main.c
    FirstName{"usb", 4},          ///< tethered phones. @source drivers/net/usb/usbnet.c
    FirstName{"wlan", 4},         ///< Wi-Fi
    FirstName{"wwan", 4},         ///< mobile broadband. @source drivers/net/wwan/wwan_core.c
};

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

/// The name of a device inside a chain's name: letters, digits, '-' and '.' as they are, all else as "_5f".
std::string chain_suffix(const std::string& device) {
  std::string text;
  for (const char c : device) {
    text += is_plain(c) ? std::string{c} : fmt::format("_{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

Chain egress_chain(std::string name, std::vector<std::string> devices) {
  return Chain{
      std::move(name),
      BaseChain{Hook::egress, 0, std::move(devices)},
      {rule({}, go_to("frames"), "G9: whatever leaves a link"), counted({}, "raw", drop(), "G9: end of the chain")}};
}

/// Names that may come to be of an interface that must not be covered.
bool is_spoken_for(const World& world, const std::string& name) {
  const auto& policy = world.settings.policy;
  const auto& trusted = policy.trusted_interfaces;
  const bool tunnel = name == world.settings.interface || (world.report && name == world.report->interface);
  const bool exists =
      std::any_of(world.links.begin(), world.links.end(), [&](const auto& entry) { return entry.second.name == name; });
  return exists || tunnel || std::find(trusted.begin(), trusted.end(), name) != trusted.end() ||
         is_named(policy.router.lan, name);
}

}  // namespace

std::vector<std::string> expected_devices(const World& world) {
  std::vector<std::string> names = world.past_links;
  for (const auto& first : first_names) {
    for (int number = 0; number < first.count; ++number) {
      names.push_back(fmt::format("{}{}", first.prefix, number));
    }
  }
  std::erase_if(names, [&](const std::string& name) { return is_spoken_for(world, name); });
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::vector<Chain> egress_chains(const KernelFeatures& kernel, const std::vector<std::string>& devices) {
  std::vector<Chain> chains;
  if (!kernel.grows) {
    for (const auto& device : devices) {
      chains.push_back(egress_chain("egress_" + chain_suffix(device), {device}));
    }
    return chains;
  }
  for (std::size_t start = 0; start < devices.size(); start += most_devices) {
    const auto end = std::min(start + most_devices, devices.size());
    auto name = start == 0 ? std::string{"egress"} : fmt::format("egress_{}", start / most_devices + 1);
    chains.push_back(egress_chain(std::move(name), {devices.begin() + static_cast<std::ptrdiff_t>(start),
                                                    devices.begin() + static_cast<std::ptrdiff_t>(end)}));
  }
  return chains;
}

}  // namespace killswitch::decide
