#include "killswitch/codec/dns_journal.hpp"

#include "json_parts.hpp"

#include <cstdint>

namespace killswitch::codec {
namespace {

using model::DnsBackend;
using model::DnsJournal;
using model::DnsSetup;
using model::FileCopy;
using model::GlobalDns;
using model::ResolvedLink;

constexpr std::uint32_t max_ifindex = INT32_MAX;

/// Bytes as the characters of the same numbers (Latin-1), in UTF-8.
std::string from_bytes(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    if (value < 0x80) {
      text += byte;
    } else {
      text += static_cast<char>(0xc0U | value >> 6U);
      text += static_cast<char>(0x80U | (value & 0x3fU));
    }
  }
  return text;
}

/// The reverse; nothing when a character is no byte.
std::optional<std::string> to_bytes(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto first = static_cast<unsigned char>(text[i]);
    if (first < 0x80) {
      bytes += text[i];
      continue;
    }
    const auto second = i + 1 < text.size() ? static_cast<unsigned char>(text[++i]) : 0U;
    if ((first != 0xc2 && first != 0xc3) || (second & 0xc0U) != 0x80U) {
      return std::nullopt;
    }
    bytes += static_cast<char>((first & 0x03U) << 6U | (second & 0x3fU));
  }
  return bytes;
}

std::string_view word_of(FileCopy::Kind kind) {
  switch (kind) {
    case FileCopy::Kind::absent: return "absent";
    case FileCopy::Kind::regular: return "regular";
    case FileCopy::Kind::symlink: return "symlink";
    case FileCopy::Kind::other: return "other";
  }
  return "other";
}

OrderedJson write_setup(const DnsSetup& setup) {
  auto backends = OrderedJson::array();
  for (const auto backend : setup.backends) {
    backends.push_back(model::to_string(backend));
  }
  return {{"backends", std::move(backends)},
          {"tunnel", setup.tunnel.number},
          {"servers", write_addresses(setup.servers)},
          {"search_domains", setup.search_domains}};
}

OrderedJson write_file(const FileCopy& file) {
  return {{"kind", word_of(file.kind)},
          {"target", from_bytes(file.target)},
          {"content", from_bytes(file.content)},
          {"mode", file.mode},
          {"user", file.user},
          {"group", file.group}};
}

OrderedJson write_global(const GlobalDns& global) {
  auto domains = OrderedJson::object();
  for (const auto& [name, domain] : global.domains) {
    domains[name] = {{"servers", domain.servers}, {"options", domain.options}};
  }
  return {{"searches", global.searches}, {"options", global.options}, {"domains", std::move(domains)}};
}

OrderedJson write_link(const ResolvedLink& link) {
  auto domains = OrderedJson::array();
  for (const auto& [name, routing] : link.domains) {
    domains.push_back({{"name", name}, {"routing", routing}});
  }
  return {{"index", link.index.number}, {"servers", write_addresses(link.servers)}, {"domains", std::move(domains)}};
}

void read_bytes(const JsonCursor& cursor, std::string& bytes) {
  std::string text;
  cursor.read(text);
  if (auto raw = to_bytes(text)) {
    bytes = *std::move(raw);
  } else {
    cursor.mismatch("bytes: characters up to U+00FF");
  }
}

void read_number(const JsonCursor& cursor, std::uint32_t& number) {
  cursor.read(number, 0, UINT32_MAX);
}

void read_setup(const JsonCursor& cursor, DnsSetup& setup) {
  cursor.expect_object({"backends", "tunnel", "servers", "search_domains"});
  for (const auto& item : cursor.required("backends", "an array").items()) {
    item.read_choice<DnsBackend>(setup.backends.emplace_back(), {{"file", DnsBackend::file},
                                                                 {"networkmanager", DnsBackend::networkmanager},
                                                                 {"resolved", DnsBackend::resolved}});
  }
  cursor.required("tunnel", "an interface index").read(setup.tunnel.number, 0, max_ifindex);
  read_addresses(cursor.required("servers", "addresses"), setup.servers);
  read_texts(cursor.required("search_domains", "an array"), setup.search_domains);
}

void read_file(const JsonCursor& cursor, FileCopy& file) {
  cursor.expect_object({"kind", "target", "content", "mode", "user", "group"});
  cursor.required("kind", "a kind of file")
      .read_choice<FileCopy::Kind>(file.kind, {{"absent", FileCopy::Kind::absent},
                                               {"regular", FileCopy::Kind::regular},
                                               {"symlink", FileCopy::Kind::symlink},
                                               {"other", FileCopy::Kind::other}});
  read_bytes(cursor.required("target", "text"), file.target);
  read_bytes(cursor.required("content", "text"), file.content);
  read_number(cursor.required("mode", "permission bits"), file.mode);
  read_number(cursor.required("user", "a uid"), file.user);
  read_number(cursor.required("group", "a gid"), file.group);
}

void read_global(const JsonCursor& cursor, GlobalDns& global) {
  cursor.expect_object({"searches", "options", "domains"});
  read_texts(cursor.required("searches", "an array"), global.searches);
  read_texts(cursor.required("options", "an array"), global.options);
  for (const auto& [name, value] : cursor.required("domains", "an object").entries()) {
    auto& domain = global.domains[name];
    value.expect_object({"servers", "options"});
    read_texts(value.required("servers", "an array"), domain.servers);
    read_texts(value.required("options", "an array"), domain.options);
  }
}

void read_link(const JsonCursor& cursor, ResolvedLink& link) {
  cursor.expect_object({"index", "servers", "domains"});
  cursor.required("index", "an interface index").read(link.index.number, 0, max_ifindex);
  read_addresses(cursor.required("servers", "addresses"), link.servers);
  for (const auto& item : cursor.required("domains", "an array").items()) {
    auto& [name, routing] = link.domains.emplace_back();
    item.expect_object({"name", "routing"});
    item.required("name", "a domain").read(name);
    item.required("routing", "true or false").read(routing);
  }
}

}  // namespace

std::string render_dns_journal(const DnsJournal& journal) {
  OrderedJson json{{"version", 1}, {"setup", write_setup(journal.setup)}};
  if (journal.resolv_conf) {
    json["resolv_conf"] = write_file(*journal.resolv_conf);
  }
  json["file_replaced"] = journal.file_replaced;
  if (journal.networkmanager) {
    json["networkmanager"] = write_global(*journal.networkmanager);
  }
  auto links = OrderedJson::array();
  for (const auto& link : journal.resolved) {
    links.push_back(write_link(link));
  }
  json["resolved"] = std::move(links);
  return pretty(json);
}

Result<DnsJournal> parse_dns_journal(std::string_view text, const std::string& source) {
  return read_json<DnsJournal>(text, source, [](const JsonCursor& root, DnsJournal& journal) {
    root.expect_object({"version", "setup", "resolv_conf", "file_replaced", "networkmanager", "resolved"});
    read_version(root);
    read_setup(root.required("setup", "a setup"), journal.setup);
    if (const auto file = root.optional("resolv_conf"); file.present()) {
      read_file(file, journal.resolv_conf.emplace());
    }
    root.optional("file_replaced").read(journal.file_replaced);
    if (const auto global = root.optional("networkmanager"); global.present()) {
      read_global(global, journal.networkmanager.emplace());
    }
    if (const auto links = root.optional("resolved"); links.present()) {
      for (const auto& item : links.items()) {
        read_link(item, journal.resolved.emplace_back());
      }
    }
  });
}

}  // namespace killswitch::codec
