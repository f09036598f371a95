// /etc/resolv.conf itself. The name is replaced, whatever it is: a link of another program's comes back as the link it
// was, and what that program writes behind it meanwhile is nobody's resolver.
#include "dns_backends.hpp"

#include "killswitch/codec/resolv_conf.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/snapshot.hpp"

namespace killswitch::enforce {
namespace {

using model::FileCopy;

constexpr mode_t readable_by_all = 0644;

bool is_mounted_over(const Outcome& outcome) {
  return !outcome && outcome.error().code == std::errc::device_or_resource_busy;
}

Outcome put(const std::string& path, const std::string& content, mode_t mode, os::Durability durability) {
  auto outcome = os::replace_file(path, content, mode, durability);
  return is_mounted_over(outcome) ? os::write_in_place(path, content) : outcome;
}

Outcome put_back(const std::string& path, const FileCopy& before) {
  auto outcome = put(path, before.content, static_cast<mode_t>(before.mode), os::Durability::synced);
  if (outcome && (before.user != 0 || before.group != 0)) {
    // The sandbox of the service may not allow it (CAP_CHOWN); what is in the file is what counts.
    [[maybe_unused]] const auto given = os::change_owner(path, before.user, before.group);
  }
  return outcome;
}

}  // namespace

Outcome write_resolv_conf(const DnsPlaces& places, const model::DnsSetup& setup) {
  return put(places.resolv_conf, codec::render_resolv_conf(setup.servers, setup.search_domains), readable_by_all,
             os::Durability::swift);
}

Outcome restore_resolv_conf(const DnsPlaces& places, const FileCopy& before, bool replaced) {
  const auto& path = places.resolv_conf;
  switch (before.kind) {
    case FileCopy::Kind::absent: return os::remove_file(path);
    case FileCopy::Kind::regular: return put_back(path, before);
    case FileCopy::Kind::symlink: {
      if (replaced) {
        return os::replace_with_link(path, before.target);
      }
      const auto now = os::take_snapshot(path);
      if (now && now->kind == os::Snapshot::Kind::symlink && !now->real_path.empty()) {
        return put_back(now->real_path, before);
      }
      return os::replace_with_link(path, before.target);
    }
    case FileCopy::Kind::other: break;
  }
  return done();
}

}  // namespace killswitch::enforce
