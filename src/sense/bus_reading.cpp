#include "bus_reading.hpp"

namespace killswitch::sense {
namespace {

constexpr const char* properties = "org.freedesktop.DBus.Properties";

}  // namespace

using namespace os;

const BusValues* members(const BusValue& value) {
  return std::get_if<BusValues>(&value.content);
}

const BusValue* inside(const BusValue& variant) {
  const auto* content = members(variant);
  return content != nullptr && content->size() == 1 ? &content->front() : nullptr;
}

const BusValue* find(const BusValue& dictionary, std::string_view key) {
  const auto* entries = members(dictionary);
  if (entries == nullptr) {
    return nullptr;
  }
  for (const auto& entry : *entries) {
    const auto* pair = members(entry);
    const auto* name =
        pair != nullptr && pair->size() == 2 ? std::get_if<std::string>(&pair->front().content) : nullptr;
    if (name != nullptr && *name == key) {
      return pair->back().signature == "v" ? inside(pair->back()) : &pair->back();
    }
  }
  return nullptr;
}

std::string text_of(const BusValue* value) {
  const auto* text = value != nullptr ? std::get_if<std::string>(&value->content) : nullptr;
  return text != nullptr ? *text : std::string{};
}

std::vector<std::string> texts_of(const BusValue* value) {
  std::vector<std::string> texts;
  const auto* elements = value != nullptr ? members(*value) : nullptr;
  if (elements != nullptr) {
    for (const auto& element : *elements) {
      texts.push_back(text_of(&element));
    }
  }
  return texts;
}

std::uint32_t number_of(const BusValue* value) {
  const auto* number = value != nullptr ? std::get_if<std::uint32_t>(&value->content) : nullptr;
  return number != nullptr ? *number : 0;
}

bool flag_of(const BusValue* value) {
  const auto* flag = value != nullptr ? std::get_if<bool>(&value->content) : nullptr;
  return flag != nullptr && *flag;
}

std::optional<model::IpAddress> address_of(const BusValue* octets) {
  std::vector<std::uint8_t> bytes;
  const auto* elements = octets != nullptr ? members(*octets) : nullptr;
  for (const auto& octet : elements != nullptr ? *elements : BusValues{}) {
    if (const auto* byte = std::get_if<std::uint8_t>(&octet.content)) {
      bytes.push_back(*byte);
    }
  }
  if (bytes.size() != 4 && bytes.size() != 16) {
    return std::nullopt;
  }
  return model::make_ip_address(bytes.size() == 4 ? model::Family::ipv4 : model::Family::ipv6, bytes);
}

BusCall get_property(std::string service, std::string path, const char* interface, const char* name) {
  return {.destination = std::move(service),
          .path = std::move(path),
          .interface = properties,
          .member = "Get",
          .arguments = {bus_string(interface), bus_string(name)},
          .reply_signature = "v",
          .timeout = bus_patience};
}

BusCall get_properties(std::string service, std::string path, const char* interface) {
  return {.destination = std::move(service),
          .path = std::move(path),
          .interface = properties,
          .member = "GetAll",
          .arguments = {bus_string(interface)},
          .reply_signature = "a{sv}",
          .timeout = bus_patience};
}

}  // namespace killswitch::sense
