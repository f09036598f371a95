#include "commands.hpp"

#include "killswitch/app/policies.hpp"
#include "killswitch/codec/policy_json.hpp"
#include "killswitch/codec/status_json.hpp"
#include "killswitch/codec/status_text.hpp"
#include "killswitch/os/files.hpp"
#include "killswitch/serve/client.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace killswitch::app {

void print(const std::string& text) {
  fmt::print("{}", text);
}

void print_note(const std::string& text) {
  fmt::print(stderr, "{}\n", text);
}

int report(const Error& error, const std::string& advice) {
  print_note(fmt::format("killswitch: {}", error.message()));
  if (!advice.empty()) {
    print_note(fmt::format("            {}", advice));
  }
  const bool forbidden = error.code == serve::ClientError::not_permitted ||
                         error.code == std::errc::operation_not_permitted || error.code == std::errc::permission_denied;
  return forbidden ? exit_not_permitted : exit_failed;
}

bool require_root(const char* command) {
  if (::geteuid() == 0) {
    return true;
  }
  print_note(fmt::format("killswitch: {0} is for root only: `sudo killswitch {0}`", command));
  return false;
}

int print_status(const std::string& status_json, Output output) {
  const auto status = codec::parse_status_json(status_json, "status");
  if (!status) {
    return report(status.error().within("the answer of killswitchd"));
  }
  print(output == Output::json ? status_json + (status_json.ends_with('\n') ? "" : "\n")
                               : codec::render_status_text(*status));
  return exit_done;
}

int run_policy_list(const Paths& paths, Output output) {
  const auto sources = list_policies(paths);
  if (!sources) {
    return report(sources.error());
  }
  auto list = nlohmann::json::array();
  int exit = exit_done;
  for (const auto& source : *sources) {
    const auto policy = load_policy(source);
    if (!policy) {
      exit = report(policy.error());
      continue;
    }
    if (output == Output::json) {
      const auto path = source.path ? nlohmann::json(*source.path) : nlohmann::json(nullptr);
      list.push_back({{"name", source.name}, {"path", path}, {"description", policy->description}});
    } else {
      print(fmt::format("{:<14} {}\n{:<14} {}\n", source.name, policy->description, "",
                        source.path.value_or("built in")));
    }
  }
  if (output == Output::json) {
    print(list.dump(2) + "\n");
  }
  return exit;
}

int run_policy_show(const Paths& paths, const std::string& name_or_file) {
  const auto policy = load_policy(paths, name_or_file);
  if (!policy) {
    return report(policy.error());
  }
  print(codec::render_policy(*policy) + "\n");
  return exit_done;
}

int run_policy_check(const std::string& file) {
  const auto text = os::read_file(file);
  if (!text) {
    return report(text.error());
  }
  if (const auto policy = codec::parse_policy(*text, file); !policy) {
    return report(policy.error());
  }
  print(fmt::format("{}: a valid policy\n", file));
  return exit_done;
}

}  // namespace killswitch::app
