// The shared pieces: times, addresses, endpoints and servers. Policies and settings are in files of their own.
#include "json_parts.hpp"

#include "killswitch/base/text.hpp"
#include "killswitch/codec/names.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::codec {
namespace {

constexpr std::string_view time_form = "dddd-dd-ddTdd:dd:ddZ";

bool has_form(std::string_view text, std::string_view form) {
  return text.size() == form.size() && std::equal(text.begin(), text.end(), form.begin(), [](char c, char f) {
           return f == 'd' ? c >= '0' && c <= '9' : c == f;
         });
}

unsigned number_at(std::string_view text, std::size_t at, std::size_t digits) {
  return parse_number(text.substr(at, digits)).value_or(0);
}

}  // namespace

std::string pretty(const OrderedJson& json) {
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + '\n';
}

std::string render_time(std::chrono::sys_seconds time) {
  using namespace std::chrono;
  constexpr auto first = sys_seconds{sys_days{year{0} / 1 / 1}};
  constexpr auto last = sys_seconds{sys_days{year{10000} / 1 / 1}} - seconds{1};
  time = std::clamp(time, first, last);
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{time - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

Result<std::chrono::sys_seconds> parse_time(std::string_view text) {
  using namespace std::chrono;
  if (has_form(text, time_form)) {
    const year_month_day date{year{static_cast<int>(number_at(text, 0, 4))}, month{number_at(text, 5, 2)},
                              day{number_at(text, 8, 2)}};
    const auto hour = number_at(text, 11, 2);
    const auto minute = number_at(text, 14, 2);
    const auto second = number_at(text, 17, 2);
    if (date.ok() && hour < 24 && minute < 60 && second < 60) {
      return sys_seconds{sys_days{date}} + hours{hour} + minutes{minute} + seconds{second};
    }
  }
  return fail(fmt::format("'{}' is not a time as in 2026-11-23T02:18:00Z", printable(text)));
}

OrderedJson write_addresses(const std::vector<model::IpAddress>& addresses) {
  auto list = OrderedJson::array();
  for (const auto& address : addresses) {
    list.push_back(model::to_string(address));
  }
  return list;
}

OrderedJson write_endpoint(const model::Endpoint& endpoint) {
  return {{"address", model::to_string(endpoint.address)},
          {"port", endpoint.port.number},
          {"protocol", model::to_string(endpoint.protocol)}};
}

OrderedJson write_pinned_remote(const model::PinnedRemote& pinned) {
  OrderedJson json{{"host", pinned.remote.host},
                   {"port", pinned.remote.port.number},
                   {"protocol", model::to_string(pinned.remote.protocol)}};
  if (pinned.remote.family) {
    json["family"] = *pinned.remote.family == model::Family::ipv4 ? "ipv4" : "ipv6";
  }
  json["addresses"] = write_addresses(pinned.addresses);
  json["resolved_at"] = render_time(pinned.resolved_at);
  json["failure"] = pinned.failure;
  if (pinned.expires != std::chrono::sys_seconds{}) {
    json["expires"] = render_time(pinned.expires);
  }
  return json;
}

void read_version(const JsonCursor& document) {
  std::uint32_t version = 0;
  document.required("version", "1").read(version, 1, 1);
}

void read_time(const JsonCursor& cursor, std::chrono::sys_seconds& time) {
  cursor.read_parsed(time, "a time as in \"2026-11-23T02:18:00Z\"", parse_time);
}

void read_address(const JsonCursor& cursor, model::IpAddress& address) {
  cursor.read_parsed(address, "an IPv4 or IPv6 address", model::parse_ip_address);
}

void read_addresses(const JsonCursor& cursor, std::vector<model::IpAddress>& addresses) {
  for (const auto& item : cursor.items()) {
    read_address(item, addresses.emplace_back());
  }
}

void read_interface_addresses(const JsonCursor& cursor, std::vector<model::InterfaceAddress>& addresses) {
  for (const auto& item : cursor.items()) {
    item.read_parsed(addresses.emplace_back(), "an address with the length of its subnet as in \"192.0.2.7/24\"",
                     model::parse_interface_address);
  }
}

void read_texts(const JsonCursor& cursor, std::vector<std::string>& texts) {
  for (const auto& item : cursor.items()) {
    item.read(texts.emplace_back());
  }
}

void read_port(const JsonCursor& cursor, model::Port& port) {
  std::uint32_t number = port.number;
  cursor.read(number, 1, 65535);
  port.number = static_cast<std::uint16_t>(number);
}

void read_protocol(const JsonCursor& cursor, model::Protocol& protocol) {
  cursor.read_choice<model::Protocol>(protocol, {{"udp", model::Protocol::udp}, {"tcp", model::Protocol::tcp}});
}

void read_host(const JsonCursor& cursor, std::string& host) {
  std::string text;
  cursor.read(text);
  if (cursor.present() && !is_host(text)) {
    cursor.mismatch("a host name or a numeric address");
  }
  host = std::move(text);
}

void read_interface(const JsonCursor& cursor, std::string& interface) {
  std::string text;
  cursor.read(text);
  if (cursor.present() && !is_interface_name(text)) {
    cursor.mismatch("an interface name");
  }
  interface = std::move(text);
}

void read_endpoint(const JsonCursor& cursor, model::Endpoint& endpoint) {
  cursor.expect_object({"address", "port", "protocol"});
  read_address(cursor.required("address", "an address"), endpoint.address);
  read_port(cursor.required("port", "a port"), endpoint.port);
  read_protocol(cursor.required("protocol", "\"udp\" or \"tcp\""), endpoint.protocol);
}

OrderedJson write_transport_programs(const std::vector<model::TransportProgram>& programs) {
  auto json = OrderedJson::array();
  for (const auto& program : programs) {
    json.push_back(model::to_string(program));
  }
  return json;
}

void read_transport_programs(const JsonCursor& cursor, std::vector<model::TransportProgram>& programs) {
  for (const auto& item : cursor.items()) {
    item.read_parsed(programs.emplace_back(), "PATH or PATH:USER", model::parse_transport_program);
  }
}

void read_pinned_remote(const JsonCursor& cursor, model::PinnedRemote& pinned) {
  cursor.expect_object({"host", "port", "protocol", "family", "addresses", "resolved_at", "failure", "expires"});
  auto& remote = pinned.remote;
  read_host(cursor.required("host", "a host name or a numeric address"), remote.host);
  read_port(cursor.required("port", "a port"), remote.port);
  read_protocol(cursor.required("protocol", "\"udp\" or \"tcp\""), remote.protocol);
  if (const auto family = cursor.optional("family"); family.present()) {
    family.read_choice<std::optional<model::Family>>(remote.family,
                                                     {{"ipv4", model::Family::ipv4}, {"ipv6", model::Family::ipv6}});
  }
  if (const auto addresses = cursor.optional("addresses"); addresses.present()) {
    read_addresses(addresses, pinned.addresses);
  }
  read_time(cursor.optional("resolved_at"), pinned.resolved_at);
  cursor.optional("failure").read(pinned.failure);
  read_time(cursor.optional("expires"), pinned.expires);
}

}  // namespace killswitch::codec
