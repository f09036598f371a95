// status and rules: the commands that only look.
#include "commands.hpp"
#include "killswitch/app/offline.hpp"
#include "killswitch/codec/nft_text.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/decide/audit.hpp"
#include "killswitch/serve/client.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <csignal>
#include <nlohmann/json.hpp>

namespace killswitch::app {
namespace {

using namespace model;

int exit_of(const Status& status) {
  return status.state == State::disabled ? exit_disabled : exit_done;
}

int show(const std::string& status_json, Output output) {
  if (const int failed = print_status(status_json, output); failed != exit_done) {
    return failed;
  }
  const auto status = codec::parse_status_json(status_json, "status");
  return status ? exit_of(*status) : exit_failed;
}

int watch(serve::Client& client, Output output) {
  int exit = exit_done;
  const auto ended = client.watch(
      [&](const std::string& status_json) {
        exit = show(status_json, output);
        std::fflush(stdout);
      },
      [] { print_note("killswitchd is not running; the kernel holds the rules that it left"); });
  return ended ? exit : report(ended.error());
}

}  // namespace

Result<std::string> ask_status(const Paths& paths) {
  auto loop = os::EventLoop::create();
  if (!loop) {
    return fail(loop.error());
  }
  auto client = serve::Client::connect(*loop);
  auto answer = client ? client->status() : Result<std::string>{fail(client.error())};
  if (answer || ::geteuid() != 0) {
    return answer;
  }
  const auto status = status_offline(paths);
  if (!status) {
    return fail(status.error());
  }
  return codec::render_status_json(*status);
}

int run_status(const Paths& paths, const StatusCommand& command) {
  if (command.watch) {
    auto loop = os::EventLoop::create();
    if (!loop) {
      return report(loop.error());
    }
    const auto interrupted = loop->watch_signal(SIGINT, [&] { loop->stop(); });
    const auto terminated = loop->watch_signal(SIGTERM, [&] { loop->stop(); });
    auto client = serve::Client::connect(*loop);
    return client ? watch(*client, command.output)
                  : report(client.error(), "Without D-Bus there is nothing to watch; `killswitch status` works.");
  }
  const auto status = ask_status(paths);
  if (!status) {
    return report(status.error(), "As root, `killswitch status` reads the kernel itself.");
  }
  return show(*status, command.output);
}

int run_rules(const Paths& paths, Output output) {
  if (!require_root("rules")) {
    return exit_not_permitted;
  }
  const auto held = read_rules();
  if (!held) {
    return report(held.error());
  }
  const auto text = codec::render_nft_text(*held);
  const auto answer = ask_status(paths);
  const auto status = answer ? codec::parse_status_json(*answer, "status") : Result<Status>{fail(answer.error())};
  const bool wanted = status && (status->state == State::disabled ? held->tables.empty() : status->enforced);
  std::vector<std::string> differences;
  if (!wanted && status) {
    differences = status->reasons;
  }
  if (output == Output::json) {
    const nlohmann::ordered_json document = {
        {"version", 1}, {"as_wanted", wanted}, {"differences", differences}, {"nft", text}};
    print(document.dump(2) + "\n");
    return wanted ? exit_done : exit_failed;
  }
  print(text);
  if (wanted) {
    print_note(held->tables.empty() ? "The kernel holds no rules of the kill switch, as wanted: it is disabled."
                                    : "This is what the kernel holds, and it is what is wanted.");
    return exit_done;
  }
  print_note("This is what the kernel holds, and it is NOT confirmed to be what is wanted:");
  for (const auto& difference : differences) {
    print_note("  " + difference);
  }
  return exit_failed;
}

}  // namespace killswitch::app
