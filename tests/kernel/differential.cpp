#include "differential.hpp"

#include "support/worlds.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace killswitch::testing {

using namespace model;
using decide::Journey;
using decide::Way;
using Kind = Verdict::Kind;

namespace {

std::optional<Place> destination_of(const Journey& journey) {
  if (journey.way == Way::received) {
    return Place::here;
  }
  const auto out = journey.packet.oif;
  return out == test::wifi     ? Place::outside
         : out == test::bridge ? Place::guest
         : out == test::tunnel ? Place::tunnel
                               : Place::here;
}

std::string_view name_of(Place place) {
  switch (place) {
    case Place::outside: return "outside";
    case Place::guest: return "guest";
    case Place::tunnel: return "tunnel";
    case Place::here: return "here";
  }
  return "?";
}

std::string_view name_of(Way way) {
  switch (way) {
    case Way::sent: return "sent";
    case Way::forwarded: return "forwarded";
    case Way::received: return "received";
    case Way::packet_socket: return "packet socket";
  }
  return "?";
}

std::string_view name_of(Kind kind) {
  return kind == Kind::accept                    ? "accept"
         : kind == Kind::reject_with_tcp_reset   ? "reset"
         : kind == Kind::reject_admin_prohibited ? "prohibited"
                                                 : "drop";
}

bool is_for_one(const IpAddress& address) {
  const auto first = address.bytes[0];
  return address.family == Family::ipv4 ? first < 224 : first != 0xff && first != 0xfe;
}

bool is_here(const IpAddress& address) {
  const auto among = {"192.168.43.10", "192.168.255.2", "172.17.0.1", "2001:db8:43::10", "fd00:0:0:feed::1000"};
  return std::any_of(among.begin(), among.end(), [&](const char* text) { return test::ip(text) == address; });
}

bool is_of_link(const IpAddress& address) {
  return address == test::ip("192.168.43.10") || address == test::ip("2001:db8:43::10");
}

/// Whether the kernel can tell the sender about a refusal: it never does for errors, fragments, groups and headers that
/// it cannot read. A reset leaves by the device that the refused socket is bound to, and so reaches only its address.
bool can_be_answered(const Packet& packet) {
  const bool ipv4 = packet.destination.family == Family::ipv4;
  const bool ports = (packet.protocol == 6 || packet.protocol == 17) && packet.transport.size() >= 8 + trailer_size;
  const bool question = packet.protocol == (ipv4 ? 1 : 58) && !packet.transport.empty() &&
                        (ipv4 ? packet.transport[0] != 3 && packet.transport[0] != 11 : packet.transport[0] >= 128);
  return packet.fragment_offset == 0 && !packet.more_fragments && is_for_one(packet.destination) &&
         is_here(packet.source) && (packet.protocol != 6 || (is_of_link(packet.source) && packet.oif == test::wifi)) &&
         packet.oif != loopback_ifindex && (ports || question);
}

std::string describe_packet(const Journey& journey) {
  const Packet& packet = journey.packet;
  std::string text = fmt::format("{} proto {} {} -> {} in {} out {} mark {:#x} uid {} hop {}", name_of(journey.way),
                                 packet.protocol, to_string(packet.source), to_string(packet.destination),
                                 packet.iif ? packet.iif->number : 0, packet.oif ? packet.oif->number : 0, packet.mark,
                                 packet.uid ? static_cast<int>(*packet.uid) : -1, packet.hop_limit);
  if (packet.ether_type != 0) {
    text += fmt::format(" ether type {:#06x}", packet.ether_type);
  }
  if (packet.fragment_offset != 0 || packet.more_fragments) {
    text += fmt::format(" fragment {}{}", packet.fragment_offset, packet.more_fragments ? "+" : "");
  }
  return text + fmt::format(" transport {:02x}", fmt::join(packet.transport, ""));
}

std::string describe_trace(const decide::Trace& trace) {
  const auto& last = trace.back().evaluation;
  return fmt::format("{} stops, {} in {} '{}'", trace.size(), name_of(last.verdict), last.chain, last.comment);
}

std::string describe_seen(const Experiment& experiment) {
  std::vector<std::string_view> places;
  for (const auto place : experiment.seen.places) {
    places.push_back(name_of(place));
  }
  return fmt::format("came out at [{}]{}{}, send {}", fmt::join(places, ", "),
                     experiment.seen.unreachable ? ", prohibited" : "", experiment.seen.reset ? ", reset" : "",
                     experiment.send_error == 0 ? "ok" : std::strerror(experiment.send_error));
}

bool explains(const decide::Trace& trace, const Experiment& experiment) {
  const auto& journey = experiment.journey;
  auto places = experiment.seen.places;
  if (journey.way == Way::sent && !is_for_one(journey.packet.destination)) {
    places.erase(Place::here);  // groups are heard by their sender too
  }
  if (*destination_of(journey) == Place::here) {
    std::erase_if(places, [](Place place) { return place != Place::here; });  // answers may quote it anywhere
  }
  std::set<Place> expected;
  if (decide::arrives(trace)) {
    expected.insert(*destination_of(journey));
  }
  if (places != expected) {
    return false;
  }
  if (journey.way != Way::sent || journey.packet.oif == loopback_ifindex) {
    return true;
  }
  const auto verdict = trace.back().evaluation.verdict;
  const bool unreachable = verdict == Kind::reject_admin_prohibited;
  const bool reset = verdict == Kind::reject_with_tcp_reset;
  if (can_be_answered(journey.packet)) {
    return experiment.seen.unreachable == unreachable && experiment.seen.reset == reset;
  }
  return (!experiment.seen.unreachable || unreachable) && (!experiment.seen.reset || reset);
}

/// Only its EtherType is looked at; a tunnel has none.
Bytes link_header(const Testbed& testbed, const Packet& packet) {
  if (packet.iif == test::tunnel || (!packet.iif && packet.oif == test::tunnel)) {
    return {};
  }
  const bool ipv4 = packet.destination.family == Family::ipv4;
  const std::uint32_t type = packet.ether_type != 0 ? packet.ether_type : ipv4 ? 0x0800 : 0x86dd;
  return testbed.ethernet(static_cast<std::uint16_t>(type));
}

}  // namespace

std::vector<Experiment> observe(Testbed& testbed, std::size_t count, const std::function<Journey()>& draw) {
  constexpr std::size_t batch = 400;
  std::vector<Experiment> experiments(count);
  for (std::size_t first = 0; first < count; first += batch) {
    const std::size_t end = std::min(count, first + batch);
    for (std::size_t i = first; i < end; ++i) {
      auto& one = experiments[i];
      one.journey = draw();
      testbed.describe(one.journey);
      lay_out(one.journey.packet, static_cast<std::uint32_t>(i));
      if (one.journey.packet.link.empty()) {
        one.journey.packet.link = link_header(testbed, one.journey.packet);
      }
      one.send_error = testbed.send(one.journey);
      if (i % 2 == 1) {  // then the interpreter has to find in the bytes what stands in the fields otherwise
        one.journey.packet.source_port.reset();
        one.journey.packet.destination_port.reset();
        one.journey.packet.icmp_type.reset();
      }
    }
    for (auto& [sequence, seen] : testbed.collect()) {
      if (sequence < experiments.size()) {
        experiments[sequence].seen = seen;
      }
    }
  }
  return experiments;
}

std::vector<std::string> mismatches(const Ruleset& ruleset, const std::vector<Experiment>& experiments) {
  std::vector<std::string> found;
  for (const auto& experiment : experiments) {
    const auto trace = decide::trace(ruleset, experiment.journey);
    if (!explains(trace, experiment)) {
      found.push_back(fmt::format("packet:      {}\n  evaluation:  {}\n  observation: {}",
                                  describe_packet(experiment.journey), describe_trace(trace),
                                  describe_seen(experiment)));
    }
  }
  return found;
}

std::string first_of(const std::vector<std::string>& lines) {
  constexpr std::size_t limit = 12;
  const auto shown = std::min(limit, lines.size());
  return fmt::format("{} mismatches\n{}\n", lines.size(),
                     fmt::join(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(shown), "\n"));
}

}  // namespace killswitch::testing
