#include "killswitch/serve/polkit.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace killswitch::serve {
namespace {

using namespace std::chrono_literals;

constexpr const char* polkit_name = "org.freedesktop.PolicyKit1";
constexpr const char* polkit_path = "/org/freedesktop/PolicyKit1/Authority";
constexpr const char* polkit_interface = "org.freedesktop.PolicyKit1.Authority";
constexpr std::uint32_t allow_user_interaction = 1;
constexpr auto patience = 5min;  // somebody looks for the password

os::BusCall question(const std::string& caller, Action action) {
  auto subject = os::bus_struct(
      {os::bus_string("system-bus-name"),
       os::bus_array("{sv}", {os::bus_entry(os::bus_string("name"), os::bus_variant(os::bus_string(caller)))})});
  return {.destination = polkit_name,
          .path = polkit_path,
          .interface = polkit_interface,
          .member = "CheckAuthorization",
          .arguments = {std::move(subject), os::bus_string(action_id(action)), os::bus_array("{ss}", {}),
                        os::bus_uint32(allow_user_interaction), os::bus_string("")},
          .reply_signature = "(bba{ss})",
          .activation = os::Activation::allowed,
          .timeout = patience};
}

bool was_dismissed(const os::BusValues& details) {
  return std::any_of(details.begin(), details.end(), [](const os::BusValue& entry) {
    return std::get<std::string>(std::get<os::BusValues>(entry.content).at(0).content) == "polkit.dismissed";
  });
}

Failure refused(const std::string& why) {
  return fail(Error{std::make_error_code(std::errc::permission_denied), why});
}

Outcome decision(const Result<os::BusValues>& answer, Action action) {
  const auto* id = action_id(action);
  if (!answer) {
    const auto& error = answer.error();
    if (error.code == os::BusError::service_unknown) {
      return refused(fmt::format("{}: only root may, because polkit is not installed or does not start: use sudo", id));
    }
    if (error.code == os::BusError::timed_out) {
      return refused(fmt::format("{}: nobody authenticated within {} min", id, patience.count()));
    }
    return refused(fmt::format("{}: polkit was asked and failed: {}", id, error.message()));
  }
  const auto& fields = std::get<os::BusValues>(answer->at(0).content);
  if (std::get<bool>(fields.at(0).content)) {
    return done();
  }
  if (was_dismissed(std::get<os::BusValues>(fields.at(2).content))) {
    return refused(fmt::format("{}: the authentication was dismissed", id));
  }
  if (std::get<bool>(fields.at(1).content)) {
    return refused(fmt::format("{}: an administrator must authenticate, and no agent here can ask: use sudo", id));
  }
  return refused(fmt::format("{}: polkit says no", id));
}

}  // namespace

const char* action_id(Action action) {
  switch (action) {
    case Action::enable: return "org.killswitch1.enable";
    case Action::disable: return "org.killswitch1.disable";
    case Action::policy: return "org.killswitch1.policy";
  }
  return "org.killswitch1.policy";
}

void ask_polkit(os::Bus& bus, const std::string& caller, Action action, const std::function<void(Outcome)>& decided) {
  const auto sent = bus.call_async(question(caller, action), [decided, action](const Result<os::BusValues>& answer) {
    decided(decision(answer, action));
  });
  if (!sent) {
    decided(decision(fail(sent.error()), action));
  }
}

}  // namespace killswitch::serve
