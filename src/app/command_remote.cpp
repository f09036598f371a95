// Enabling from afar: what is said and asked before the branch is sawn off.
#include "commands.hpp"
#include "killswitch/decide/remote_session.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/sense/remote_session.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <cstdio>

namespace killswitch::app {

using namespace model;

namespace {

/// This machine as it will be: its interfaces, the tunnel that is trusted already, and the new settings.
World world_with(const Paths& paths, const Settings& settings) {
  const auto known = known_state(paths);
  World world = known ? decide::restore(*known) : World{};
  if (const auto links = current_links()) {
    [[maybe_unused]] const auto effects = decide::step(world, LinksListed{*links}, {});
  }
  world.enabled = true;
  world.settings = settings;
  world.kernel = {true, true, true, true};
  return world;
}

void warn(const RemoteSession& session, const decide::CutSession& cut) {
  const Prefix client{session.client, static_cast<std::uint8_t>(session.client.size() * 8)};
  const auto link = cut.interface.empty() ? std::string{"an interface that is not known"} : cut.interface;
  print_note(
      fmt::format("warning: you sit at {} and are connected by {}: the lock would CUT THIS SESSION, and nobody "
                  "could connect anew.",
                  to_string(session.client), link));
  print_note(fmt::format(
      "         A policy can let it in (killswitch policy show laptop > my.json, then add):\n"
      "           \"inbound\": [{{\"links\": [\"{}\"], \"protocol\": \"tcp\", \"port\": {}, \"from\": [\"{}\"]}}]{}",
      cut.interface.empty() ? "eth0" : cut.interface, session.server_port.number, to_string(client),
      is_private(client) ? "" : ", \"waives\": [\"G11\"]"));
}

bool answered_yes() {
  print_note("         Lock this machine all the same? [y/N]");
  const int letter = std::getchar();
  return letter == 'y' || letter == 'Y';
}

}  // namespace

bool may_lock_from_here(const Paths& paths, const Settings& settings, bool agreed) {
  const auto session = sense::find_remote_session();
  if (!session) {
    return true;
  }
  const auto cut = decide::session_cut_by(world_with(paths, settings), *session);
  if (!cut) {
    return true;
  }
  warn(*session, *cut);
  if (agreed || (::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1 && answered_yes())) {
    return true;
  }
  print_note(
      "killswitch: not enabled, nothing was changed. Repeat with --try 60s (reverts by itself), with a policy that "
      "lets "
      "the session in, or with --yes");
  return false;
}

}  // namespace killswitch::app
