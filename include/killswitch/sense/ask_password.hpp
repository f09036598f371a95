// Asks the user for a secret through systemd-ask-password, whose agents show the question on a terminal, at boot or on
// the desktop. Never waits: the answer is a callback. Secrets are wiped after the callback and never logged.
// @source systemd-ask-password(1)
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/os/event_loop.hpp"
#include "killswitch/os/fd.hpp"

#include <sys/types.h>
#include <chrono>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace killswitch::sense {

struct Question {
  std::string text;
  enum class Echo : std::uint8_t { no, yes } echo{Echo::no};  ///< yes: what is typed is shown (a user name)
};

class AskPassword {
public:
  /// The secret, valid during the call only; or why there is none.
  using Answer = std::function<void(const Result<std::string>& secret)>;

  static constexpr std::size_t question_limit = 8;      ///< that wait for their turn
  static constexpr std::size_t secret_limit = 4096;     ///< bytes
  static constexpr std::chrono::seconds patience{120};  ///< for one question

  explicit AskPassword(os::EventLoop& loop, std::string program = "/usr/bin/systemd-ask-password");
  AskPassword(const AskPassword&) = delete;  // the loop's callbacks point here
  AskPassword& operator=(const AskPassword&) = delete;
  ~AskPassword();

  /// One question is shown at a time, in the order of the calls.
  /// @return an error when too many wait already; everything else is told to `answer`.
  [[nodiscard]] Outcome ask(Question question, Answer answer);
  /// Takes back all questions; their callbacks are not called.
  void cancel();

private:
  struct Pending {
    Question question;
    Answer answer;
  };

  void next();
  [[nodiscard]] Outcome start(const Question& question);
  void finished(int exit_status);
  void kill_child() const;

  os::EventLoop& loop_;
  std::string program_;
  std::deque<Pending> waiting_;
  Answer answer_;  ///< of the question that is shown; empty once it was taken back
  pid_t child_{-1};
  bool late_{false};
  os::Fd output_;
  os::EventSource child_source_;
  os::EventSource timer_;
};

}  // namespace killswitch::sense
