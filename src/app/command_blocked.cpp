// blocked: how much was refused, by class; with --follow each packet when it is refused, and who sent it.
#include "commands.hpp"

#include "killswitch/app/offline.hpp"
#include "killswitch/app/state_file.hpp"
#include "killswitch/base/text.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/facts.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/sense/links.hpp"
#include "killswitch/sense/refusals.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <pwd.h>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace killswitch::app {
namespace {

using namespace model;

Result<Status> current_status(const Paths& paths) {
  const auto answer = ask_status(paths);
  return answer ? codec::parse_status_json(*answer, "status") : Result<Status>{fail(answer.error())};
}

int print_totals(const Status& status, Output output) {
  CounterValue total;
  nlohmann::ordered_json classes = nlohmann::ordered_json::object();
  std::string text;
  for (const auto& [name, value] : status.blocked) {
    total.packets += value.packets;
    total.bytes += value.bytes;
    classes[name] = {{"packets", value.packets}, {"bytes", value.bytes}};
    if (value.packets > 0) {
      text += fmt::format("  {:<10} {:>10} packets {:>14} bytes\n", printable(name), value.packets, value.bytes);
    }
  }
  if (output == Output::json) {
    const nlohmann::ordered_json document = {
        {"version", 1}, {"packets", total.packets}, {"bytes", total.bytes}, {"classes", classes}};
    print(document.dump(2) + "\n");
    return exit_done;
  }
  print(total.packets == 0 ? "Nothing was refused since the kill switch was enabled.\n"
                           : "Refused since the kill switch was enabled:\n" + text);
  print_note("Each packet, and which program sent it: killswitch blocked --follow");
  return exit_done;
}

/// The counter of the last rule on the way that has one, as the kernel counts.
std::string class_of_refusal(const Ruleset& held, const decide::Trace& trace) {
  std::string name = "other";
  for (const auto& step : trace.back().evaluation.path) {
    for (const auto& table : held.tables) {
      for (const auto& chain : table.chains) {
        if (chain.name == step.chain && step.rule < chain.rules.size() && !chain.rules[step.rule].counter.empty()) {
          name = chain.rules[step.rule].counter;
        }
      }
    }
  }
  return name;
}

std::string protocol_name(std::uint8_t number) {
  switch (number) {
    case 1: return "icmp";
    case 6: return "tcp";
    case 17: return "udp";
    case 58: return "icmpv6";
    case 132: return "sctp";
    default: return fmt::format("protocol {}", number);
  }
}

std::string place(const IpAddress& address, const std::optional<Port>& port) {
  if (!port) {
    return to_string(address);
  }
  return address.family == Family::ipv6 ? fmt::format("[{}]:{}", to_string(address), port->number)
                                        : fmt::format("{}:{}", to_string(address), port->number);
}

std::string user_name(std::uint32_t uid) {
  const passwd* user = ::getpwuid(uid);
  return user == nullptr ? fmt::format("uid {}", uid) : std::string{user->pw_name};
}

std::tm broken_down(std::tm* (*convert)(const std::time_t*, std::tm*)) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  convert(&now, &parts);
  return parts;
}

/// One packet that was refused, as it is told.
struct Refusal {
  std::string what;  ///< class
  Packet packet;
  std::string interface;
  std::optional<sense::Process> process;

  [[nodiscard]] std::string sender() const {
    if (packet.hook == Hook::forward) {
      return "forwarded";
    }
    const auto user = packet.uid ? user_name(*packet.uid) : std::string{"the kernel"};
    return process ? fmt::format("{} ({}), {}", printable(process->name), process->pid, user) : user;
  }

  [[nodiscard]] std::string as_text() const {
    return fmt::format("{:%H:%M:%S}  {:<9} {} {} -> {} by {}  {}\n", broken_down(::localtime_r), printable(what),
                       protocol_name(packet.protocol), place(packet.source, packet.source_port),
                       place(packet.destination, packet.destination_port), printable(interface), sender());
  }

  [[nodiscard]] std::string as_json() const {
    using Json = nlohmann::ordered_json;
    const auto number_or_null = [](const auto& value) { return value ? Json(value->number) : Json(nullptr); };
    const Json line = {{"version", 1},
                       {"time", fmt::format("{:%FT%TZ}", broken_down(::gmtime_r))},
                       {"class", what},
                       {"forwarded", packet.hook == Hook::forward},
                       {"protocol", packet.protocol},
                       {"source", to_string(packet.source)},
                       {"source_port", number_or_null(packet.source_port)},
                       {"destination", to_string(packet.destination)},
                       {"destination_port", number_or_null(packet.destination_port)},
                       {"interface", interface},
                       {"uid", packet.uid ? Json(*packet.uid) : Json(nullptr)},
                       {"pid", process ? Json(process->pid) : Json(nullptr)},
                       {"process", process ? Json(process->name) : Json(nullptr)}};
    return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
};

/// Asks the interpreter what the rules in the kernel do with each packet that is copied to us, and tells the refused.
class Follower {
public:
  Follower(World& world, Output output) : world_{world}, output_{output} {}

  void look_at(Packet packet) {
    refresh();
    const auto known = packet.oif ? world_.links.find(*packet.oif) : world_.links.end();
    const std::string interface = known == world_.links.end() ? "an unknown interface" : known->second.name;
    packet.oifname = known == world_.links.end() ? "" : known->second.name;
    packet.oifkind = known == world_.links.end() ? "" : known->second.kind;
    if (const auto in = packet.iif ? world_.links.find(*packet.iif) : world_.links.end(); in != world_.links.end()) {
      packet.iifkind = in->second.kind;
    }
    // Its prerouting is behind it: only where it was seen, and what comes then, is asked.
    const auto evaluation = decide::evaluate(held_, packet);
    decide::Trace trace = {{packet.hook, evaluation}};
    for (const Hook next : {Hook::postrouting, Hook::egress}) {
      if (decide::passes(trace.back().evaluation)) {
        Packet later = packet;
        later.hook = next;
        trace.push_back({next, decide::evaluate(held_, later)});
      }
    }
    if (decide::arrives(trace)) {
      return;
    }
    const auto process = packet.hook == Hook::output ? sense::find_sender(packet) : std::nullopt;
    const Refusal refusal{class_of_refusal(held_, trace), packet, interface, process};
    print(output_ == Output::json ? refusal.as_json() : refusal.as_text());
    std::fflush(stdout);
  }

private:
  /// The rules change while one follows; reading them for every packet would cost too much.
  void refresh() {
    constexpr auto lifetime = std::chrono::milliseconds{500};
    const auto now = std::chrono::steady_clock::now();
    if (read_at_ == std::chrono::steady_clock::time_point{} || now - read_at_ > lifetime) {
      if (auto rules = read_rules()) {
        held_ = std::move(*rules);
        read_at_ = now;
      }
    }
  }

  World& world_;
  Output output_;
  Ruleset held_;
  std::chrono::steady_clock::time_point read_at_;
};

int follow(const Paths& paths, const Status& status, Output output) {
  auto loop = os::EventLoop::create();
  if (!loop) {
    return report(loop.error());
  }
  World world;
  const auto links = sense::LinkSensor::start(
      *loop, [&world](const Event& event) { [[maybe_unused]] const auto effects = decide::step(world, event, {}); });
  if (!links) {
    return report(links.error());
  }
  const auto state = load_state(paths);
  codec::RefusalWatch watch{{}, state && *state ? (*state)->settings.policy.transport_mark : default_transport_mark};
  for (const auto& [index, link] : world.links) {
    if (status.tunnel && status.state == State::protected_ && link.name == status.tunnel->interface) {
      watch.tunnel = index;
    }
  }
  Follower follower{world, output};
  const auto sensor =
      sense::RefusalSensor::start(*loop, watch, [&follower](const Packet& packet) { follower.look_at(packet); });
  if (!sensor) {
    return report(sensor.error());
  }
  const auto stop = [&loop] { loop->stop(); };
  const auto interrupted = loop->watch_signal(SIGINT, stop);
  const auto terminated = loop->watch_signal(SIGTERM, stop);
  if (!interrupted || !terminated) {
    return report(interrupted ? terminated.error() : interrupted.error());
  }
  if (output == Output::text) {
    print_note("Refused from now on (Ctrl-C ends it):");
  }
  const auto ran = loop->run();
  return ran ? exit_done : report(ran.error());
}

}  // namespace

int run_blocked(const Paths& paths, const BlockedCommand& command) {
  const auto status = current_status(paths);
  if (!status) {
    return report(status.error());
  }
  if (status->state == State::disabled) {
    print_note("The kill switch is disabled: nothing is refused.");
    return exit_disabled;
  }
  if (!command.follow) {
    return print_totals(*status, command.output);
  }
  if (!require_root("blocked --follow")) {
    return exit_not_permitted;
  }
  return follow(paths, *status, command.output);
}

}  // namespace killswitch::app
