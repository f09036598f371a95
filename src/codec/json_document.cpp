// Text to tree, through nlohmann's event interface: its own tree would silently keep the last of two equal keys,
// and one of them could be the value that the user meant.
#include "json_document.hpp"

#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <nlohmann/json.hpp>

namespace killswitch::codec {
namespace {

using nlohmann::json;

constexpr std::size_t max_document_bytes = std::size_t{1} << 20U;
constexpr std::size_t max_depth = 16;  // our own documents have six levels

std::string line_and_column(std::string_view text, std::size_t offset) {
  const auto before = text.substr(0, std::min(offset, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto newline = before.rfind('\n');
  const auto column = newline == std::string_view::npos ? before.size() + 1 : before.size() - newline;
  return fmt::format("{}:{}", line, column);
}

/// nlohmann's words without its error number and position.
std::string reason_of(std::string_view what) {
  for (const std::string_view lead : {"syntax error while parsing ", "] "}) {
    if (const auto at = what.find(lead); at != std::string_view::npos) {
      return printable(what.substr(at + lead.size()));
    }
  }
  return printable(what);
}

/// Builds the tree; returning false ends the parse.
class TreeBuilder : public nlohmann::json_sax<json> {
public:
  TreeBuilder(std::string_view text, std::string source) : text_{text}, source_{std::move(source)} {}

  bool null() override { return add(JsonNode{}); }
  bool boolean(bool value) override { return add(JsonNode{value}); }
  bool number_integer(number_integer_t value) override { return add(JsonNode{std::int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override { return add(JsonNode{std::uint64_t{value}}); }
  bool number_float(number_float_t, const string_t& text) override { return add(JsonNode{JsonNode::Fraction{text}}); }
  bool string(string_t& value) override { return add(JsonNode{std::move(value)}); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(JsonNode{JsonMembers{}}); }
  bool start_array(std::size_t) override { return open(JsonNode{JsonItems{}}); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override;
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception& error) override;

  [[nodiscard]] const std::string& error() const { return error_; }
  [[nodiscard]] JsonNode take() && { return std::move(root_); }

private:
  struct Level {
    JsonNode node;
    std::string key;  ///< of the member that comes next
  };
  bool add(JsonNode node);
  bool open(JsonNode node);
  bool close();
  [[nodiscard]] std::string pointer() const;

  std::string_view text_;
  std::string source_;
  std::vector<Level> levels_;
  JsonNode root_;
  std::string error_;
};

std::string TreeBuilder::pointer() const {
  std::string pointer;
  for (const auto& level : levels_) {
    const auto* items = std::get_if<JsonItems>(&level.node.value);
    pointer = extend_pointer(pointer, items != nullptr ? std::to_string(items->size()) : level.key);
  }
  return pointer;
}

bool TreeBuilder::add(JsonNode node) {
  if (levels_.empty()) {
    root_ = std::move(node);
  } else if (auto* items = std::get_if<JsonItems>(&levels_.back().node.value)) {
    items->push_back(std::move(node));
  } else if (auto* members = std::get_if<JsonMembers>(&levels_.back().node.value)) {
    members->emplace_back(std::move(levels_.back().key), std::move(node));
  }
  return true;
}

bool TreeBuilder::open(JsonNode node) {
  if (levels_.size() >= max_depth) {
    error_ = json_message(source_, pointer(), fmt::format("more than {} levels", max_depth));
    return false;
  }
  levels_.push_back(Level{std::move(node), {}});
  return true;
}

bool TreeBuilder::close() {
  auto node = std::move(levels_.back().node);
  levels_.pop_back();
  return add(std::move(node));
}

bool TreeBuilder::key(string_t& name) {
  auto& level = levels_.back();
  level.key = std::move(name);
  const auto& members = std::get<JsonMembers>(level.node.value);
  const auto same = [&](const auto& member) { return member.first == level.key; };
  if (std::any_of(members.begin(), members.end(), same)) {
    error_ = json_message(source_, pointer(), "this key stands twice");
    return false;
  }
  return true;
}

bool TreeBuilder::parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
  const auto offset = position == 0 ? 0 : position - 1;  // nlohmann has read the byte that it objects to
  error_ = fmt::format("{}:{}: not JSON: {}", source_, line_and_column(text_, offset), reason_of(error.what()));
  return false;
}

}  // namespace

std::string extend_pointer(std::string_view pointer, std::string_view key) {
  std::string extended{pointer};
  extended += '/';
  for (const char c : key) {
    if (c == '~') {
      extended += "~0";
    } else if (c == '/') {
      extended += "~1";
    } else {
      extended += c;
    }
  }
  return extended;
}

std::string json_message(std::string_view source, std::string_view pointer, std::string_view reason) {
  return pointer.empty() ? fmt::format("{}: {}", source, reason)
                         : fmt::format("{}: {}: {}", source, printable(pointer), reason);
}

Result<JsonNode> parse_json_tree(std::string_view text, const std::string& source_name) {
  if (text.size() > max_document_bytes) {
    return fail(json_message(source_name, "", "larger than 1 MiB"));
  }
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    // nlohmann would take it for the end of the text and never see the rest.
    return fail(fmt::format("{}:{}: not JSON: a zero byte", source_name, line_and_column(text, zero)));
  }
  TreeBuilder builder{text, source_name};
  if (!json::sax_parse(text.begin(), text.end(), &builder)) {
    return fail(builder.error());
  }
  return std::move(builder).take();
}

}  // namespace killswitch::codec
