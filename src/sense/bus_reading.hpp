// Reading values of D-Bus that others sent: what is not of the expected type reads as nothing. Private to this folder.
#pragma once

#include "killswitch/model/address.hpp"
#include "killswitch/os/bus.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::sense {

inline constexpr const char* networkmanager_name = "org.freedesktop.NetworkManager";  ///< its interface as well
inline constexpr const char* networkmanager_path = "/org/freedesktop/NetworkManager";

/// How long an answer is waited for.
inline constexpr std::chrono::milliseconds bus_patience{2000};

/// Elements of an array, fields of a struct, key and value of an entry; null: none of these.
[[nodiscard]] const os::BusValues* members(const os::BusValue& value);
/// What a variant holds.
[[nodiscard]] const os::BusValue* inside(const os::BusValue& variant);
/// The value behind `key` of a dictionary; a variant is opened.
[[nodiscard]] const os::BusValue* find(const os::BusValue& dictionary, std::string_view key);
/// A string or an object path.
[[nodiscard]] std::string text_of(const os::BusValue* value);
[[nodiscard]] std::vector<std::string> texts_of(const os::BusValue* value);
[[nodiscard]] std::uint32_t number_of(const os::BusValue* value);
[[nodiscard]] bool flag_of(const os::BusValue* value);
/// An address as its 4 or 16 bytes (ay); nothing for any other.
[[nodiscard]] std::optional<model::IpAddress> address_of(const os::BusValue* octets);

/// org.freedesktop.DBus.Properties.Get; the answer is one variant.
[[nodiscard]] os::BusCall get_property(std::string service, std::string path, const char* interface, const char* name);
/// org.freedesktop.DBus.Properties.GetAll; the answer is one dictionary.
[[nodiscard]] os::BusCall get_properties(std::string service, std::string path, const char* interface);

}  // namespace killswitch::sense
