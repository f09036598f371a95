// Files, lines and blocks of an OpenVPN profile. What stands in an inline block (<ca>, <key>, <auth-user-pass>, …)
// is skipped here, before anything looks at it.
#include "killswitch/codec/profile.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/names.hpp"
#include "killswitch/codec/openvpn_options.hpp"
#include "killswitch/codec/profile_line.hpp"
#include "profile_directives.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

using profile::at;
using profile::Connection;
using profile::Directive;
using profile::Draft;
using profile::Known;
using profile::Place;
using profile::Scope;

constexpr std::size_t max_profile_bytes = std::size_t{1} << 20U;  // inline keys need some ten thousand
constexpr unsigned max_include_levels = 10;                       // OpenVPN's own limit, the first file included
constexpr unsigned max_includes = 100;  // ours: ten levels of files that include themselves twice do not end
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

std::string shown_name(std::string_view name) {
  // A line of a key that lost its opening tag must not turn up in a message.
  return looks_like_directive(name) ? fmt::format("'{}'", name) : "a line that starts with no directive";
}

bool is_opening_tag(const std::vector<std::string>& words) {
  return words.size() == 1 && words[0].size() >= 2 && words[0].front() == '<' && words[0].back() == '>';
}

/// Where a piece of text stands, and what it sets.
struct Section {
  Place place;                      ///< file; the line is that of the last line read
  unsigned level{1};                ///< of include
  Connection* connection{nullptr};  ///< inside a <connection> block
};

class ProfileParser {
public:
  explicit ProfileParser(const IncludeReader& read_include) : read_include_{read_include} {}

  [[nodiscard]] Outcome read_file(std::string_view text, const std::string& path, unsigned level);
  [[nodiscard]] Draft take() && { return std::move(draft_); }

private:
  [[nodiscard]] Outcome read_lines(LineReader& reader, Section& section);
  [[nodiscard]] Outcome read_line(std::string_view line, LineReader& reader, Section& section);
  [[nodiscard]] Result<std::string_view> skip_block(LineReader& reader, const std::string& tag, const Place& opening);
  [[nodiscard]] Outcome read_block(LineReader& reader, const std::string& tag, Section& section);
  [[nodiscard]] Outcome read_connection(std::string_view text, unsigned first_line, const Place& opening);
  [[nodiscard]] Outcome read_directive(Directive directive, Section& section);
  [[nodiscard]] Outcome apply(const Known& known, const Directive& directive, Section& section);
  [[nodiscard]] Outcome include(const Directive& directive, unsigned level);
  [[nodiscard]] bool may_be_unknown(std::string_view name) const;

  const IncludeReader& read_include_;
  Draft draft_;
  unsigned includes_{0};
};

Outcome ProfileParser::read_file(std::string_view text, const std::string& path, unsigned level) {
  if (text.size() > max_profile_bytes) {
    return fail(fmt::format("{}: larger than 1 MiB, which no OpenVPN profile is", path));
  }
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(zero), '\n');
    return fail(fmt::format("{}:{}: a zero byte: this is not a text file", path, line));
  }
  if (text.starts_with(byte_order_mark)) {
    text.remove_prefix(byte_order_mark.size());
  }
  LineReader reader{text, 1};
  Section section{{path, 0}, level, nullptr};
  return read_lines(reader, section);
}

Outcome ProfileParser::read_lines(LineReader& reader, Section& section) {
  while (const auto line = reader.next()) {
    section.place.line = reader.line();
    if (auto outcome = read_line(*line, reader, section); !outcome) {
      return outcome;
    }
  }
  return done();
}

Outcome ProfileParser::read_line(std::string_view line, LineReader& reader, Section& section) {
  const auto& place = section.place;
  if (line.size() > max_option_line) {
    return fail(fmt::format("{}the line is longer than {} bytes, which OpenVPN refuses", at(place), max_option_line));
  }
  auto split = split_option_line(line);
  if (!split) {
    return fail(at(place) + split.error().context);
  }
  auto& words = split->words;
  if (words.empty()) {
    return done();
  }
  if (words[0].size() >= 3 && words[0].starts_with("--")) {
    words[0].erase(0, 2);
  }
  if (split->cut) {
    draft_.warn(place, fmt::format("only the first {} words of the line count, as in OpenVPN", max_option_words));
  }
  if (is_opening_tag(words)) {
    return read_block(reader, words[0].substr(1, words[0].size() - 2), section);
  }
  Directive directive{std::move(words[0]), {}, place};
  directive.parameters.assign(std::make_move_iterator(words.begin() + 1), std::make_move_iterator(words.end()));
  return read_directive(std::move(directive), section);
}

/// @return what stands between the tags
Result<std::string_view> ProfileParser::skip_block(LineReader& reader, const std::string& tag, const Place& opening) {
  const auto closing = fmt::format("</{}>", tag);
  const auto start = reader.position();
  for (auto end = start; const auto line = reader.next(max_option_line); end = reader.position()) {
    const auto first = line->find_first_not_of(" \t\n\v\f\r");
    if (first != std::string_view::npos && line->substr(first).starts_with(closing)) {
      return reader.text().substr(start, end - start);
    }
  }
  return fail(fmt::format("{}{}: the block is never closed", at(opening),
                          looks_like_directive(tag) ? fmt::format("<{}>", tag) : "an opening tag"));
}

Outcome ProfileParser::read_block(LineReader& reader, const std::string& tag, Section& section) {
  const Place opening = section.place;
  const auto first_line = reader.next_line();
  const auto content = skip_block(reader, tag, opening);
  if (!content) {
    return fail(content.error());
  }
  if (tag == "connection") {  // never inside another: the first closing tag ends the outer one
    return read_connection(*content, first_line, opening);
  }
  if (profile::find_directive(tag) != nullptr) {
    return fail(fmt::format("{}<{}>: this directive cannot be a block; write it on one line", at(opening), tag));
  }
  if (!is_openvpn_option(tag) && !may_be_unknown(tag)) {
    draft_.warn(opening, fmt::format("unknown block {}, skipped", shown_name(tag)));
  }
  return done();
}

Outcome ProfileParser::read_connection(std::string_view text, unsigned first_line, const Place& opening) {
  // OpenVPN copies the global values here, not at the end of the profile.
  Connection connection = draft_.global;
  connection.host.clear();
  connection.place = opening;
  LineReader reader{text, first_line};
  Section section{opening, 1, &connection};
  if (auto outcome = read_lines(reader, section); !outcome) {
    return outcome;
  }
  if (connection.host.empty()) {
    return fail(fmt::format("{}<connection>: needs a 'remote' line", at(opening)));
  }
  draft_.connections.push_back(std::move(connection));
  return done();
}

bool ProfileParser::may_be_unknown(std::string_view name) const {
  const auto& names = draft_.may_be_unknown;
  return std::find(names.begin(), names.end(), name) != names.end();
}

Outcome ProfileParser::read_directive(Directive directive, Section& section) {
  bool lenient = may_be_unknown(directive.name);
  if (directive.name == "setenv" && !directive.parameters.empty() && directive.parameters[0] == "opt") {
    // `setenv opt X …` is X for those versions of OpenVPN that know X.
    if (directive.parameters.size() < 2) {
      return done();
    }
    lenient = true;
    directive.name = directive.parameters[1];
    directive.parameters.erase(directive.parameters.begin(), directive.parameters.begin() + 2);
  }
  const auto* known = profile::find_directive(directive.name);
  if (known == nullptr) {
    if (!lenient && !is_openvpn_option(directive.name)) {
      draft_.warn(directive.place, fmt::format("unknown directive: {}", shown_name(directive.name)));
    }
    return done();
  }
  const auto count = directive.parameters.size();
  if (count < known->least || count > known->most) {
    auto text = fmt::format("{}: expected '{}{}{}', found {} parameter{}", known->name, known->name,
                            known->usage.empty() ? "" : " ", known->usage, count, count == 1 ? "" : "s");
    if (!lenient) {
      return fail(at(directive.place) + text);
    }
    draft_.warn(directive.place, text + "; ignored");
    return done();
  }
  return apply(*known, directive, section);
}

Outcome ProfileParser::apply(const Known& known, const Directive& directive, Section& section) {
  if (section.connection != nullptr && known.scope == Scope::profile) {
    return fail(fmt::format("{}{}: cannot stand in a <connection> block", at(directive.place), known.name));
  }
  if (known.name == "config") {
    return include(directive, section.level);
  }
  Connection& target = section.connection != nullptr ? *section.connection : draft_.global;
  if (known.name == "remote" && section.connection != nullptr) {
    Draft inner;  // the same line means a value of the block instead of one more server
    if (auto outcome = known.handle(inner, target, directive); !outcome) {
      return outcome;
    }
    profile::apply_remote(target, inner.remotes.front());
    return done();
  }
  return known.handle(draft_, target, directive);
}

Outcome ProfileParser::include(const Directive& directive, unsigned level) {
  const auto& path = directive.parameters[0];
  if (level >= max_include_levels) {
    return fail(fmt::format("{}config: more than {} levels of files; does '{}' include itself?", at(directive.place),
                            max_include_levels, printable(path)));
  }
  if (++includes_ > max_includes) {
    return fail(fmt::format("{}config: more than {} included files", at(directive.place), max_includes));
  }
  if (!read_include_) {
    return fail(fmt::format("{}config: '{}' cannot be read here", at(directive.place), printable(path)));
  }
  const auto text = read_include_(path);
  if (!text) {
    return fail(text.error().within(fmt::format("{}config", at(directive.place))));
  }
  return read_file(*text, printable(path), level + 1);
}

}  // namespace

Result<model::Profile> parse_profile(std::string_view text, const std::string& path,
                                     const IncludeReader& read_include) {
  ProfileParser parser{read_include};
  if (auto outcome = parser.read_file(text, path, 1); !outcome) {
    return fail(outcome.error());
  }
  return profile::finish(std::move(parser).take(), path);
}

}  // namespace killswitch::codec
