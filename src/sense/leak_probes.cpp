#include "killswitch/sense/leak_probes.hpp"

#include "leak_parts.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <map>
#include <set>
#include <system_error>

namespace killswitch::sense {
namespace {

using codec::LeakResult;
using codec::LeakVerdict;
using codec::ProbeClass;
using codec::ProbeTarget;
using codec::ProbeWay;
using model::Endpoint;
using model::Family;
using model::IpAddress;
using model::Protocol;

// After the last probe: neighbours that had to be found, queues that had to drain.
constexpr std::chrono::milliseconds settling{1200};
constexpr std::uint32_t nobody = 65534;

std::string words_of(int errno_value) {
  return std::generic_category().message(errno_value);
}

/// What a child says: the same as Sent, without its socket.
struct Told {
  int errno_value{0};
  std::uint16_t source_port{0};
};

/// Sends as another user: in a child, so that this process stays who it is.
Sent send_as(std::uint32_t user, const Shot& shot) {
  Sent sent;
  int ends[2] = {-1, -1};
  if (::pipe(ends) != 0) {
    sent.errno_value = errno;
    return sent;
  }
  const os::Fd reading{ends[0]};
  os::Fd writing{ends[1]};
  const auto child = ::fork();
  if (child == 0) {
    Told told{EINVAL, 0};
    if (::setgroups(0, nullptr) == 0 && ::setresgid(user, user, user) == 0 && ::setresuid(user, user, user) == 0) {
      const auto done = send_packet(shot);
      told = {done.errno_value, done.source_port};
    }
    ::_exit(::write(writing.get(), &told, sizeof told) == sizeof told ? 0 : 1);
  }
  writing = os::Fd{};
  Told told{EINVAL, 0};
  if (child < 0 || ::read(reading.get(), &told, sizeof told) != sizeof told) {
    told.errno_value = EINVAL;
  }
  if (child > 0) {
    ::waitpid(child, nullptr, 0);
  }
  sent.errno_value = told.errno_value;
  sent.source_port = told.source_port;
  return sent;
}

/// One probe that was sent, or could not be.
struct Attempt {
  Shot shot;
  Sent sent;
  std::string obstacle;            ///< why it could not be tried
  std::uint64_t driver_frames{0};  ///< what its driver counted meanwhile, with those of others
};

class Run {
public:
  Run(const LeakTrial& trial, std::vector<ProbeLink> links, std::uint64_t secret)
      : trial_{trial}, links_{std::move(links)}, matcher_{secret} {}

  Outcome open_captures();
  void try_all(const LeakProgress& progress);
  void settle();
  codec::LeakFindings judge();

private:
  void try_one(const ProbeClass& probe, const ProbeLink& link, Family family);
  void launch(Attempt& attempt, std::size_t number);
  /// Fills target, way and number; says why the probe cannot be tried here.
  std::string aim(Shot& shot) const;
  std::string aim_at_server(Shot& shot) const;
  void drain();
  LeakResult judge_one(const Attempt& attempt, std::size_t number) const;
  static LeakResult judge_direct(const Attempt& attempt, LeakResult result);
  std::string why_stopped(const Attempt& attempt, std::size_t number) const;
  bool is_tunnel(const std::string& interface) const;
  static bool refused_for_good(int errno_value);

  const LeakTrial& trial_;
  std::vector<ProbeLink> links_;
  codec::ProbeMatcher matcher_;
  std::vector<Capture> captures_;
  std::deque<Attempt> attempts_;
  std::map<std::size_t, std::set<std::string>> seen_;  ///< interfaces on which a probe left
};

Outcome Run::open_captures() {
  auto watched = trial_.links;
  watched.insert(watched.end(), trial_.tunnels.begin(), trial_.tunnels.end());
  for (const auto& link : watched) {
    auto capture = Capture::open(link);
    if (!capture) {
      return fail(capture.error());
    }
    captures_.push_back(*std::move(capture));
  }
  return done();
}

void Run::drain() {
  for (auto& capture : captures_) {
    capture.drain([&](std::span<const std::uint8_t> packet) {
      if (const auto number = matcher_.recognise(packet)) {
        seen_[*number].insert(capture.name());
      }
    });
  }
}

std::string Run::aim_at_server(Shot& shot) const {
  const auto server = std::find_if(trial_.servers.begin(), trial_.servers.end(),
                                   [&](const Endpoint& known) { return known.address.family == shot.family; });
  if (server == trial_.servers.end()) {
    return "no VPN server is known in this family";
  }
  shot.target = server->address;
  shot.number = server->port.number;
  const auto transport = server->protocol == Protocol::udp ? ProbeWay::datagram : ProbeWay::connection;
  const auto other = server->protocol == Protocol::udp ? ProbeWay::connection : ProbeWay::datagram;
  if (shot.probe->target == ProbeTarget::server_other_port) {
    shot.number = static_cast<std::uint16_t>(server->port.number == 443 ? 444 : 443);
    shot.way = transport;
  } else if (shot.probe->target == ProbeTarget::server_other_protocol) {
    shot.way = other;
  } else if (shot.way == ProbeWay::datagram) {
    shot.way = transport;
  } else if (shot.way == ProbeWay::frame && server->protocol == Protocol::tcp) {
    return "the server is asked over TCP";
  }
  if (shot.probe->other_user) {
    shot.user = nobody;
  }
  return {};
}

std::string Run::aim(Shot& shot) const {
  shot.way = shot.probe->way;
  shot.number = shot.probe->number;
  if (codec::is_frame(shot.way) && !shot.link->ethernet &&
      (shot.way == ProbeWay::unknown_frame || shot.way == ProbeWay::tagged_frame)) {
    return "not an Ethernet link";
  }
  switch (shot.probe->target) {
    case ProbeTarget::documentation: shot.target = documentation_address(shot.family); return {};
    case ProbeTarget::gateway: {
      const auto& gateway = shot.link->gateway(shot.family);
      shot.target = gateway.value_or(IpAddress{shot.family, {}});
      return gateway ? "" : "the link has no gateway";
    }
    case ProbeTarget::group: {
      const auto group = model::parse_ip_address(shot.probe->groups[shot.family == Family::ipv4 ? 0 : 1]);
      shot.target = group ? *group : IpAddress{shot.family, {}};
      return group ? "" : "no such group in this family";
    }
    case ProbeTarget::subnet_broadcast:
      shot.target = shot.link->broadcast.value_or(IpAddress{});
      return shot.link->broadcast ? "" : "the link has no IPv4 address";
    case ProbeTarget::server:
    case ProbeTarget::server_other_port:
    case ProbeTarget::server_other_protocol: return aim_at_server(shot);
  }
  return {};
}

void Run::launch(Attempt& attempt, std::size_t number) {
  const auto& shot = attempt.shot;
  if (codec::is_frame(shot.way)) {
    const auto counted = sent_by_driver(shot.link->link.name);
    attempt.sent = send_frame(shot);
    attempt.driver_frames = sent_by_driver(shot.link->link.name) - counted;
    return;
  }
  attempt.sent = shot.user == 0 ? send_packet(shot) : send_as(shot.user, shot);
  if (shot.way == ProbeWay::connection) {
    matcher_.expect({shot.target, model::Port{shot.number}, model::Port{attempt.sent.source_port}}, number);
  }
}

void Run::try_one(const ProbeClass& probe, const ProbeLink& link, Family family) {
  const auto number = attempts_.size();
  auto& attempt = attempts_.emplace_back();
  attempt.shot.probe = &probe;
  attempt.shot.link = &link;
  attempt.shot.family = family;
  attempt.shot.token = matcher_.token(number);
  attempt.obstacle = aim(attempt.shot);
  if (attempt.obstacle.empty()) {
    drain();
    launch(attempt, number);
    drain();
  }
}

void Run::try_all(const LeakProgress& progress) {
  const auto classes = codec::probe_classes();
  const auto usable =
      static_cast<std::size_t>(std::count_if(links_.begin(), links_.end(), [](const auto& x) { return x.carrier; }));
  std::size_t number = 0;
  for (const auto& link : links_) {
    if (!link.carrier) {
      continue;
    }
    for (const auto& probe : classes) {
      progress(++number, classes.size() * usable, fmt::format("{} on {}", probe.title, link.link.name));
      for (const auto family : {Family::ipv4, Family::ipv6}) {
        if (codec::exists_in(probe, family)) {
          try_one(probe, link, family);
        }
      }
    }
  }
}

void Run::settle() {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + settling;
  for (auto left = settling; left.count() > 0;
       left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now())) {
    wait_for_frames(captures_, left);
    drain();
  }
}

/// Errors that no rule of a firewall makes: the probe has no way to go here.
bool Run::refused_for_good(int errno_value) {
  switch (errno_value) {
    case ENETUNREACH:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case ENOPROTOOPT:
    case ENODEV:
    case ENXIO:
    case ENETDOWN:
    case EMSGSIZE:
    case EINVAL: return true;
    default: return false;
  }
}

bool Run::is_tunnel(const std::string& interface) const {
  return std::any_of(trial_.tunnels.begin(), trial_.tunnels.end(),
                     [&](const model::Link& tunnel) { return tunnel.name == interface; });
}

/// @return nothing when it cannot be said: the packet was taken and waits for a neighbour that does not answer
std::string Run::why_stopped(const Attempt& attempt, std::size_t number) const {
  if (const auto where = seen_.find(number); where != seen_.end()) {
    return fmt::format("went into the tunnel ({})", *where->second.begin());
  }
  int refusal = attempt.sent.errno_value;
  socklen_t size = sizeof refusal;
  if (refusal == 0 && attempt.shot.way == ProbeWay::connection && attempt.sent.socket) {
    (void)::getsockopt(attempt.sent.socket.get(), SOL_SOCKET, SO_ERROR, &refusal, &size);
  }
  if (refusal == ENOBUFS && codec::is_frame(attempt.shot.way)) {
    return "dropped below all sockets";
  }
  const bool neighbour_missing =
      !attempt.shot.link->reaches(attempt.shot.family) && attempt.shot.probe->target != ProbeTarget::group &&
      attempt.shot.probe->target != ProbeTarget::subnet_broadcast && !codec::is_frame(attempt.shot.way);
  if (neighbour_missing && (refusal == 0 || refusal == EHOSTUNREACH)) {
    return {};
  }
  return refusal == 0 ? "taken by the kernel, no frame left" : "refused: " + words_of(refusal);
}

LeakResult Run::judge_direct(const Attempt& attempt, LeakResult result) {
  if (attempt.sent.taken == 0) {
    result.verdict = LeakVerdict::stopped;
    result.detail = attempt.sent.errno_value == ENOBUFS ? "dropped below all sockets"
                                                        : "refused: " + words_of(attempt.sent.errno_value);
    return result;
  }
  result.verdict = LeakVerdict::leaked;
  result.detail = fmt::format("the driver took {} of {} frames (its counter: +{}); no capture can see them",
                              attempt.sent.taken, direct_frames, attempt.driver_frames);
  return result;
}

LeakResult Run::judge_one(const Attempt& attempt, std::size_t number) const {
  LeakResult result{attempt.shot.probe,  attempt.shot.link->link.name,
                    attempt.shot.family, LeakVerdict::not_applicable,
                    attempt.obstacle,    {}};
  if (!attempt.obstacle.empty()) {
    return result;
  }
  if (attempt.shot.way != ProbeWay::unknown_frame) {
    result.target = model::to_string(attempt.shot.target);
  }
  if (const auto where = seen_.find(number); where != seen_.end()) {
    const auto left = std::find_if(where->second.begin(), where->second.end(),
                                   [&](const std::string& interface) { return !is_tunnel(interface); });
    if (left != where->second.end()) {
      result.verdict = LeakVerdict::leaked;
      result.detail = fmt::format("left on {}", *left);
      return result;
    }
  } else if (refused_for_good(attempt.sent.errno_value)) {
    result.detail = "no way on this link: " + words_of(attempt.sent.errno_value);
    return result;
  }
  if (attempt.shot.way == ProbeWay::direct_frame) {
    return judge_direct(attempt, std::move(result));
  }
  result.detail = why_stopped(attempt, number);
  result.verdict = result.detail.empty() ? LeakVerdict::not_applicable : LeakVerdict::stopped;
  if (result.detail.empty()) {
    result.detail = "nobody on the link answers for the next hop, so that no frame could be made";
  }
  return result;
}

codec::LeakFindings Run::judge() {
  codec::LeakFindings findings;
  for (const auto& link : links_) {
    if (link.carrier) {
      findings.links.push_back(link.link.name);
    } else {
      findings.skipped.push_back({link.link.name, "no carrier"});
    }
  }
  for (std::size_t number = 0; number < attempts_.size(); ++number) {
    findings.results.push_back(judge_one(attempts_[number], number));
  }
  for (std::size_t number = 0; number < trial_.links.size(); ++number) {  // behind them are those of the tunnels
    findings.lost_frames += captures_[number].lost();
  }
  return findings;
}

}  // namespace

Result<codec::LeakFindings> try_every_way_out(const LeakTrial& trial, const LeakProgress& progress) {
  std::uint64_t secret = 0;
  if (::getrandom(&secret, sizeof secret, 0) != sizeof secret) {
    return fail(errno, "draw a random number");
  }
  auto links = survey(trial.links);
  if (!links) {
    return fail(links.error());
  }
  Run run{trial, *std::move(links), secret};
  if (auto opened = run.open_captures(); !opened) {
    return fail(opened.error());
  }
  run.try_all(progress);
  run.settle();
  return run.judge();
}

}  // namespace killswitch::sense
