#include "killswitch/app/enrolment.hpp"

#include "killswitch/app/clock.hpp"
#include "killswitch/app/policies.hpp"
#include "killswitch/codec/profile.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/sense/networkmanager_vpn.hpp"
#include "killswitch/sense/processes.hpp"
#include "killswitch/sense/resolver.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <pwd.h>
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

namespace killswitch::app {
namespace {

using namespace model;

/// OpenVPN takes a relative path from where it is started, which is where the command is given; the daemon runs
/// elsewhere.
ManagementAddress absolute(ManagementAddress address) {
  const auto complete = [](std::string& path) {
    std::error_code error;
    if (auto whole = std::filesystem::absolute(path, error); !path.empty() && !error) {
      path = whole;
    }
  };
  if (auto* socket = std::get_if<UnixSocketPath>(&address.where)) {
    complete(socket->path);
  }
  complete(address.password_file);
  return address;
}

Result<std::vector<Remote>> take_profile(Enrolment& enrolment, const std::string& path) {
  const auto text = os::read_file(path);
  if (!text) {
    return fail(text.error());
  }
  const auto profile =
      codec::parse_profile(*text, path, [](const std::string& included) { return os::read_file(included); });
  if (!profile) {
    return fail(profile.error());
  }
  for (const auto& warning : profile->warnings) {
    enrolment.warnings.push_back(fmt::format("{}:{}: {}", warning.file, warning.line, warning.text));
  }
  auto& settings = enrolment.settings;
  settings.via_proxy = settings.via_proxy || profile->via_proxy;
  if (profile->mark) {
    settings.profile_mark = profile->mark;
  }
  if (profile->management && !profile->management_client) {
    settings.management = absolute(*profile->management);
  }
  if (!profile->user.empty() && ::getpwnam(profile->user.c_str()) == nullptr) {
    enrolment.warnings.push_back(fmt::format("{}: user: there is no user '{}' on this machine", path, profile->user));
  }
  return profile->remotes;
}

Result<std::vector<Remote>> take_networkmanager(Enrolment& enrolment, const std::vector<std::string>& names) {
  std::vector<Remote> remotes;
  if (names.empty()) {
    return remotes;
  }
  auto loop = os::EventLoop::create();
  auto bus = loop ? os::Bus::connect_system(*loop, [](const Error&) {}) : fail(loop.error());
  if (!bus) {
    return fail(bus.error().within("NetworkManager cannot be asked about its connections"));
  }
  for (const auto& name : names) {
    auto vpn = sense::find_networkmanager_vpn(*bus, name);
    if (!vpn) {
      return fail(vpn.error());
    }
    remotes.insert(remotes.end(), vpn->remotes.begin(), vpn->remotes.end());
    enrolment.settings.networkmanager.push_back(std::move(*vpn));
  }
  return remotes;
}

/// Helpers that may carry OpenVPN's packets (stunnel). One that would never be proven is refused here, where the reason
/// can be given.
Outcome add_transport_program(Settings& settings, const std::string& text) {
  const auto program = parse_transport_program(text);
  if (!program) {
    return fail(program.error().within("--transport-program"));
  }
  const auto file = sense::inspect_programs({*program}).front();
  if (!file.untrusted.empty()) {
    return fail("--transport-program " + file.untrusted);
  }
  if (!program->user.empty() && !file.uid) {
    return fail(
        fmt::format("--transport-program {}: there is no user '{}' in /etc/passwd", program->path, program->user));
  }
  auto& programs = settings.transport_programs;
  if (std::find(programs.begin(), programs.end(), *program) == programs.end()) {
    programs.push_back(*program);
  }
  return done();
}

/// Addresses from an earlier time serve when the resolver has none.
void fall_back(PinnedRemote& pinned, const std::optional<SavedState>& known, std::vector<std::string>& warnings) {
  if (!pinned.addresses.empty() || !known) {
    return;
  }
  for (const auto& earlier : known->settings.remotes) {
    if (earlier.remote == pinned.remote && !earlier.addresses.empty()) {
      warnings.push_back(
          fmt::format("{}; its addresses of {:%F %T} UTC are used", pinned.failure, earlier.resolved_at));
      pinned = earlier;
      return;
    }
  }
}

}  // namespace

Result<Enrolment> enrol(const EnrolmentRequest& request, const Paths& paths, const std::optional<SavedState>& known,
                        const std::function<void(const std::string&)>& progress) {
  auto policy = load_policy(paths, request.policy);
  if (!policy) {
    return fail(policy.error());
  }
  Enrolment enrolment;
  enrolment.settings.policy = std::move(*policy);
  enrolment.settings.interface = request.interface;
  for (const auto& program : request.transport_programs) {
    if (auto added = add_transport_program(enrolment.settings, program); !added) {
      return fail(added.error());
    }
  }
  std::vector<Remote> remotes;
  for (const auto& path : request.profiles) {
    auto found = take_profile(enrolment, path);
    if (!found) {
      return fail(found.error());
    }
    remotes.insert(remotes.end(), found->begin(), found->end());
  }
  auto found = take_networkmanager(enrolment, request.networkmanager);
  if (!found) {
    return fail(found.error());
  }
  remotes.insert(remotes.end(), found->begin(), found->end());
  for (const auto& server : request.servers) {
    auto remote = parse_remote(server);
    if (!remote) {
      return fail(remote.error());
    }
    remotes.push_back(*remote);
  }
  std::set<std::string> asked;
  for (const auto& remote : remotes) {
    if (!parse_ip_address(remote.host) && asked.insert(remote.host).second) {
      progress(fmt::format("resolving {}", remote.host));
    }
    auto pinned = sense::resolve(remote, wall_clock());
    fall_back(pinned, known, enrolment.warnings);
    enrolment.settings.remotes.push_back(std::move(pinned));
  }
  return enrolment;
}

}  // namespace killswitch::app
