#include "killswitch/app/transport_prover.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/decide/transport.hpp"
#include "killswitch/enforce/transport_socket.hpp"
#include "killswitch/os/log.hpp"
#include "killswitch/os/process.hpp"
#include "killswitch/sense/processes.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <algorithm>
#include <charconv>
#include <utility>

namespace killswitch::app {
namespace {

using namespace std::chrono_literals;
using namespace model;

constexpr std::size_t most_proven = 128;
constexpr std::size_t most_refused = 64;
constexpr std::size_t most_waiting = 16;
constexpr std::size_t most_endpoints = 16;
constexpr auto refused_for = 5s;       // a process may get what it lacked: its tracer leaves, it becomes root's
constexpr auto shortest_pause = 50ms;  // between two scans
constexpr int scan_share = 20;         // one part in so many of the time may be spent on scanning
constexpr std::uint32_t crowd = 20;    // copies in a second; the ruleset makes at most 50 of each family
constexpr std::string_view stored_prefix = "proven-";
constexpr std::uint8_t tcp = 6;
constexpr std::uint8_t udp = 17;
constexpr std::size_t udp_header = 8;

/// The bytes behind the UDP header, as long as that says; nothing when the copy is not whole.
std::span<const std::uint8_t> udp_payload(const Packet& packet) {
  const auto& bytes = packet.transport;
  if (packet.protocol != udp || packet.more_fragments || packet.fragment_offset != 0 || bytes.size() < udp_header) {
    return {};
  }
  const std::size_t length = std::size_t{bytes[4]} << 8U | bytes[5];
  if (length < udp_header || length > bytes.size()) {
    return {};
  }
  return std::span{bytes}.subspan(udp_header, length - udp_header);
}

std::string stored_name(std::uint32_t pid, const FileId& executable) {
  return fmt::format("{}{}-{}-{}", stored_prefix, pid, executable.device, executable.inode);
}

std::optional<FileId> stored_executable(std::string_view name) {
  const auto parts = split(name, '-');  // proven-PID-DEVICE-INODE
  FileId id;
  const auto read = [](std::string_view text, std::uint64_t& number) {
    const auto* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    return error == std::errc{} && stop == end;
  };
  const bool whole = parts.size() == 4 && read(parts[2], id.device) && read(parts[3], id.inode);
  return whole ? std::optional{id} : std::nullopt;
}

void log_problem(const Outcome& outcome) {
  if (!outcome) {
    os::log(os::LogLevel::warning, outcome.error().message());
  }
}

}  // namespace

TransportProver::TransportProver(os::EventLoop& loop, Post post) : loop_{loop}, post_{std::move(post)} {}

void TransportProver::start() {
  auto problem = sense::why_no_proof();
  if (problem.empty()) {
    auto packets =
        sense::TransportPackets::start(loop_, [this](const Packet& packet, bool marked) { on_packet(packet, marked); });
    auto lookup = sense::SocketLookup::open();
    if (packets && lookup) {
      packets_ = std::move(*packets);
      lookup_.emplace(std::move(*lookup));
    } else {
      problem = "no process can be proven to be OpenVPN: " + (packets ? lookup.error() : packets.error()).message();
    }
  }
  post_(TransportProofUnavailable{std::move(problem)});
}

bool TransportProver::adopt(os::NamedFd& kept) {
  if (!kept.name.starts_with(stored_prefix)) {
    return false;
  }
  os::Fd process = std::move(kept.fd);
  const auto pid = os::pid_of(process.get());
  const auto executable = stored_executable(kept.name);
  // Once proven, a process stays proven until it ends or runs another program, whatever it gave up since.
  if (!pid || !executable || os::has_ended(process) || sense::executable_of(*pid) != executable) {
    log_problem(os::forget_fd(kept.name));
    return true;
  }
  auto program = os::link_of_process(*pid, "exe");
  constexpr std::string_view deleted = " (deleted)";
  if (program.ends_with(deleted)) {
    program.resize(program.size() - deleted.size());
  }
  take(*pid, std::move(process), *executable, std::move(program));
  return true;
}

void TransportProver::search(std::optional<TransportSearch> what) {
  if (what == search_ || !lookup_) {
    return;
  }
  const bool begins = !search_;
  const bool other_programs = search_ && what && search_->programs != what->programs;
  search_ = std::move(what);
  if (!search_) {
    examined_.clear();
    refused_.clear();
    waiting_.clear();
    return;
  }
  if (begins || other_programs) {
    drop_withdrawn();
    scan(Scope::holders);  // an OpenVPN may be at work already
  }
  std::erase_if(examined_, [&](const TunnelCandidate& one) {
    return std::find(search_->tunnels.begin(), search_->tunnels.end(), one) == search_->tunnels.end();
  });
  look_at_tunnels();
}

bool TransportProver::is_held(IfIndex tunnel) const {
  return std::any_of(proven_.begin(), proven_.end(), [&](const auto& entry) {
    const auto& held = entry.second.known.tunnels;
    return std::binary_search(held.begin(), held.end(), tunnel);
  });
}

void TransportProver::look_at_tunnels() {
  std::vector<TunnelCandidate> unseen;
  for (const auto& tunnel : search_->tunnels) {
    if (std::find(examined_.begin(), examined_.end(), tunnel) == examined_.end()) {
      unseen.push_back(tunnel);
    }
  }
  if (unseen.empty()) {
    return;
  }
  refresh_all();
  const auto is_known = [this](const TunnelCandidate& one) { return is_held(one.index); };
  if (!std::all_of(unseen.begin(), unseen.end(), is_known)) {
    scan(Scope::holders);
  }
  examined_ = search_->tunnels;
}

void TransportProver::on_packet(const Packet& packet, bool marked) {
  if (!search_ || (packet.protocol != tcp && packet.protocol != udp) || !packet.destination_port) {
    return;
  }
  const Endpoint to{packet.destination, *packet.destination_port,
                    packet.protocol == tcp ? Protocol::tcp : Protocol::udp};
  if (!std::binary_search(search_->endpoints.begin(), search_->endpoints.end(), to)) {
    return;
  }
  const auto inode = lookup_->find_inode(packet);
  if (inode && claim(*inode, to, packet, marked)) {
    return;
  }
  const auto now = Clock::now();
  if (is_crowded(now)) {  // also by sockets that are closed already
    crowded_ = true;
    scan_later();
    return;
  }
  if (!inode) {
    return;
  }
  std::erase_if(refused_, [&](const Refused& one) { return now - one.at > refused_for; });
  const auto is_it = [&](const Refused& one) { return one.inode == *inode; };
  if (std::any_of(refused_.begin(), refused_.end(), is_it)) {
    return;
  }
  if (now < next_scan_) {
    waiting_.push_back({*inode, to, packet, marked});
    if (waiting_.size() > most_waiting) {
      waiting_.pop_front();
    }
    scan_later();
    return;
  }
  scan(Scope::holders, *inode);
  pause_since(now);
  if (!claim(*inode, to, packet, marked)) {
    refused_.push_back({*inode, now});
    if (refused_.size() > most_refused) {
      refused_.pop_front();
    }
  }
}

/// The copy may be late: an unprivileged program can have sent it from a port that is OpenVPN's by now. Only what the
/// kernel says was sent by root, or by a system user that nothing but this program runs as, is taken for OpenVPN's.
bool TransportProver::is_its_own(const Proven& proven, const Packet& packet) const {
  if (!packet.uid || *packet.uid == 0) {
    return packet.uid.has_value();
  }
  const auto files = sense::inspect_programs(search_->programs);
  return std::any_of(files.begin(), files.end(), [&](const ProgramFile& one) {
    return one.file == proven.executable && one.untrusted.empty() && one.uid == packet.uid;
  });
}

bool TransportProver::claim(std::uint32_t inode, const Endpoint& to, const Packet& packet, bool marked) {
  for (auto& [pid, proven] : proven_) {
    const auto descriptor = sense::find_descriptor(pid, inode);
    if (!descriptor) {
      continue;
    }
    if (!marked) {
      auto socket = os::duplicate_of(proven.process, *descriptor);
      struct stat info {};
      // The descriptor may be another file by now, and the process another program.
      if (!socket || ::fstat(socket->get(), &info) != 0 || info.st_ino != inode || !mark(proven, socket->get())) {
        return true;
      }
      if (!is_its_own(proven, packet)) {
        return true;  // it sends again by itself, and is then seen by its mark
      }
      if (const auto payload = udp_payload(packet); !payload.empty()) {
        log_problem(enforce::send_again(socket->get(), to, payload));
      }
    }
    auto& endpoints = proven.known.endpoints;
    std::erase(endpoints, to);
    endpoints.push_back(to);
    if (endpoints.size() > most_endpoints) {
      endpoints.erase(endpoints.begin());
    }
    refresh(pid);
    return true;
  }
  return false;
}

bool TransportProver::mark(const Proven& proven, int socket) {
  const auto before = enforce::mark_of_socket(socket);
  if (!before) {
    return false;
  }
  const auto marked = enforce::mark_socket(socket, search_->mark);
  if (marked && !is_same_program(proven)) {
    log_problem(enforce::mark_socket(socket, *before));
    return false;
  }
  log_problem(marked);
  return marked.has_value();
}

void TransportProver::mark_sockets(const Proven& proven) {
  for (const int descriptor : sense::socket_descriptors(proven.known.pid)) {
    const auto socket = os::duplicate_of(proven.process, descriptor);
    if (!socket) {
      continue;
    }
    const auto ends = enforce::tcp_ends(socket->get());
    const bool goes_there =
        ends && std::binary_search(search_->endpoints.begin(), search_->endpoints.end(), ends->peer);
    if (goes_there || enforce::is_udp(socket->get()) || enforce::is_opening_tcp(socket->get())) {
      [[maybe_unused]] const bool marked = mark(proven, socket->get());
    }
  }
}

bool TransportProver::is_crowded(Clock::time_point now) {
  if (now - count_since_ > 1s) {
    count_since_ = now;
    count_ = 0;
  }
  return ++count_ > crowd;
}

void TransportProver::pause_since(Clock::time_point began) {
  const auto now = Clock::now();
  next_scan_ = now + std::max<Clock::duration>((now - began) * (scan_share - 1), shortest_pause);
}

void TransportProver::scan_later() {
  if (pending_scan_) {
    return;
  }
  const auto delay = std::max<Clock::duration>(next_scan_ - Clock::now(), 0ms);
  auto timer = loop_.after(std::chrono::duration_cast<std::chrono::microseconds>(delay), [this] {
    pending_scan_ = {};
    if (!search_) {
      return;
    }
    const auto began = Clock::now();
    scan(Scope::all);
    for (const auto& one : std::exchange(waiting_, {})) {
      [[maybe_unused]] const bool claimed = claim(one.inode, one.to, one.packet, one.marked);
    }
    if (std::exchange(crowded_, false)) {
      // So many copies come that OpenVPN's own need not be among them: its sockets are marked without one. Where they
      // send to shows in the copies of marked packets, which nobody else can flood.
      for (const auto& [pid, proven] : proven_) {
        mark_sockets(proven);
      }
    }
    refresh_all();
    pause_since(began);
    examined_ = search_->tunnels;
  });
  if (timer) {
    pending_scan_ = std::move(*timer);
  }
}

void TransportProver::scan(Scope scope, std::optional<std::uint32_t> inode) {
  const auto files = sense::inspect_programs(search_->programs);
  sense::find_processes(files, [&](std::uint32_t pid) {
    if (proven_.contains(pid) || proven_.size() >= most_proven) {
      return false;
    }
    auto process = os::open_process(pid);
    const auto facts = process ? sense::read_process(pid) : fail(process.error());
    const bool has_socket = inode && sense::find_descriptor(pid, *inode);
    if (!facts || (scope == Scope::holders && !has_socket && sense::held_tunnels(pid).empty())) {
      return false;  // it has ended, or is at work on something else
    }
    auto judgement = decide::judge_process(*facts, files);
    if (os::has_ended(*process)) {
      return false;  // what was read may be of another process that got its number
    }
    if (!judgement.program.empty()) {
      take(pid, std::move(*process), facts->executable, std::move(judgement.program));
    } else {
      report_refusal(pid, std::move(judgement.refusal));
    }
    return scope == Scope::holders && has_socket;  // the one that was looked for
  });
}

void TransportProver::report_refusal(std::uint32_t pid, std::string reason) {
  auto& known = reported_[pid];
  if (known == reason) {
    return;
  }
  known = reason;
  post_(TransportRefused{std::move(reason)});
  if (reported_.size() > most_refused) {
    reported_.clear();
  }
}

void TransportProver::drop_withdrawn() {
  const auto files = sense::inspect_programs(search_->programs);
  std::vector<std::uint32_t> withdrawn;
  for (auto& [pid, proven] : proven_) {
    const auto file = std::find_if(files.begin(), files.end(), [&, executable = proven.executable](const auto& one) {
      return one.file == executable && one.untrusted.empty();
    });
    const auto is_path = [&, path = proven.known.program](const ProgramFile& one) { return one.program.path == path; };
    if (file != files.end()) {
      proven.known.program = file->program.path;
    } else if (std::none_of(files.begin(), files.end(), is_path)) {  // else an upgrade replaced the file meanwhile
      withdrawn.push_back(pid);
    }
  }
  for (const auto pid : withdrawn) {
    const auto& proven = proven_.at(pid);
    for (const int descriptor : sense::socket_descriptors(pid)) {
      const auto socket = os::duplicate_of(proven.process, descriptor);
      const auto mark = socket ? enforce::mark_of_socket(socket->get()) : fail(socket.error());
      if (mark && *mark == search_->mark) {
        log_problem(enforce::mark_socket(socket->get(), 0));
      }
    }
    forget(pid);
  }
}

void TransportProver::take(std::uint32_t pid, os::Fd process, FileId executable, std::string program) {
  auto end = loop_.watch_fd(process.get(), EPOLLIN, [this, pid](std::uint32_t) { forget(pid); });
  if (!end) {
    log_problem(fail(end.error()));
    return;
  }
  auto& proven = proven_[pid];
  proven.process = std::move(process);
  proven.executable = executable;
  proven.known = {pid, std::move(program), {}, {}, {}};
  proven.stored = stored_name(pid, executable);
  proven.end = std::move(*end);
  log_problem(os::store_fd(proven.stored, proven.process.get()));
  refresh(pid);
}

bool TransportProver::is_same_program(const Proven& proven) const {
  return sense::executable_of(proven.known.pid) == proven.executable && !os::has_ended(proven.process);
}

void TransportProver::refresh(std::uint32_t pid) {
  auto& proven = proven_.at(pid);
  if (!is_same_program(proven)) {
    forget(pid);
    return;
  }
  proven.known.tunnels = sense::held_tunnels(pid);
  proven.known.local = search_ && search_->helpers ? local_connections(proven) : std::vector<LocalConnection>{};
  if (proven.posted != proven.known) {
    proven.posted = proven.known;
    post_(TransportProven{proven.known});
  }
}

std::vector<LocalConnection> TransportProver::local_connections(const Proven& proven) {
  std::vector<LocalConnection> found;
  for (const int descriptor : sense::socket_descriptors(proven.known.pid)) {
    const auto socket = os::duplicate_of(proven.process, descriptor);
    const auto ends = socket ? enforce::tcp_ends(socket->get()) : std::nullopt;
    if (ends && (is_loopback(ends->peer.address) || ends->peer.address == ends->own.address)) {
      found.push_back({ends->own, ends->peer});
    }
  }
  return found;
}

void TransportProver::refresh_all() {
  std::vector<std::uint32_t> pids;
  for (const auto& [pid, proven] : proven_) {
    pids.push_back(pid);
  }
  for (const auto pid : pids) {
    refresh(pid);
  }
}

void TransportProver::forget(std::uint32_t pid) {
  const auto entry = proven_.extract(pid);
  if (!entry.empty()) {
    log_problem(os::forget_fd(entry.mapped().stored));
    post_(TransportEnded{pid});
  }
}

}  // namespace killswitch::app
