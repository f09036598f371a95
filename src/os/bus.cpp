#include "killswitch/os/bus.hpp"

#include "bus_connection.hpp"

#include <fmt/format.h>

namespace killswitch::os {
namespace {

/// sdbus-c++ cannot set NO_AUTO_START, but a unique name never starts anything.
bool must_ask_for_owner(const BusCall& call) {
  return call.activation == Activation::refused && call.destination != bus_name && call.destination.front() != ':';
}

}  // namespace

Bus::Bus(std::unique_ptr<Connection> connection) : connection_{std::move(connection)} {}
Bus::Bus(Bus&&) noexcept = default;
Bus& Bus::operator=(Bus&&) noexcept = default;
Bus::~Bus() = default;

Result<Bus> Bus::connect_system(EventLoop& loop, LostCallback on_lost) {
  try {
    auto connection = std::make_unique<Connection>(loop, std::move(on_lost), sdbus::createSystemBusConnection());
    connection->rearm();
    return Bus{std::move(connection)};
  } catch (const sdbus::Error& error) {
    return bus_fail(BusError::unreachable, "D-Bus: connect to the system bus: " + error.getMessage());
  }
}

Outcome Bus::request_name(const std::string& name) {
  const std::string context = "D-Bus: request the name " + name;
  const auto owner = owner_of(name);
  if (!owner) {
    return fail(owner.error());
  }
  if (owner->has_value()) {
    return bus_fail(BusError::name_taken, fmt::format("{}: {} has it", context, **owner));
  }
  return connection_->attempt(context, [&]() -> Outcome {
    compat::request_name(connection_->native(), name);
    return done();
  });
}

Outcome Bus::export_object(BusObject object) {
  return connection_->export_object(std::move(object));
}

Outcome Bus::emit_signal(const std::string& path, const std::string& member, const BusValues& values) {
  return connection_->attempt("D-Bus: emit " + member, [&]() -> Outcome {
    std::string interface;
    sdbus::IObject* object = connection_->find(path, interface);
    if (object == nullptr) {
      return bus_fail(BusError::invalid_argument, "D-Bus: no object at " + path);
    }
    auto signal = compat::create_signal(*object, interface, member);
    for (const BusValue& value : values) {
      compat::encode(signal, value);
    }
    object->emitSignal(signal);
    return done();
  });
}

Outcome Bus::properties_changed(const std::string& path, const std::vector<std::string>& properties) {
  return connection_->attempt("D-Bus: announce properties of " + path, [&]() -> Outcome {
    std::string interface;
    sdbus::IObject* object = connection_->find(path, interface);
    if (object == nullptr) {
      return bus_fail(BusError::invalid_argument, "D-Bus: no object at " + path);
    }
    compat::properties_changed(*object, interface, properties);
    return done();
  });
}

Result<BusValues> Bus::call(const BusCall& call) {
  BusCall addressed = call;
  if (must_ask_for_owner(call)) {
    auto owner = owner_of(call.destination);
    if (!owner) {
      return fail(owner.error().within(words_for(call)));
    }
    if (!owner->has_value()) {
      return bus_fail(BusError::service_unknown, words_for(call) + ": the service is not running");
    }
    addressed.destination = **owner;
  }
  return connection_->attempt(words_for(call), [&]() -> Result<BusValues> {
    const auto proxy = compat::create_proxy(connection_->native(), addressed);
    auto message = compat::create_call(*proxy, addressed);
    for (const BusValue& argument : call.arguments) {
      compat::encode(message, argument);
    }
    auto reply = proxy->callMethod(message, microseconds_of(call.timeout));
    return compat::decode_sequence(reply, call.reply_signature);
  });
}

Outcome Bus::call_async(const BusCall& call, std::function<void(Result<BusValues>)> on_reply) {
  return must_ask_for_owner(call) ? connection_->send_to_owner(call, std::move(on_reply))
                                  : connection_->send(call, call.destination, std::move(on_reply));
}

Result<BusSubscription> Bus::subscribe(const BusMatch& match, std::function<void(const BusNotice&)> callback) {
  return connection_->subscribe(match, std::move(callback));
}

Result<BusSubscription> Bus::watch_name(const std::string& name, std::function<void(const std::string&)> callback) {
  return connection_->watch_name(name, std::move(callback));
}

Result<std::optional<std::string>> Bus::owner_of(const std::string& name) {
  const auto owner = call(owner_query(name));
  if (owner) {
    return std::optional{std::get<std::string>(owner->at(0).content)};
  }
  if (owner.error().code == BusError::service_unknown) {
    return std::optional<std::string>{};
  }
  return fail(owner.error());
}

}  // namespace killswitch::os
