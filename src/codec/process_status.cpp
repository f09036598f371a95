#include "killswitch/codec/process_status.hpp"

#include "killswitch/base/text.hpp"

#include <charconv>
#include <optional>

namespace killswitch::codec {
namespace {

/// What stands behind `key` and its tabulator.
std::optional<std::string_view> line_of(std::string_view text, std::string_view key) {
  for (const auto line : split(text, '\n')) {
    if (line.starts_with(key)) {
      return trim(line.substr(key.size()));
    }
  }
  return std::nullopt;
}

template <typename Number>
bool read_number(std::string_view word, Number& number, int base = 10) {
  const auto* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, number, base);
  return error == std::errc{} && stop == end;
}

bool read_uids(std::string_view words, std::array<std::uint32_t, 4>& uids) {
  const auto parts = split(words, '\t');
  if (parts.size() != uids.size()) {
    return false;
  }
  for (std::size_t i = 0; i < uids.size(); ++i) {
    if (!read_number(parts[i], uids[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace

Result<ProcessStatus> parse_process_status(std::string_view text) {
  constexpr int hexadecimal = 16;
  ProcessStatus status;
  const auto uids = line_of(text, "Uid:");
  const auto capabilities = line_of(text, "CapEff:");
  const auto tracer = line_of(text, "TracerPid:");
  if (!uids || !read_uids(*uids, status.uids)) {
    return fail("/proc/PID/status: expected four user IDs behind 'Uid:'");
  }
  if (!capabilities || !read_number(*capabilities, status.effective_capabilities, hexadecimal)) {
    return fail("/proc/PID/status: expected a hexadecimal number behind 'CapEff:'");
  }
  if (!tracer || !read_number(*tracer, status.tracer)) {
    return fail("/proc/PID/status: expected a process ID behind 'TracerPid:'");
  }
  return status;
}

}  // namespace killswitch::codec
