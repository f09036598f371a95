#include "killswitch/serve/client.hpp"

#include "killswitch/serve/manager.hpp"

#include <unistd.h>

namespace killswitch::serve {
namespace {

using namespace std::chrono_literals;

// Enabling resolves nothing and waits for nobody, but it writes the state file through to the disk.
constexpr std::chrono::milliseconds change_timeout = 30s;
constexpr std::chrono::milliseconds authentication_timeout = 330s;  // longer than the daemon waits for polkit
constexpr auto read_timeout = 5s;

class ClientCategory final : public std::error_category {
public:
  [[nodiscard]] const char* name() const noexcept override { return "killswitch"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<ClientError>(value)) {
      case ClientError::bus_unreachable: return "the system bus cannot be reached";
      case ClientError::daemon_not_running: return "killswitchd is not running";
      case ClientError::not_permitted: return "not permitted";
      case ClientError::no_answer: return "killswitchd does not answer";
      case ClientError::bad_request: return "killswitchd refused the settings";
      case ClientError::failed: return "killswitchd could not do it";
    }
    return "unknown error";
  }
};

ClientError translated(const std::error_code& code) {
  switch (static_cast<os::BusError>(code.value())) {
    case os::BusError::unreachable:
    case os::BusError::disconnected: return ClientError::bus_unreachable;
    case os::BusError::service_unknown: return ClientError::daemon_not_running;
    case os::BusError::access_denied: return ClientError::not_permitted;
    case os::BusError::timed_out: return ClientError::no_answer;
    case os::BusError::invalid_argument: return ClientError::bad_request;
    case os::BusError::name_taken:
    case os::BusError::no_such_object:
    case os::BusError::remote_error: break;
  }
  return ClientError::failed;
}

Failure client_fail(const Error& error) {
  const ClientError meaning =
      error.code.category() == os::bus_category() ? translated(error.code) : ClientError::failed;
  return fail(Error{make_error_code(meaning), make_error_code(meaning).message() + " (" + error.message() + ")"});
}

}  // namespace

const std::error_category& client_category() {
  static const ClientCategory category;
  return category;
}

std::error_code make_error_code(ClientError error) {
  return {static_cast<int>(error), client_category()};
}

Result<Client> Client::connect(os::EventLoop& loop) {
  auto lost = std::make_shared<bool>(false);
  auto bus = os::Bus::connect_system(loop, [&loop, lost](const Error& /*error*/) {
    *lost = true;
    loop.stop();
  });
  if (!bus) {
    return client_fail(bus.error());
  }
  return Client{loop, std::move(*bus), std::move(lost)};
}

Result<std::string> Client::call(const char* method, os::BusValues arguments, os::Activation activation,
                                 std::chrono::milliseconds timeout) {
  const auto reply = bus_.call({.destination = bus_name,
                                .path = object_path,
                                .interface = interface_name,
                                .member = method,
                                .arguments = std::move(arguments),
                                .reply_signature = "s",
                                .activation = activation,
                                .timeout = timeout});
  if (!reply) {
    return client_fail(reply.error());
  }
  return std::get<std::string>(reply->at(0).content);
}

Result<std::string> Client::change(const char* method, os::BusValues arguments) {
  // A stopped daemon is started for it; whoever is not root is asked for a password meanwhile.
  return call(method, std::move(arguments), os::Activation::allowed,
              ::geteuid() == 0 ? change_timeout : authentication_timeout);
}

Result<std::string> Client::read(const char* method) {
  return call(method, {}, os::Activation::refused, read_timeout);
}

Result<std::string> Client::enable(const std::string& settings_json, std::optional<std::chrono::seconds> trial) {
  if (!trial) {
    return change("Enable", {os::bus_string(settings_json)});
  }
  return change("EnableOnTrial",
                {os::bus_string(settings_json), os::bus_uint32(static_cast<std::uint32_t>(trial->count()))});
}

Result<std::string> Client::confirm() {
  return change("Confirm", {});
}

Result<std::string> Client::disable() {
  return change("Disable", {});
}

Result<std::string> Client::status() {
  return read("GetStatus");
}

Result<std::string> Client::resync(os::Activation activation, std::chrono::milliseconds patience) {
  return call("Resync", {}, activation, patience);
}

Result<std::string> Client::rules() {
  return read("GetRules");
}

Outcome Client::watch(std::function<void(const std::string&)> changed, std::function<void()> absent) {
  // Listen first, ask then: nothing that happens in between is missed.
  const auto signals = bus_.subscribe(
      {.sender = bus_name,
       .path = object_path,
       .interface = interface_name,
       .member = "StatusChanged",
       .signature = "s"},
      [&](const os::BusNotice& notice) { changed(std::get<std::string>(notice.arguments.at(0).content)); });
  if (!signals) {
    return client_fail(signals.error());
  }
  const auto report_present = [&] {
    if (const auto present = status()) {
      changed(*present);
    } else {
      absent();
    }
  };
  const auto owner = bus_.watch_name(bus_name, [&](const std::string& unique_name) {
    if (unique_name.empty()) {
      absent();
    } else {
      report_present();
    }
  });
  if (!owner) {
    return client_fail(owner.error());
  }
  report_present();
  auto ran = loop_->run();
  if (*lost_) {
    return fail(Error{make_error_code(ClientError::bus_unreachable), "the connection to the system bus was lost"});
  }
  return ran;
}

}  // namespace killswitch::serve
