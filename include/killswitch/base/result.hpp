// Result<T> and Error: how everything that can fail outside this program says so.
//
// Member names are those of std::expected, so that C++23 can replace the class by an alias. An Error is
// a code and a context; the context names verb and object ("nft: add rule 'vpn transport'"), and whoever
// forwards an error adds its own in front. Nothing here reads errno: the caller passes it.
#pragma once

#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

namespace killswitch {

struct Error {
  std::error_code code;
  std::string context;

  /// One line for people: the context and, for errors of the system, what errno means.
  [[nodiscard]] std::string message() const;
  /// The same error seen from one call further out.
  [[nodiscard]] Error within(std::string_view outer) const;
  bool operator==(const Error&) const = default;
};

struct Failure {
  Error error;
};

/// Input that breaks a rule of its format; the context says where and what was expected.
[[nodiscard]] Failure fail(std::string context);
/// A system call that failed with `errno_value` (positive).
[[nodiscard]] Failure fail(int errno_value, std::string context);
[[nodiscard]] inline Failure fail(Error error) {
  return Failure{std::move(error)};
}

struct Done {
  bool operator==(const Done&) const = default;
};

template <typename T>
class [[nodiscard]] Result {
public:
  using value_type = T;

  Result(T value) : content_{std::in_place_index<0>, std::move(value)} {}
  Result(Failure failure) : content_{std::in_place_index<1>, std::move(failure.error)} {}

  [[nodiscard]] bool has_value() const noexcept { return content_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] T& value() & { return std::get<0>(content_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(content_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(content_)); }
  [[nodiscard]] const Error& error() const { return std::get<1>(content_); }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::get<0>(std::move(content_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

private:
  std::variant<T, Error> content_;
};

/// The result of an action without a value: `return done();` or `return fail(…);`.
using Outcome = Result<Done>;
[[nodiscard]] inline Done done() {
  return {};
}

}  // namespace killswitch
