#include "killswitch/sense/ask_password.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/os/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>
#include <vector>

namespace killswitch::sense {
namespace {

/// What the program printed, up to the first newline; its size is at most the limit of a secret.
Result<std::string> read_secret(int fd) {
  std::string text(AskPassword::secret_limit + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const auto got = ::read(fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      break;  // the end, or nothing more from a program that has ended
    }
    size += static_cast<std::size_t>(got);
  }
  const auto end = std::min(text.find('\n'), size);
  if (end > AskPassword::secret_limit) {
    ::explicit_bzero(text.data(), text.size());
    return fail(fmt::format("the answer is longer than {} bytes", AskPassword::secret_limit));
  }
  ::explicit_bzero(text.data() + end, text.size() - end);
  text.resize(end);
  return text;
}

/// Calls back and wipes.
void deliver(const AskPassword::Answer& answer, Result<std::string> secret) {
  if (answer) {
    answer(secret);
  }
  if (secret) {
    ::explicit_bzero(secret->data(), secret->size());
  }
}

}  // namespace

AskPassword::AskPassword(os::EventLoop& loop, std::string program) : loop_{loop}, program_{std::move(program)} {}

AskPassword::~AskPassword() {
  kill_child();
}

Outcome AskPassword::ask(Question question, Answer answer) {
  if (waiting_.size() >= question_limit) {
    return fail(fmt::format("ask for a password: {} questions wait already", waiting_.size()));
  }
  waiting_.push_back({std::move(question), std::move(answer)});
  next();
  return done();
}

void AskPassword::cancel() {
  waiting_.clear();
  answer_ = nullptr;
  kill_child();  // `finished` follows and reaps it
}

void AskPassword::kill_child() const {
  if (child_ > 0) {
    ::kill(child_, SIGTERM);
  }
}

void AskPassword::next() {
  while (child_ < 0 && !waiting_.empty()) {
    auto pending = std::move(waiting_.front());
    waiting_.pop_front();
    if (const auto started = start(pending.question); !started) {
      deliver(pending.answer, fail(started.error().within("ask for a password")));
    } else {
      answer_ = std::move(pending.answer);
    }
  }
}

Outcome AskPassword::start(const Question& question) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    return fail(errno, "open a pipe");
  }
  os::Fd output{ends[0]};
  const os::Fd input{ends[1]};
  std::vector<std::string> arguments{program_, "--no-tty", "--icon=network-vpn", "--id=killswitch:openvpn",
                                     fmt::format("--timeout={}", patience.count())};
  if (question.echo == Question::Echo::yes) {
    arguments.emplace_back("--echo");
  }
  arguments.emplace_back("--");
  arguments.push_back(printable(question.text));
  auto pid = os::start_child({program_, std::move(arguments), input.get()});
  if (!pid) {
    return fail(pid.error());
  }
  child_ = *pid;
  auto source = loop_.watch_child(child_, [this](int status) { finished(status); });
  if (!source) {
    kill_child();
    child_ = -1;
    return fail(source.error());
  }
  child_source_ = std::move(*source);
  output_ = std::move(output);
  late_ = false;
  // The program has the same limit; this one is for a program that hangs.
  auto timer = loop_.after(patience + std::chrono::seconds{1}, [this] {
    late_ = true;
    kill_child();
  });
  if (timer) {
    timer_ = std::move(*timer);
  }
  return done();
}

/// The program ended: all it printed lies in the pipe, which is larger than any secret.
void AskPassword::finished(int exit_status) {
  child_ = -1;
  timer_ = {};
  const auto answer = std::exchange(answer_, nullptr);
  const os::Fd output = std::exchange(output_, os::Fd{});
  if (answer && exit_status == 0) {
    deliver(answer, read_secret(output.get()));
  } else {
    deliver(answer, fail(late_ ? "ask for a password: nobody answered in time"
                               : fmt::format("ask for a password: cancelled, or nobody answered ({} ended with {})",
                                             program_, exit_status)));
  }
  next();
}

}  // namespace killswitch::sense
