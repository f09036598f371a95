// The meaning half of the JSON reader: cursors, types, limits, and messages that name the place.
#include "killswitch/codec/json_reader.hpp"

#include "json_document.hpp"
#include "killswitch/base/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <numeric>

namespace killswitch::codec {
namespace {

constexpr std::size_t shown_text = 60;  // bytes of an unexpected text in a message
constexpr std::size_t near_name = 2;    // letters that a typing error changes at most

struct Describe {
  std::string operator()(std::nullptr_t) const { return "null"; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(std::uint64_t value) const { return std::to_string(value); }
  std::string operator()(const JsonNode::Fraction& value) const { return printable(value.text, shown_text); }
  std::string operator()(const std::string& value) const { return '"' + printable(value, shown_text) + '"'; }
  std::string operator()(const JsonItems&) const { return "an array"; }
  std::string operator()(const JsonMembers&) const { return "an object"; }
};

/// Levenshtein distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto changed = diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
    }
  }
  return row.back();
}

std::string unknown_key(std::string_view key, JsonKeys allowed) {
  std::vector<std::string> names;
  for (const auto name : allowed) {
    if (key.size() <= 2 * name.size() && distance(key, name) <= near_name) {
      return fmt::format("unknown key; did you mean \"{}\"?", name);
    }
    names.push_back(fmt::format("\"{}\"", name));
  }
  return fmt::format("unknown key; known here: {}", join(names, ", "));
}

}  // namespace

Result<JsonDocument> JsonDocument::parse(std::string_view text, const std::string& source_name) {
  auto tree = parse_json_tree(text, source_name);
  if (!tree) {
    return fail(tree.error());
  }
  return JsonDocument{*std::move(tree), source_name};
}

void JsonDocument::remember(std::string_view pointer, std::string_view reason) {
  if (!error_) {
    error_ = fail(json_message(source_, pointer, reason)).error;
  }
}

const std::string* JsonCursor::text() const {
  return node_ == nullptr ? nullptr : std::get_if<std::string>(&node_->value);
}

const JsonMembers* JsonCursor::members() const {
  return node_ == nullptr ? nullptr : std::get_if<JsonMembers>(&node_->value);
}

bool JsonCursor::is_null() const {
  return node_ != nullptr && std::holds_alternative<std::nullptr_t>(node_->value);
}

void JsonCursor::mismatch(std::string_view expected) const {
  if (node_ != nullptr) {
    refuse(fmt::format("expected {}, found {}", expected, std::visit(Describe{}, node_->value)));
  }
}

void JsonCursor::refuse(std::string_view reason) const {
  document_->remember(pointer_, reason);
}

void JsonCursor::expect_object() const {
  if (members() == nullptr) {
    mismatch("an object");
  }
}

void JsonCursor::expect_object(JsonKeys allowed) const {
  expect_object();
  if (const auto* all = members()) {
    for (const auto& [key, value] : *all) {
      if (std::find(allowed.begin(), allowed.end(), key) == allowed.end()) {
        document_->remember(extend_pointer(pointer_, key), unknown_key(key, allowed));
      }
    }
  }
}

JsonCursor JsonCursor::optional(std::string_view key) const {
  auto pointer = extend_pointer(pointer_, key);
  if (const auto* all = members()) {
    const auto found = std::find_if(all->begin(), all->end(), [&](const auto& member) { return member.first == key; });
    if (found != all->end()) {
      return JsonCursor{*document_, &found->second, std::move(pointer)};
    }
  }
  return JsonCursor{*document_, nullptr, std::move(pointer)};
}

JsonCursor JsonCursor::required(std::string_view key, std::string_view expected) const {
  auto cursor = optional(key);
  if (!cursor.present()) {
    cursor.refuse(fmt::format("expected {}, found nothing", expected));
  }
  return cursor;
}

std::vector<JsonCursor> JsonCursor::items() const {
  std::vector<JsonCursor> cursors;
  const auto* all = node_ == nullptr ? nullptr : std::get_if<JsonItems>(&node_->value);
  if (all == nullptr) {
    mismatch("an array");
    return cursors;
  }
  for (std::size_t i = 0; i < all->size(); ++i) {
    cursors.push_back(JsonCursor{*document_, &(*all)[i], extend_pointer(pointer_, std::to_string(i))});
  }
  return cursors;
}

std::vector<std::pair<std::string, JsonCursor>> JsonCursor::entries() const {
  std::vector<std::pair<std::string, JsonCursor>> found;
  if (const auto* all = members()) {
    for (const auto& [key, value] : *all) {
      found.emplace_back(key, JsonCursor{*document_, &value, extend_pointer(pointer_, key)});
    }
  }
  return found;
}

void JsonCursor::read(bool& target) const {
  const auto* value = node_ == nullptr ? nullptr : std::get_if<bool>(&node_->value);
  if (value == nullptr) {
    mismatch("true or false");
    return;
  }
  target = *value;
}

void JsonCursor::read(std::string& target) const {
  if (const auto* value = text()) {
    target = *value;
  } else {
    mismatch("text");
  }
}

void JsonCursor::read(std::uint64_t& target, std::uint64_t least, std::uint64_t most) const {
  const auto* value = node_ == nullptr ? nullptr : std::get_if<std::uint64_t>(&node_->value);
  if (value == nullptr || *value < least || *value > most) {
    mismatch(most == UINT64_MAX ? "a whole number" : fmt::format("a whole number from {} to {}", least, most));
    return;
  }
  target = *value;
}

void JsonCursor::read(std::uint32_t& target, std::uint32_t least, std::uint32_t most) const {
  std::uint64_t wide = target;
  read(wide, least, most);
  if (wide <= UINT32_MAX) {
    target = static_cast<std::uint32_t>(wide);
  }
}

}  // namespace killswitch::codec
