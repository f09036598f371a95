#include "killswitch/enforce/dns.hpp"

#include "dns_backends.hpp"
#include "killswitch/base/text.hpp"
#include "killswitch/codec/dns_journal.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/os/snapshot.hpp"

#include <algorithm>

namespace killswitch::enforce {
namespace {

using namespace std::chrono_literals;
using model::DnsBackend;
using model::DnsJournal;
using model::DnsSetup;

// Two programs that will not agree about a file would keep the processor busy: more often than this a second, the next
// change waits. What is in the file meanwhile opens nothing.
constexpr auto window = 1s;
constexpr unsigned changes_in_window = 100;
constexpr auto pause = 100ms;

struct Series {
  Refusals refusals;
  Told told;
  std::size_t open{0};
  Outcome outcome{done()};
};

bool is_passed_over(const Error& error, Refusals refusals) {
  return refusals == Refusals::are_passed_over &&
         (error.code == os::BusError::remote_error || error.code == os::BusError::invalid_argument ||
          error.code == os::BusError::no_such_object);
}

/// Not a word against the service: it starts, ends or is slow, or speaks of a link that went while it was told.
bool may_pass(const Error& error) {
  return error.code == os::BusError::no_such_object || error.code == os::BusError::service_unknown ||
         error.code == os::BusError::timed_out || error.code == os::BusError::disconnected ||
         error.code == os::BusError::unreachable;
}

void close(Series& series, const Outcome& outcome) {
  if (series.outcome && !outcome) {
    series.outcome = outcome;
  }
  if (--series.open == 0) {
    series.told(series.outcome);
  }
}

/// As call_all, for a program that does nothing else meanwhile; ends at the first that fails.
Outcome call_and_wait(os::Bus* bus, const std::vector<os::BusCall>& calls, Refusals refusals) {
  if (bus == nullptr) {
    return fail(Error{make_error_code(os::BusError::unreachable), "D-Bus"});
  }
  for (const auto& one : calls) {
    if (const auto answer = bus->call(one); !answer && !is_passed_over(answer.error(), refusals)) {
      return fail(answer.error());
    }
  }
  return done();
}

std::vector<model::ResolvedLink> other_links(const model::DnsFacts& before, model::IfIndex tunnel) {
  std::vector<model::ResolvedLink> others;
  for (const auto& link : before.resolved.value_or(std::vector<model::ResolvedLink>{})) {
    const bool asks = !link.servers.empty() || !link.domains.empty();
    if (link.index != tunnel && link.index.number != 0 && asks) {
      others.push_back(link);
    }
  }
  return others;
}

/// What is there before the change, added to what is known from earlier changes, which came first.
DnsJournal journal_of(DnsJournal journal, const DnsSetup& setup, const model::DnsFacts& before) {
  const auto tells = [&](DnsBackend backend) {
    return std::find(setup.backends.begin(), setup.backends.end(), backend) != setup.backends.end();
  };
  if (tells(DnsBackend::resolved) && setup.tunnel != journal.setup.tunnel) {
    // A number that was another link's before.
    std::erase_if(journal.resolved, [&](const auto& link) { return link.index == setup.tunnel; });
  }
  journal.setup = setup;
  if (!journal.resolv_conf) {
    journal.resolv_conf = before.resolv_conf.file;
  }
  journal.file_replaced = journal.file_replaced || tells(DnsBackend::file);
  if (tells(DnsBackend::networkmanager) && !journal.networkmanager && before.networkmanager) {
    journal.networkmanager = before.networkmanager->global;
  }
  if (tells(DnsBackend::resolved)) {
    for (const auto& link : other_links(before, setup.tunnel)) {
      std::erase_if(journal.resolved, [&](const auto& known) { return known.index == link.index; });
      journal.resolved.push_back(link);
    }
  }
  return journal;
}

}  // namespace

void call_all(os::Bus* bus, const std::vector<os::BusCall>& calls, Refusals refusals, Told told) {
  if (bus == nullptr) {
    told(fail(Error{make_error_code(os::BusError::unreachable), "D-Bus"}));
    return;
  }
  const auto series = std::make_shared<Series>(Series{refusals, std::move(told), calls.size() + 1});
  for (const auto& call : calls) {
    auto sent = bus->call_async(call, [series](const Result<os::BusValues>& answer) {
      const bool is_fine = answer || is_passed_over(answer.error(), series->refusals);
      close(*series, is_fine ? Outcome{done()} : fail(answer.error()));
    });
    if (!sent) {
      close(*series, sent);
    }
  }
  close(*series, done());
}

struct Dns::Round {
  model::ApplyDns request;
  std::size_t next{0};
  std::vector<model::DnsFailure> failures;
};

Dns::Dns(os::EventLoop& loop, DnsPlaces places, std::function<void(model::Event)> report)
    : loop_{loop}, places_{std::move(places)}, report_{std::move(report)} {}

Outcome Dns::resume() {
  const auto text = os::read_file(places_.journal);
  if (!text) {
    return text.error().code == std::errc::no_such_file_or_directory ? Outcome{done()} : fail(text.error());
  }
  auto journal = codec::parse_dns_journal(*text, places_.journal);
  if (!journal) {
    return fail(journal.error());
  }
  journal_ = *std::move(journal);
  report_(model::DnsEngaged{journal_->setup});
  return done();
}

void Dns::use_bus(os::Bus* bus) {
  bus_ = bus;
}

bool Dns::too_often() {
  const auto now = std::chrono::steady_clock::now();
  if (now - window_ > window) {
    window_ = now;
    in_window_ = 0;
  }
  return ++in_window_ > changes_in_window;
}

void Dns::apply(const model::ApplyDns& request) {
  const auto round = std::make_shared<Round>(Round{request, 0, {}});
  round_ = round;
  if (too_often()) {
    auto timer = loop_.after(pause, [this, round] { start(round); });
    if (timer) {
      later_ = std::move(*timer);
      return;
    }
  }
  start(round);
}

void Dns::start(const std::shared_ptr<Round>& round) {
  auto journal = journal_of(journal_.value_or(DnsJournal{}), round->request.setup, round->request.before);
  // What cannot be given back is not taken.
  auto kept = journal.file_replaced && journal.resolv_conf->kind == model::FileCopy::Kind::other
                  ? Outcome{fail(places_.resolv_conf + " is neither a file nor a link, or cannot be read: it stays")}
                  : keep(journal);
  if (!kept) {
    round->failures.push_back({DnsBackend::file, kept.error().message()});
    round->next = round->request.tell.size();
  }
  next(round);
}

Outcome Dns::keep(const DnsJournal& journal) {
  if (journal_ == journal) {
    return done();
  }
  if (auto saved = os::replace_file(places_.journal, codec::render_dns_journal(journal), 0600); !saved) {
    return saved;
  }
  journal_ = journal;
  return done();
}

void Dns::next(const std::shared_ptr<Round>& round) {
  if (round != round_) {
    return;
  }
  if (round->next == round->request.tell.size()) {
    round_.reset();
    report_(model::DnsApplied{round->request.setup, round->failures});
    return;
  }
  const auto backend = round->request.tell[round->next++];
  const auto told = [this, round, backend](const Outcome& outcome) { note(round, backend, outcome); };
  switch (backend) {
    case DnsBackend::file: return told(write_resolv_conf(places_, round->request.setup));
    case DnsBackend::networkmanager: {
      model::GlobalDns global;
      global.searches = round->request.setup.search_domains;
      for (std::size_t i = 0; i < round->request.setup.servers.size() && i < model::resolver_limit; ++i) {
        global.domains["*"].servers.push_back(to_string(round->request.setup.servers[i]));
      }
      return call_all(bus_, networkmanager_calls(global), Refusals::matter, told);
    }
    case DnsBackend::resolved:
      return call_all(
          bus_, resolved_calls(round->request.setup, other_links(round->request.before, round->request.setup.tunnel)),
          Refusals::matter, told);
  }
}

void Dns::note(const std::shared_ptr<Round>& round, DnsBackend backend, const Outcome& outcome) {
  if (!outcome) {
    round->failures.push_back({backend, outcome.error().message(), may_pass(outcome.error())});
  }
  next(round);
}

void Dns::restore() {
  round_.reset();
  later_ = {};
  problems_.clear();
  if (!journal_) {
    report_(model::DnsRestored{});
    return;
  }
  if (journal_->file_replaced && journal_->resolv_conf) {
    if (auto outcome = restore_resolv_conf(places_, *journal_->resolv_conf, true); !outcome) {
      problems_.push_back(outcome.error().message());
    }
  }
  // NetworkManager last: it knows the present lease, and tells systemd-resolved of it.
  give_back_resolved();
}

void Dns::give_back_networkmanager() {
  if (!journal_->networkmanager) {
    finish_restore();
    return;
  }
  call_all(bus_, networkmanager_calls(*journal_->networkmanager), Refusals::matter, [this](const Outcome& outcome) {
    if (!journal_ || round_) {
      return;  // enabled again meanwhile
    }
    if (!outcome) {
      // It does not run, or does not answer: what it has on disk is what it will start with.
      auto cleaned = clean_networkmanager_state(places_);
      if (cleaned && journal_->resolv_conf && !journal_->file_replaced) {
        cleaned = restore_resolv_conf(places_, *journal_->resolv_conf, false);
      }
      if (!cleaned) {
        problems_.push_back(cleaned.error().message());
      }
    }
    finish_restore();
  });
}

void Dns::give_back_resolved() {
  const auto& told = journal_->setup.backends;
  if (std::find(told.begin(), told.end(), DnsBackend::resolved) == told.end() && journal_->resolved.empty()) {
    give_back_networkmanager();
    return;
  }
  call_all(bus_, resolved_restore_calls(*journal_), Refusals::are_passed_over, [this](const Outcome& outcome) {
    if (!journal_ || round_) {
      return;
    }
    if (!outcome && !journal_->resolved.empty()) {
      problems_.push_back(outcome.error().message());
    }
    give_back_networkmanager();
  });
}

void Dns::finish_restore() {
  if (problems_.empty()) {
    if (auto removed = os::remove_file(places_.journal); removed) {
      journal_.reset();
    } else {
      problems_.push_back(removed.error().message());
    }
  }
  report_(model::DnsRestored{join(problems_, "; ")});
}

Outcome restore_dns(const DnsPlaces& places, os::Bus* bus) {
  const auto text = os::read_file(places.journal);
  if (!text) {
    return text.error().code == std::errc::no_such_file_or_directory ? Outcome{done()} : fail(text.error());
  }
  const auto journal = codec::parse_dns_journal(*text, places.journal);
  if (!journal) {
    return fail(journal.error());
  }
  std::vector<std::string> problems;
  const auto note = [&problems](const Outcome& outcome) {
    if (!outcome) {
      problems.push_back(outcome.error().message());
    }
  };
  if (journal->file_replaced && journal->resolv_conf) {
    note(restore_resolv_conf(places, *journal->resolv_conf, true));
  }
  const auto& told = journal->setup.backends;
  if (std::find(told.begin(), told.end(), DnsBackend::resolved) != told.end() || !journal->resolved.empty()) {
    const auto outcome = call_and_wait(bus, resolved_restore_calls(*journal), Refusals::are_passed_over);
    // Without resolved there is nobody to give it back to, and what it kept of a link is renewed with the next lease.
    if (!outcome && outcome.error().code != os::BusError::service_unknown &&
        outcome.error().code != os::BusError::unreachable) {
      note(outcome);
    }
  }
  if (journal->networkmanager &&
      !call_and_wait(bus, networkmanager_calls(*journal->networkmanager), Refusals::matter)) {
    note(clean_networkmanager_state(places));
    if (journal->resolv_conf && !journal->file_replaced) {
      note(restore_resolv_conf(places, *journal->resolv_conf, false));
    }
  }
  if (problems.empty()) {
    return os::remove_file(places.journal);
  }
  return fail(join(problems, "; "));
}

}  // namespace killswitch::enforce
