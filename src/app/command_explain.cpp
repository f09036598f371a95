// explain: what the rules that the kernel holds now do with one packet, hook by hook, and why.
#include "commands.hpp"
#include "killswitch/app/offline.hpp"
#include "killswitch/codec/packet_text.hpp"
#include "killswitch/decide/evaluate.hpp"
#include "killswitch/decide/step.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/sense/links.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace killswitch::app {
namespace {

using namespace model;
using Kind = Verdict::Kind;

struct Guarantee {
  std::string_view name;
  std::string_view words;
};

constexpr std::array guarantees{
    Guarantee{"G1", "nothing leaves a link but the VPN transport, link upkeep and what the policy names"},
    Guarantee{"G2", "the rules outlive their daemon"},
    Guarantee{"G3", "the lock stands before the network does"},
    Guarantee{"G4", "every change is one transaction"},
    Guarantee{"G5", "what other programs do to the firewall opens nothing"},
    Guarantee{"G6", "only the interface that OpenVPN reported is the tunnel"},
    Guarantee{"G7", "no DNS leaves a link; in the tunnel it goes to the tunnel's resolvers"},
    Guarantee{"G8", "IPv6 obeys the same rules; what is refused is refused at once"},
    Guarantee{"G9", "forwarded, bridged, raw and packet-socket traffic obeys the same rules"},
    Guarantee{"G10", "flows from before the lock do not survive it"},
    Guarantee{"G11", "from a link only answers of the allowed flows come in"},
    Guarantee{"G12", "only root or an administrator changes anything"},
    Guarantee{"G13", "nothing is said that was not verified"},
    Guarantee{"G14", "there is a way back"},
};

std::string_view name_of(Kind kind) {
  const bool reject = kind == Kind::reject_with_tcp_reset || kind == Kind::reject_admin_prohibited;
  return kind == Kind::accept ? "accept" : reject ? "reject" : "drop";
}

}  // namespace

Result<Links> current_links() {
  auto loop = os::EventLoop::create();
  if (!loop) {
    return fail(loop.error());
  }
  World world;
  auto links = sense::LinkSensor::start(
      *loop, [&world](const Event& event) { [[maybe_unused]] const auto effects = decide::step(world, event, {}); });
  if (!links) {
    return fail(links.error());
  }
  return std::move(world.links);
}

namespace {

Result<IfIndex> find_link(const Links& links, const std::string& name) {
  for (const auto& [index, link] : links) {
    if (link.name == name) {
      return index;
    }
  }
  return fail(fmt::format("there is no interface '{}' (see: ip link)", name));
}

Result<std::uint32_t> find_user(const std::string& name) {
  const passwd* user = ::getpwnam(name.c_str());
  if (user == nullptr) {
    return fail(fmt::format("there is no user '{}'", name));
  }
  return std::uint32_t{user->pw_uid};
}

decide::Way way_of(const codec::PacketText& asked) {
  switch (asked.direction) {
    case codec::Direction::in: return decide::Way::received;
    case codec::Direction::forward: return decide::Way::forwarded;
    case codec::Direction::out: break;
  }
  // The kernel cuts a packet behind postrouting: of its later fragments only egress is met.
  const bool frame = asked.packet_socket || asked.packet.ether_type != 0 || asked.packet.fragment_offset != 0;
  return frame ? decide::Way::packet_socket : decide::Way::sent;
}

/// The packet as this machine sees it: indexes, kinds and users in place of names.
Result<decide::Journey> place(const codec::PacketText& asked, const Links& links) {
  decide::Journey journey{way_of(asked), asked.packet};
  Packet& packet = journey.packet;
  if (!asked.user.empty()) {
    const auto uid = find_user(asked.user);
    if (!uid) {
      return fail(uid.error());
    }
    packet.uid = *uid;
  }
  if (!asked.in.empty()) {
    const auto index = find_link(links, asked.in);
    if (!index) {
      return fail(index.error());
    }
    packet.iif = *index;
    packet.iifkind = links.at(*index).kind;
    packet.fib_type = decide::fib_type_of(packet.destination, *index, links);
  }
  if (!asked.out.empty()) {
    const auto index = find_link(links, asked.out);
    if (!index) {
      return fail(index.error());
    }
    packet.oif = *index;
    packet.oifkind = links.at(*index).kind;
    packet.oifname = asked.out;
  }
  return journey;
}

/// Where it was decided: the last hook at which a rule had something to say.
const decide::Evaluation& decisive(const decide::Trace& trace) {
  const auto last = std::find_if(trace.rbegin(), trace.rend(),
                                 [](const decide::Stop& stop) { return !stop.evaluation.path.empty(); });
  return last == trace.rend() ? trace.back().evaluation : last->evaluation;
}

/// The guarantees that the rules on the way to the last verdict cite, in their order.
std::vector<Guarantee> cited(const decide::Trace& trace) {
  std::vector<Guarantee> found;
  for (const auto& step : decisive(trace).path) {
    const auto citation = std::string_view{step.comment}.substr(0, step.comment.find(':'));
    for (const auto& guarantee : guarantees) {
      const auto at = citation.find(guarantee.name);
      const auto end = at + guarantee.name.size();
      const bool whole = at != std::string_view::npos && (end == citation.size() || citation[end] == ' ');
      const bool known =
          std::any_of(found.begin(), found.end(), [&](const Guarantee& other) { return other.name == guarantee.name; });
      if (whole && !known) {
        found.push_back(guarantee);
      }
    }
  }
  return found;
}

std::string_view conclusion(const decide::Journey& journey, const decide::Trace& trace) {
  const auto verdict = name_of(trace.back().evaluation.verdict);
  if (verdict == "accept" && journey.way == decide::Way::sent && journey.packet.oif == loopback_ifindex) {
    return "It stays in this machine, and arrives";
  }
  if (verdict == "accept") {
    return journey.way == decide::Way::received ? "It comes in" : "It leaves";
  }
  return verdict == "reject" ? "It is refused (reject)" : "It is dropped";
}

std::string as_json(const std::string& text, const decide::Journey& journey, const decide::Trace& trace) {
  nlohmann::ordered_json hooks = nlohmann::ordered_json::array();
  for (const auto& stop : trace) {
    nlohmann::ordered_json rules = nlohmann::ordered_json::array();
    for (const auto& step : stop.evaluation.path) {
      rules.push_back({{"chain", step.chain}, {"rule", step.rule + 1}, {"comment", step.comment}});
    }
    hooks.push_back({{"hook", to_string(stop.hook)}, {"verdict", name_of(stop.evaluation.verdict)}, {"rules", rules}});
  }
  nlohmann::ordered_json because = nlohmann::ordered_json::array();
  for (const auto& guarantee : cited(trace)) {
    because.push_back({{"guarantee", guarantee.name}, {"words", guarantee.words}});
  }
  const nlohmann::ordered_json document = {{"version", 1},
                                           {"packet", text},
                                           {"passes", decide::arrives(trace)},
                                           {"verdict", name_of(trace.back().evaluation.verdict)},
                                           {"hooks", hooks},
                                           {"because", because},
                                           {"conclusion", conclusion(journey, trace)}};
  return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string as_text(const decide::Journey& journey, const decide::Trace& trace) {
  std::string text;
  for (const auto& stop : trace) {
    const auto& path = stop.evaluation.path;
    text += fmt::format("{:<12} {:<7}", to_string(stop.hook), name_of(stop.evaluation.verdict));
    if (path.empty()) {
      text += stop.evaluation.chain.empty() ? " no rules of the kill switch stand here\n" : " the chain's policy\n";
    }
    for (const auto& step : path) {
      text += fmt::format("{}{} rule {}: {}\n", &step == &path.front() ? " " : std::string(21, ' '), step.chain,
                          step.rule + 1, step.comment);
    }
  }
  for (const auto& guarantee : cited(trace)) {
    text += fmt::format("{}: {}\n", guarantee.name, guarantee.words);
  }
  return text + fmt::format("{}\n", conclusion(journey, trace));
}

/// What else one should know about the answer.
void print_notes(const codec::PacketText& asked, const decide::Journey& journey, bool without_rules) {
  constexpr std::uint32_t rtn_unicast = 1;
  if (without_rules) {
    print_note("The kernel holds no rules of the kill switch: it is disabled. See: killswitch enable --help");
    return;
  }
  if (asked.packet.fragment_offset != 0) {
    print_note("What a fragment behind the first carries is not known: it is taken not to look like a header.");
  }
  if (asked.packet.fragment_offset != 0 && asked.direction == codec::Direction::out) {
    print_note("The kernel cuts packets behind postrouting: without 'fragment' it says what became of the whole one.");
  }
  if (asked.direction == codec::Direction::in && journey.packet.fib_type == rtn_unicast) {
    print_note(
        fmt::format("{} is no address of {} (see: ip address).", to_string(journey.packet.destination), asked.in));
  }
}

}  // namespace

int run_explain(const std::string& text, Output output) {
  const auto asked = codec::parse_packet_text(text);
  if (!asked) {
    print_note(
        fmt::format("killswitch: {}\n            e.g. killswitch explain \"udp 10.0.0.5 -> 8.8.8.8:53 out wlo1\"",
                    asked.error().message()));
    return exit_usage;
  }
  if (!require_root("explain")) {
    return exit_not_permitted;
  }
  const auto held = read_rules();
  if (!held) {
    return report(held.error());
  }
  const auto links = current_links();
  if (!links) {
    return report(links.error());
  }
  const auto journey = place(*asked, *links);
  if (!journey) {
    return report(journey.error());
  }
  const auto trace = decide::trace(*held, *journey);
  print(output == Output::json ? as_json(text, *journey, trace) : as_text(*journey, trace));
  if (output == Output::text) {
    print_notes(*asked, *journey, held->tables.empty());
  }
  return exit_done;
}

}  // namespace killswitch::app
