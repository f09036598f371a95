#include "killswitch/serve/manager.hpp"

#include "killswitch/serve/polkit.hpp"

#include <fmt/format.h>
#include <map>

namespace killswitch::serve {
namespace {

constexpr const char* access_denied = "org.freedesktop.DBus.Error.AccessDenied";
constexpr const char* invalid_argument = "org.killswitch1.Error.InvalidArgument";
constexpr const char* refused_by_us = "org.killswitch1.Error.AccessDenied";
constexpr const char* handler_failed = "org.killswitch1.Error.Failed";

constexpr const char* too_many = "org.freedesktop.DBus.Error.LimitsExceeded";

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

using Act = std::function<void(Caller, const Answer&)>;
using WhichAction = std::function<Action()>;

/// Lets requests in (G12): root at once, others when polkit has said so.
class Gate : public std::enable_shared_from_this<Gate> {
public:
  explicit Gate(os::Bus& bus) : bus_{bus} {}

  /// @param which what the request amounts to; asked again after polkit, because the world may have changed meanwhile
  void admit(const os::BusRequest& request, const os::BusAnswer& answer, const WhichAction& which, const Act& act) {
    const auto uid = request.caller_uid();
    if (!uid) {
      return answer(os::BusFailure{access_denied, uid.error().message()});  // whom the bus does not vouch for
    }
    const auto tell = [answer](const Result<std::string>& result) { answer(reply(result)); };
    if (*uid == 0) {
      return act(Caller::root, tell);
    }
    if (waiting_[*uid] >= most_waiting_of_a_user || all_waiting_ >= most_waiting) {
      return answer(os::BusFailure{too_many, "too many requests wait for an authentication already"});
    }
    ++waiting_[*uid];
    ++all_waiting_;
    const auto action = which();
    ask_polkit(bus_, request.sender, action,
               [gate = shared_from_this(), user = *uid, action, which, answer, tell, act](const Outcome& allowed) {
                 --gate->waiting_[user];
                 --gate->all_waiting_;
                 if (!allowed) {
                   return answer(os::BusFailure{access_denied, allowed.error().context});
                 }
                 if (which() != action) {
                   return answer(
                       os::BusFailure{access_denied, "the kill switch was changed while you authenticated: ask again"});
                 }
                 act(Caller::administrator, tell);
               });
  }

private:
  os::Bus& bus_;
  std::map<std::uint32_t, std::size_t> waiting_;
  std::size_t all_waiting_{0};
};

using Handler = std::function<void(const os::BusRequest&, const os::BusAnswer&)>;

os::BusMethod method(const char* name, const char* reply_name, Handler handler) {
  return {name, "", {}, "s", {reply_name}, std::move(handler)};
}

Handler for_everyone(std::function<Result<std::string>()> handler) {
  return [handler = std::move(handler)](const os::BusRequest& /*request*/, const os::BusAnswer& answer) {
    answer(reply(handler()));
  };
}

Handler for_root(const char* name, std::function<Result<std::string>()> handler) {
  return [name, handler = std::move(handler)](const os::BusRequest& request, const os::BusAnswer& answer) {
    const auto uid = request.caller_uid();
    if (!uid || *uid != 0) {
      return answer(os::BusFailure{access_denied, fmt::format("{} is for root only", name)});
    }
    answer(reply(handler()));
  };
}

Handler for_administrators(const std::shared_ptr<Gate>& gate, Action action,
                           std::function<void(const Answer&)> handler) {
  return [gate, action, handler = std::move(handler)](const os::BusRequest& request, const os::BusAnswer& answer) {
    gate->admit(
        request, answer, [action] { return action; },
        [handler](Caller /*caller*/, const Answer& tell) { handler(tell); });
  };
}

/// Closing an open machine is one thing, changing what may leave a closed one is another.
Handler enable_handler(const std::shared_ptr<Gate>& gate, const Summary* summary,
                       std::function<Result<std::string>(const EnableCall&)> handler) {
  return [gate, summary, handler = std::move(handler)](const os::BusRequest& request, const os::BusAnswer& answer) {
    EnableCall call;
    call.settings_json = std::get<std::string>(request.arguments.at(0).content);
    if (call.settings_json.size() > longest_settings) {
      return answer(os::BusFailure{invalid_argument, fmt::format("the settings have {} bytes; {} are accepted",
                                                                 call.settings_json.size(), longest_settings)});
    }
    if (request.arguments.size() > 1) {
      call.trial = std::chrono::seconds{std::get<std::uint32_t>(request.arguments.at(1).content)};
    }
    const auto which = [summary] { return summary->state == "disabled" ? Action::enable : Action::policy; };
    gate->admit(request, answer, which, [handler, call](Caller caller, const Answer& tell) {
      auto admitted = call;
      admitted.caller = caller;
      tell(handler(admitted));
    });
  };
}

}  // namespace

Result<Manager> Manager::start(os::Bus& bus, Handlers handlers, Summary summary) {
  auto present = std::make_unique<Summary>(std::move(summary));
  const Summary* read = present.get();
  os::BusObject object{object_path, interface_name, {}, {}, {{"StatusChanged", "s", {"status_json"}}}};
  const auto gate = std::make_shared<Gate>(bus);
  const auto enable = enable_handler(gate, read, std::move(handlers.enable));
  const auto confirm = [handler = std::move(handlers.confirm)](const Answer& tell) { tell(handler()); };
  object.methods = {
      {"Enable", "s", {"settings_json"}, "s", {"status_json"}, enable},
      {"EnableOnTrial", "su", {"settings_json", "seconds"}, "s", {"status_json"}, enable},
      method("Confirm", "status_json", for_administrators(gate, Action::enable, confirm)),
      method("Disable", "status_json", for_administrators(gate, Action::disable, std::move(handlers.disable))),
      method("GetStatus", "status_json", for_everyone(std::move(handlers.status))),
      method("Resync", "status_json", for_root("Resync", std::move(handlers.resync))),
      method("GetRules", "nft_text", for_root("GetRules", std::move(handlers.rules)))};
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
