// Private to bus.cpp: the few calls where sdbus-c++ 1.2 and 2.x differ under one name each, and values to and from
// messages. Everything here may throw sdbus::Error; bus.cpp lets none of it out.
#pragma once

#include "killswitch/os/bus.hpp"

#include <sdbus-c++/sdbus-c++.h>

namespace killswitch::os::sdbus_compat {

using Answered = std::function<void(sdbus::Message& reply, const sdbus::Error* error)>;
using Received = std::function<void(sdbus::Message& message)>;
using Called = std::function<void(sdbus::MethodCall call)>;

inline void encode(sdbus::Message& message, const BusValue& value);
inline std::optional<BusValue> decode(sdbus::Message& message, const std::string& signature);

// 2.x brought strong types for names, one call for a whole interface, and replies by value.
#if __has_include(<sdbus-c++/VTableItems.h>)

inline std::string text(const char* value) {
  return value == nullptr ? std::string{} : std::string{value};
}
inline sdbus::Error make_error(const std::string& name, const std::string& message) {
  return sdbus::Error{sdbus::Error::Name{name}, message};
}
inline bool process(sdbus::IConnection& connection) {
  return connection.processPendingEvent();
}
inline std::chrono::microseconds deadline(const sdbus::IConnection::PollData& data) {
  return data.timeout;
}
inline void request_name(sdbus::IConnection& connection, const std::string& name) {
  connection.requestName(sdbus::ServiceName{name});
}
inline std::unique_ptr<sdbus::IProxy> create_proxy(sdbus::IConnection& connection, const BusCall& call) {
  return sdbus::createProxy(connection, sdbus::ServiceName{call.destination}, sdbus::ObjectPath{call.path});
}
inline sdbus::MethodCall create_call(sdbus::IProxy& proxy, const BusCall& call) {
  return proxy.createMethodCall(sdbus::InterfaceName{call.interface}, sdbus::MethodName{call.member});
}
inline void send(sdbus::IProxy& proxy, const sdbus::MethodCall& message, Answered answered, std::uint64_t timeout) {
  proxy.callMethodAsync(
      message,
      [answered = std::move(answered)](sdbus::MethodReply reply, std::optional<sdbus::Error> error) {
        answered(reply, error ? &*error : nullptr);
      },
      timeout);
}
inline sdbus::Slot add_match(sdbus::IConnection& connection, const std::string& match, Received received) {
  return connection.addMatch(
      match, [received = std::move(received)](sdbus::Message message) { received(message); }, sdbus::return_slot);
}
inline std::string variant_signature(const sdbus::Message& message) {
  return text(message.peekType().second);
}
inline sdbus::Signal create_signal(sdbus::IObject& object, const std::string& interface, const std::string& name) {
  return object.createSignal(sdbus::InterfaceName{interface}, sdbus::SignalName{name});
}
inline void properties_changed(sdbus::IObject& object, const std::string& interface,
                               const std::vector<std::string>& names) {
  object.emitPropertiesChangedSignal(sdbus::InterfaceName{interface},
                                     std::vector<sdbus::PropertyName>{names.begin(), names.end()});
}
inline void register_interface(sdbus::IObject& exported, const BusObject& object, const std::vector<Called>& methods) {
  std::vector<sdbus::VTableItem> items;
  for (std::size_t i = 0; i < methods.size(); ++i) {
    const BusMethod& method = object.methods[i];
    items.emplace_back(sdbus::MethodVTableItem{sdbus::MethodName{method.name},
                                               sdbus::Signature{method.arguments},
                                               method.argument_names,
                                               sdbus::Signature{method.reply},
                                               method.reply_names,
                                               methods[i],
                                               {}});
  }
  for (const BusProperty& property : object.properties) {
    items.emplace_back(
        sdbus::PropertyVTableItem{sdbus::PropertyName{property.name},
                                  sdbus::Signature{property.signature},
                                  [read = property.read](sdbus::PropertyGetReply& reply) { encode(reply, read()); },
                                  {},
                                  {}});
  }
  for (const BusSignal& signal : object.signals) {
    items.emplace_back(
        sdbus::SignalVTableItem{sdbus::SignalName{signal.name}, sdbus::Signature{signal.signature}, signal.names, {}});
  }
  exported.addVTable(sdbus::InterfaceName{object.interface}, std::move(items));
}

#else  // 1.2

inline std::string text(std::string value) {
  return value;
}
inline sdbus::Error make_error(const std::string& name, const std::string& message) {
  return sdbus::Error{name, message};
}
inline bool process(sdbus::IConnection& connection) {
  return connection.processPendingRequest();
}
inline std::chrono::microseconds deadline(const sdbus::IConnection::PollData& data) {
  return data.timeout_usec > static_cast<std::uint64_t>(std::chrono::microseconds::max().count())
             ? std::chrono::microseconds::max()
             : data.getAbsoluteTimeout();
}
inline void request_name(sdbus::IConnection& connection, const std::string& name) {
  connection.requestName(name);
}
inline std::unique_ptr<sdbus::IProxy> create_proxy(sdbus::IConnection& connection, const BusCall& call) {
  return sdbus::createProxy(connection, call.destination, call.path);
}
inline sdbus::MethodCall create_call(sdbus::IProxy& proxy, const BusCall& call) {
  return proxy.createMethodCall(call.interface, call.member);
}
inline void send(sdbus::IProxy& proxy, const sdbus::MethodCall& message, Answered answered, std::uint64_t timeout) {
  proxy.callMethod(
      message,
      [answered = std::move(answered)](sdbus::MethodReply& reply, const sdbus::Error* error) {
        answered(reply, error);
      },
      timeout);
}
inline sdbus::Slot add_match(sdbus::IConnection& connection, const std::string& match, Received received) {
  return connection.addMatch(match, std::move(received));
}
inline std::string variant_signature(const sdbus::Message& message) {
  std::string type;
  std::string contents;
  message.peekType(type, contents);  // only at a variant: 1.2 does not expect that there are no contents
  return contents;
}
inline sdbus::Signal create_signal(sdbus::IObject& object, const std::string& interface, const std::string& name) {
  return object.createSignal(interface, name);
}
inline void properties_changed(sdbus::IObject& object, const std::string& interface,
                               const std::vector<std::string>& names) {
  object.emitPropertiesChangedSignal(interface, names);
}
inline void register_interface(sdbus::IObject& exported, const BusObject& object, const std::vector<Called>& methods) {
  for (std::size_t i = 0; i < methods.size(); ++i) {
    const BusMethod& method = object.methods[i];
    exported.registerMethod(object.interface, method.name, method.arguments, method.argument_names, method.reply,
                            method.reply_names, methods[i]);
  }
  for (const BusProperty& property : object.properties) {
    exported.registerProperty(object.interface, property.name, property.signature,
                              [read = property.read](sdbus::PropertyGetReply& reply) { encode(reply, read()); });
  }
  for (const BusSignal& signal : object.signals) {
    exported.registerSignal(object.interface, signal.name, signal.signature, signal.names);
  }
  exported.finishRegistration();
}

#endif

/// The signature inside the brackets of an array, struct or dict entry.
inline std::string members_of(const std::string& signature) {
  return signature.front() == 'a' ? signature.substr(1) : signature.substr(1, signature.size() - 2);
}

inline void encode(sdbus::Message& message, const BusValue& value) {
  const auto encode_members = [&] {
    for (const BusValue& member : std::get<BusValues>(value.content)) {
      encode(message, member);
    }
  };
  switch (value.signature.empty() ? '\0' : value.signature.front()) {
    case 'a':
      message.openContainer(members_of(value.signature).c_str());
      encode_members();
      message.closeContainer();
      return;
    case '(':
      message.openStruct(members_of(value.signature).c_str());
      encode_members();
      message.closeStruct();
      return;
    case '{':
      message.openDictEntry(members_of(value.signature).c_str());
      encode_members();
      message.closeDictEntry();
      return;
    case 'v':
      message.openVariant(std::get<BusValues>(value.content).at(0).signature.c_str());
      encode_members();
      message.closeVariant();
      return;
    case 'o': message << sdbus::ObjectPath{std::get<std::string>(value.content)}; return;
    case 'g': message << sdbus::Signature{std::get<std::string>(value.content)}; return;
    default: break;
  }
  std::visit(
      [&](const auto& content) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(content)>, BusValues>) {
          message << content;
        }
      },
      value.content);
}

/// @return nothing at the end of an array
template <typename T>
std::optional<BusValue> decode_basic(sdbus::Message& message, const std::string& signature) {
  T content{};
  message >> content;
  if (!message) {
    return std::nullopt;
  }
  return BusValue{signature, std::move(content)};
}

template <typename T>
std::optional<BusValue> decode_text(sdbus::Message& message, const std::string& signature) {
  T content{};
  message >> content;
  if (!message) {
    return std::nullopt;
  }
  return BusValue{signature, std::string{content}};
}

/// Every complete type of `signature`, one after the other.
inline BusValues decode_sequence(sdbus::Message& message, std::string_view signature) {
  BusValues values;
  while (!signature.empty()) {
    const std::size_t length = complete_type_length(signature);
    auto value = length == 0 ? std::nullopt : decode(message, std::string{signature.substr(0, length)});
    if (!value) {
      throw make_error("org.freedesktop.DBus.Error.InvalidSignature",
                       "the message ends where '" + std::string{signature} + "' was expected");
    }
    values.push_back(std::move(*value));
    signature.remove_prefix(length);
  }
  return values;
}

inline BusValues decode_array(sdbus::Message& message, const std::string& element) {
  if (element == "v") {  // 1.2 has no way to see the end of one, and nobody we talk to sends any
    throw make_error("org.freedesktop.DBus.Error.NotSupported", "arrays of variants are not read");
  }
  BusValues elements;
  while (auto value = decode(message, element)) {
    elements.push_back(std::move(*value));
  }
  message.clearFlags();
  return elements;
}

inline std::optional<BusValue> decode_container(sdbus::Message& message, const std::string& signature) {
  if (signature.front() == 'v') {
    const std::string inner = variant_signature(message);
    message.enterVariant(inner.c_str());
    BusValue value{signature, decode_sequence(message, inner)};
    message.exitVariant();
    return value;
  }
  const std::string inner = members_of(signature);
  const char kind = signature.front();
  kind == 'a'   ? message.enterContainer(inner.c_str())
  : kind == '(' ? message.enterStruct(inner.c_str())
                : message.enterDictEntry(inner.c_str());
  if (!message) {
    return std::nullopt;
  }
  BusValue value{signature, kind == 'a' ? decode_array(message, inner) : decode_sequence(message, inner)};
  kind == 'a' ? message.exitContainer() : kind == '(' ? message.exitStruct() : message.exitDictEntry();
  return value;
}

inline std::optional<BusValue> decode(sdbus::Message& message, const std::string& signature) {
  switch (signature.front()) {
    case 'b': return decode_basic<bool>(message, signature);
    case 'y': return decode_basic<std::uint8_t>(message, signature);
    case 'n': return decode_basic<std::int16_t>(message, signature);
    case 'q': return decode_basic<std::uint16_t>(message, signature);
    case 'i': return decode_basic<std::int32_t>(message, signature);
    case 'u': return decode_basic<std::uint32_t>(message, signature);
    case 'x': return decode_basic<std::int64_t>(message, signature);
    case 't': return decode_basic<std::uint64_t>(message, signature);
    case 'd': return decode_basic<double>(message, signature);
    case 's': return decode_basic<std::string>(message, signature);
    case 'o': return decode_text<sdbus::ObjectPath>(message, signature);
    case 'g': return decode_text<sdbus::Signature>(message, signature);
    case 'a':
    case '(':
    case '{':
    case 'v': return decode_container(message, signature);
    default: throw make_error("org.freedesktop.DBus.Error.NotSupported", "'" + signature + "' is not read");
  }
}

}  // namespace killswitch::os::sdbus_compat
