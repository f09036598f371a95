// A strict reader of JSON for everything that this program reads back or is given: policy, state, settings, status.
// A reader walks a document with cursors. The first thing that is not as expected is remembered with its JSON
// pointer (RFC 6901) and ends the reading; what is read after it does not matter, so that parsers stay plain lists.
#pragma once

#include "killswitch/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace killswitch::codec {

struct JsonNode;
using JsonMembers = std::vector<std::pair<std::string, JsonNode>>;
using JsonItems = std::vector<JsonNode>;

/// A value of a document. Whole numbers only are needed; any other number is kept as such to be refused.
struct JsonNode {
  struct Fraction {
    std::string text;
  };
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, Fraction, std::string, JsonItems, JsonMembers> value{
      nullptr};
};

/// Keys that an object may have.
using JsonKeys = std::initializer_list<std::string_view>;

class JsonDocument;

/// One place of a document; absent when an optional key is not there, and then every read leaves its target alone.
class JsonCursor {
public:
  [[nodiscard]] bool present() const { return node_ != nullptr; }
  [[nodiscard]] bool is_null() const;

  /// Refuses what is not an object and any key that is not in `allowed`.
  void expect_object(JsonKeys allowed) const;
  /// Refuses what is not an object; unknown keys are passed over: for documents of a newer version of this program.
  void expect_object() const;
  [[nodiscard]] JsonCursor optional(std::string_view key) const;
  /// An error if the key is missing; `expected` says what it should hold.
  [[nodiscard]] JsonCursor required(std::string_view key, std::string_view expected) const;

  /// The elements of an array; an error if it is none.
  [[nodiscard]] std::vector<JsonCursor> items() const;
  /// The members of an object whose keys are data; none at any other value.
  [[nodiscard]] std::vector<std::pair<std::string, JsonCursor>> entries() const;

  void read(bool& target) const;
  void read(std::string& target) const;
  /// A whole number within the limits, both included.
  void read(std::uint64_t& target, std::uint64_t least, std::uint64_t most) const;
  void read(std::uint32_t& target, std::uint32_t least, std::uint32_t most) const;

  /// One of a few words.
  template <typename T>
  void read_choice(T& target, std::initializer_list<std::pair<std::string_view, T>> choices) const {
    const auto* text = this->text();
    std::string expected;
    for (const auto& [word, value] : choices) {
      if (text != nullptr && *text == word) {
        target = value;
        return;
      }
      expected += (expected.empty() ? "\"" : " or \"") + std::string{word} + "\"";
    }
    mismatch(expected);
  }
  /// Text that `parse` understands (a Result-returning function); its error is the message.
  template <typename T, typename Parse>
  void read_parsed(T& target, std::string_view expected, Parse parse) const {
    if (const auto* text = this->text(); text != nullptr) {
      if (auto parsed = parse(*text)) {
        target = *std::move(parsed);
        return;
      }
    }
    mismatch(expected);
  }

  /// "… expected E, found F" at this place; nothing happens at an absent one.
  void mismatch(std::string_view expected) const;
  /// Any other objection to this place.
  void refuse(std::string_view reason) const;

private:
  friend class JsonDocument;
  JsonCursor(JsonDocument& document, const JsonNode* node, std::string pointer)
      : document_{&document}, node_{node}, pointer_{std::move(pointer)} {}
  [[nodiscard]] const std::string* text() const;
  [[nodiscard]] const JsonMembers* members() const;

  JsonDocument* document_;
  const JsonNode* node_;
  std::string pointer_;
};

/// A parsed text, and the first error that was found in it.
class JsonDocument {
public:
  /// Refuses broken syntax (with line and column), a key that stands twice, more than 16 levels, more than 1 MiB.
  [[nodiscard]] static Result<JsonDocument> parse(std::string_view text, const std::string& source_name);

  [[nodiscard]] JsonCursor root() { return JsonCursor{*this, root_.get(), ""}; }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  void remember(std::string_view pointer, std::string_view reason);

private:
  JsonDocument(JsonNode root, std::string source_name)
      : root_{std::make_unique<JsonNode>(std::move(root))}, source_{std::move(source_name)} {}

  std::unique_ptr<JsonNode> root_;  ///< cursors point into it
  std::string source_;
  std::optional<Error> error_;
};

/// Reads a whole document: `read` fills a T from the root cursor.
template <typename T, typename Read>
[[nodiscard]] Result<T> read_json(std::string_view text, const std::string& source_name, Read read) {
  auto document = JsonDocument::parse(text, source_name);
  if (!document) {
    return fail(document.error());
  }
  T value{};
  read(document->root(), value);
  if (document->error()) {
    return fail(*document->error());
  }
  return value;
}

}  // namespace killswitch::codec
