#include "killswitch/codec/duration.hpp"

#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <optional>

namespace killswitch::codec {
namespace {

constexpr std::int64_t minute = 60;
constexpr std::int64_t hour = 3600;

/// What a number with this ending counts in; nothing: no such ending.
std::optional<std::int64_t> unit_of(std::string_view ending) {
  if (ending.empty() || ending == "s") {
    return 1;
  }
  if (ending == "m" || ending == "min") {
    return minute;
  }
  return ending == "h" ? std::optional{hour} : std::nullopt;
}

}  // namespace

Result<std::chrono::seconds> parse_duration(std::string_view text, std::chrono::seconds least,
                                            std::chrono::seconds most) {
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_number(text.substr(0, digits));
  const auto unit = unit_of(text.substr(digits));
  const std::chrono::seconds duration{number && unit ? *number * *unit : -1};
  if (duration < least || duration > most) {
    return fail(fmt::format("expected a time from {} to {} as in \"60s\", \"5m\" or \"1h\", found \"{}\"",
                            render_duration(least), render_duration(most), printable(text)));
  }
  return duration;
}

std::string render_duration(std::chrono::seconds duration) {
  const auto count = duration.count();
  if (count >= hour && count % hour == 0) {
    return fmt::format("{} h", count / hour);
  }
  if (count >= minute && count % minute == 0) {
    return fmt::format("{} min", count / minute);
  }
  return fmt::format("{} s", count);
}

}  // namespace killswitch::codec
