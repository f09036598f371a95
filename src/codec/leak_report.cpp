// Findings of the leak probes → text and JSON. State first, the table then, and for what leaked: what it means and what
// to do.
#include "killswitch/codec/leak_report.hpp"

#include "json_parts.hpp"
#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <set>

namespace killswitch::codec {
namespace {

using model::Family;
using model::State;
using model::Status;

std::string_view family_word(const LeakResult& result) {
  if (result.probe->way == ProbeWay::unknown_frame) {
    return "none";
  }
  return result.family == Family::ipv4 ? "ipv4" : "ipv6";
}

std::string_view family_name(const LeakResult& result) {
  if (result.probe->way == ProbeWay::unknown_frame) {
    return "-";
  }
  return result.family == Family::ipv4 ? "IPv4" : "IPv6";
}

std::string_view verdict_name(LeakVerdict verdict) {
  switch (verdict) {
    case LeakVerdict::stopped: return "stopped";
    case LeakVerdict::leaked: return "LEAKED";
    case LeakVerdict::not_applicable: return "not tried";
  }
  return "not tried";
}

std::string state_line(const Status& status) {
  if (status.state == State::disabled) {
    return "killswitch test: the kill switch is DISABLED; this is what leaves this machine without it\n";
  }
  return fmt::format("killswitch test: the kill switch is on ({}, {})\n", model::to_string(status.state),
                     status.enforced ? "rules verified" : "rules NOT verified");
}

/// One line for both families where they came to the same.
void table_of(std::string& text, const LeakFindings& findings, const std::string& link) {
  text += fmt::format("\n{}\n", printable(link));
  const auto& results = findings.results;
  for (auto result = results.begin(); result != results.end(); ++result) {
    if (result->link != link) {
      continue;
    }
    auto families = std::string{family_name(*result)};
    if (const auto next = result + 1; next != results.end() && next->probe == result->probe && next->link == link &&
                                      next->verdict == result->verdict && next->detail == result->detail) {
      result = next;
      families += " " + std::string{family_name(*next)};
    }
    text += fmt::format("  {:<41} {:<9} {:<9} {}\n", result->probe->title, families, verdict_name(result->verdict),
                        printable(result->detail));
  }
}

std::string advice_for(const ProbeClass& probe, const Status& status) {
  if (status.state == State::disabled) {
    return "killswitch enable --config FILE.ovpn";
  }
  if (is_frame(probe.way) && !status.egress_hook) {
    return "this kernel has no nf_tables egress hook (Linux 5.16, CONFIG_NETFILTER_EGRESS): take CAP_NET_RAW away "
           "from programs, or use a newer kernel";
  }
  if (is_frame(probe.way)) {
    return "`nft list table netdev killswitch` must show an egress chain with this link: `killswitch rules` says what "
           "differs; restart killswitchd, and look for who removed it";
  }
  return "`killswitch rules` says whether the kernel holds what is wanted, `killswitch policy show POLICY` what is "
         "allowed on purpose; restart killswitchd, and look for who changed the rules";
}

void explain_leaks(std::string& text, const Status& status, const LeakFindings& findings) {
  std::set<std::string_view> meanings;
  std::set<std::string> advice;
  text += "\nWhat it means\n";
  for (const auto& result : findings.results) {
    if (result.verdict != LeakVerdict::leaked) {
      continue;
    }
    advice.insert(advice_for(*result.probe, status));
    if (!meanings.insert(result.probe->meaning).second) {
      continue;
    }
    std::string titles;
    std::set<const ProbeClass*> listed;
    for (const auto& other : findings.results) {
      if (other.verdict == LeakVerdict::leaked && other.probe->meaning == result.probe->meaning &&
          listed.insert(other.probe).second) {
        titles += (titles.empty() ? "" : "; ") + std::string{other.probe->title};
      }
    }
    text += fmt::format("  {}:\n    {}\n", titles, result.probe->meaning);
  }
  text += "What to do\n";
  for (const auto& line : advice) {
    text += fmt::format("  {}\n", line);
  }
}

std::string verdict_of(const LeakFindings& findings) {
  if (findings.links.empty()) {
    return "No link is up: there is no way out to try, and nothing is proved.\n";
  }
  const auto leaks = count_leaks(findings);
  const auto tried = std::count_if(findings.results.begin(), findings.results.end(), [](const LeakResult& result) {
    return result.verdict != LeakVerdict::not_applicable;
  });
  if (leaks > 0) {
    return fmt::format("{} of {} ways out leak.\n", leaks, tried);
  }
  return fmt::format("Nothing left: {} ways out were tried, and no frame of them was seen on a link.\n", tried);
}

}  // namespace

std::string_view to_string(LeakVerdict verdict) {
  switch (verdict) {
    case LeakVerdict::stopped: return "stopped";
    case LeakVerdict::leaked: return "leaked";
    case LeakVerdict::not_applicable: return "not_applicable";
  }
  return "not_applicable";
}

std::size_t count_leaks(const LeakFindings& findings) {
  return static_cast<std::size_t>(
      std::count_if(findings.results.begin(), findings.results.end(),
                    [](const LeakResult& result) { return result.verdict == LeakVerdict::leaked; }));
}

std::string render_leak_text(const Status& status, const LeakFindings& findings) {
  auto text = state_line(status);
  for (const auto& link : findings.links) {
    table_of(text, findings, link);
  }
  if (!findings.skipped.empty()) {
    text += '\n';
  }
  for (const auto& skipped : findings.skipped) {
    text += fmt::format("{}: not tried: {}\n", printable(skipped.link), printable(skipped.reason));
  }
  if (count_leaks(findings) > 0) {
    explain_leaks(text, status, findings);
  }
  text += '\n' + verdict_of(findings);
  if (findings.lost_frames > 0) {
    text += fmt::format("The capture lost {} frames (busy link): \"stopped\" is not proved. Try again.\n",
                        findings.lost_frames);
  }
  return text;
}

std::string render_leak_json(const Status& status, const LeakFindings& findings) {
  OrderedJson json{{"version", 1},
                   {"state", model::to_string(status.state)},
                   {"enforced", status.enforced},
                   {"links", findings.links},
                   {"skipped", OrderedJson::array()},
                   {"results", OrderedJson::array()},
                   {"leaked", count_leaks(findings)},
                   {"lost_frames", findings.lost_frames}};
  for (const auto& skipped : findings.skipped) {
    json["skipped"].push_back({{"link", skipped.link}, {"reason", skipped.reason}});
  }
  for (const auto& result : findings.results) {
    json["results"].push_back({{"class", result.probe->id},
                               {"link", result.link},
                               {"family", family_word(result)},
                               {"verdict", to_string(result.verdict)},
                               {"detail", result.detail},
                               {"target", result.target}});
  }
  return pretty(json);
}

}  // namespace killswitch::codec
