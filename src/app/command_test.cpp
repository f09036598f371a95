// test: tries every way out of this machine, and says which of them led out.
#include "commands.hpp"

#include "killswitch/app/state_file.hpp"
#include "killswitch/base/text.hpp"
#include "killswitch/codec/leak_report.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/sense/leak_probes.hpp"
#include "killswitch/sense/links.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>

namespace killswitch::app {
namespace {

using namespace model;

Result<Status> current_status(const Paths& paths) {
  const auto answer = ask_status(paths);
  return answer ? codec::parse_status_json(*answer, "status") : Result<Status>{fail(answer.error())};
}

Result<Links> list_links() {
  auto loop = os::EventLoop::create();
  if (!loop) {
    return fail(loop.error());
  }
  Result<Links> links = fail("list interfaces: they change all the time");
  const auto sensor = sense::LinkSensor::start(*loop, [&](const Event& event) {
    if (const auto* listed = std::get_if<LinksListed>(&event)) {
      links = listed->links;
    }
  });
  return sensor ? links : Result<Links>{fail(sensor.error())};
}

/// Where packets may go: the trusted tunnel. Without the kill switch nobody knows which one is trusted; a device that
/// OpenVPN could have made is not a link then.
bool is_tunnel(const Link& link, const Status& status) {
  if (status.state == State::disabled) {
    return decide::is_tunnel_kind(link.kind);
  }
  return status.state == State::protected_ && status.tunnel && status.tunnel->interface == link.name;
}

/// What is enabled, as far as the classes of interfaces depend on it; root reads the state file.
World world_of(const Paths& paths, const Links& links) {
  const auto state = load_state(paths);
  World world;
  if (state && *state && (*state)->enabled) {
    world.settings = (*state)->settings;
  }
  world.links = links;
  return world;
}

sense::LeakTrial trial_of(const Status& status, const World& world) {
  const Links& links = world.links;
  sense::LeakTrial trial;
  std::optional<IfIndex> trusted;
  for (const auto& [index, link] : links) {
    if (is_tunnel(link, status)) {
      trial.tunnels.push_back(link);
      trusted = index;
    }
  }
  for (const auto& [index, link] : links) {
    const bool may_leak = decide::class_of(link, world, trusted) == LinkClass::link && !is_tunnel(link, status);
    if (link.up && may_leak && !decide::is_guest_port(link, world, trusted)) {
      trial.links.push_back(link);
    }
  }
  if (status.tunnel && status.tunnel->server) {
    trial.servers.push_back(*status.tunnel->server);
  }
  const auto pinned = endpoints_of(status.servers);
  trial.servers.insert(trial.servers.end(), pinned.begin(), pinned.end());
  return trial;
}

/// A local network that the policy names is no leak. Names are asked nowhere on it, so only its own class is excused.
void excuse_local_network(codec::LeakFindings& findings, const Policy& policy) {
  for (auto& result : findings.results) {
    const auto target = parse_ip_address(result.target);
    if (result.verdict != codec::LeakVerdict::leaked || result.probe->id != "lan" || !target) {
      continue;
    }
    for (const auto& lan : policy.lan) {
      const bool named = std::any_of(lan.prefixes.begin(), lan.prefixes.end(),
                                     [&](const Prefix& prefix) { return prefix.contains(*target); });
      if (named) {
        result.verdict = codec::LeakVerdict::not_applicable;
        result.detail = fmt::format("the policy {} lets the local network be reached", policy.name);
      }
    }
  }
}

constexpr const char* erase_line = "\r\x1b[K";

/// Only a terminal wants to see it.
sense::LeakProgress progress_on_terminal() {
  if (::isatty(STDERR_FILENO) == 0) {
    return [](std::size_t, std::size_t, const std::string&) {};
  }
  return [](std::size_t number, std::size_t total, const std::string& what) {
    fmt::print(stderr, "{}[{}/{}] {} …", erase_line, number, total, printable(what));
    std::fflush(stderr);
  };
}

}  // namespace

int run_test(const Paths& paths, Output output) {
  if (!require_root("test")) {
    return exit_not_permitted;
  }
  const auto status = current_status(paths);
  if (!status) {
    return report(status.error());
  }
  const auto links = list_links();
  if (!links) {
    return report(links.error());
  }
  const auto world = world_of(paths, *links);
  auto findings = sense::try_every_way_out(trial_of(*status, world), progress_on_terminal());
  if (::isatty(STDERR_FILENO) != 0) {
    fmt::print(stderr, "{}", erase_line);
  }
  if (!findings) {
    return report(findings.error(), "Nothing is proved without a capture on every link.");
  }
  excuse_local_network(*findings, world.settings.policy);
  print(output == Output::json ? codec::render_leak_json(*status, *findings)
                               : codec::render_leak_text(*status, *findings));
  return codec::count_leaks(*findings) == 0 && findings->lost_frames == 0 ? exit_done : exit_failed;
}

}  // namespace killswitch::app
