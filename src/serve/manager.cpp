#include "killswitch/serve/manager.hpp"

#include <fmt/format.h>

namespace killswitch::serve {
namespace {

constexpr const char* access_denied = "org.freedesktop.DBus.Error.AccessDenied";
constexpr const char* invalid_argument = "org.killswitch1.Error.InvalidArgument";
constexpr const char* refused_by_us = "org.killswitch1.Error.AccessDenied";
constexpr const char* handler_failed = "org.killswitch1.Error.Failed";

enum class Audience { everyone, root };

/// @return why the caller may not; a caller whom the bus does not vouch for is nobody (G12)
std::optional<os::BusFailure> refusal(const os::BusRequest& request, Audience audience, const char* method) {
  if (audience == Audience::everyone) {
    return std::nullopt;
  }
  const auto uid = request.caller_uid();
  if (!uid) {
    return os::BusFailure{access_denied, fmt::format("{}: {}", method, uid.error().message())};
  }
  if (*uid != 0) {
    return os::BusFailure{access_denied, fmt::format("{} is for root only (the caller has uid {})", method, *uid)};
  }
  return std::nullopt;
}

os::BusReply reply(const Result<std::string>& result) {
  if (result) {
    return os::BusValues{os::bus_string(*result)};
  }
  const auto& code = result.error().code;
  const char* name = code == std::errc::invalid_argument ? invalid_argument
                     : code == std::errc::permission_denied || code == std::errc::operation_not_permitted
                         ? refused_by_us
                         : handler_failed;
  return os::BusFailure{name, result.error().message()};
}

os::BusMethod method(const char* name, Audience audience, const char* reply_name,
                     std::function<Result<std::string>()> handler) {
  return {name,
          "",
          {},
          "s",
          {reply_name},
          [=, handler = std::move(handler)](const os::BusRequest& request, const os::BusAnswer& answer) {
            if (auto refused = refusal(request, audience, name)) {
              return answer(std::move(*refused));
            }
            answer(reply(handler()));
          }};
}

os::BusMethod enable_method(std::function<Result<std::string>(const std::string&)> handler) {
  return {"Enable",
          "s",
          {"settings_json"},
          "s",
          {"status_json"},
          [handler = std::move(handler)](const os::BusRequest& request, const os::BusAnswer& answer) {
            if (auto refused = refusal(request, Audience::root, "Enable")) {
              return answer(std::move(*refused));
            }
            const auto& settings = std::get<std::string>(request.arguments.at(0).content);
            if (settings.size() > longest_settings) {
              return answer(os::BusFailure{invalid_argument, fmt::format("the settings have {} bytes; {} are accepted",
                                                                         settings.size(), longest_settings)});
            }
            answer(reply(handler(settings)));
          }};
}

}  // namespace

Result<Manager> Manager::start(os::Bus& bus, Handlers handlers, Summary summary) {
  auto present = std::make_unique<Summary>(std::move(summary));
  const Summary* read = present.get();
  os::BusObject object{object_path, interface_name, {}, {}, {{"StatusChanged", "s", {"status_json"}}}};
  object.methods.push_back(enable_method(std::move(handlers.enable)));
  object.methods.push_back(method("Disable", Audience::root, "status_json", std::move(handlers.disable)));
  object.methods.push_back(method("GetStatus", Audience::everyone, "status_json", std::move(handlers.status)));
  object.methods.push_back(method("GetRules", Audience::root, "nft_text", std::move(handlers.rules)));
  object.properties.push_back({"State", "s", [read] { return os::bus_string(read->state); }});
  object.properties.push_back({"Policy", "s", [read] { return os::bus_string(read->policy); }});
  object.properties.push_back({"Enforced", "b", [read] { return os::bus_boolean(read->enforced); }});
  if (auto exported = bus.export_object(std::move(object)); !exported) {
    return fail(exported.error());
  }
  if (auto named = bus.request_name(bus_name); !named) {
    return fail(named.error());
  }
  return Manager{bus, std::move(present)};
}

Outcome Manager::announce(Summary summary, const std::string& status_json) {
  std::vector<std::string> changed;
  const auto compare = [&](const char* name, const auto& before, const auto& now) {
    if (before != now) {
      changed.emplace_back(name);
    }
  };
  compare("State", summary_->state, summary.state);
  compare("Policy", summary_->policy, summary.policy);
  compare("Enforced", summary_->enforced, summary.enforced);
  *summary_ = std::move(summary);
  if (!changed.empty()) {
    if (auto told = bus_->properties_changed(object_path, changed); !told) {
      return told;
    }
  }
  return bus_->emit_signal(object_path, "StatusChanged", {os::bus_string(status_json)});
}

}  // namespace killswitch::serve
