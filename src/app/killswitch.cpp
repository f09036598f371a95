// killswitch: the command. Parses the command line and runs the subcommand.
#include "commands.hpp"
#include "killswitch/app/connect_arguments.hpp"
#include "killswitch/base/text.hpp"

#include <unistd.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

namespace {

using namespace killswitch::app;

struct CommandLine {
  Paths paths;
  int exit{exit_done};
  bool json{false};
  EnableCommand enable;
  DisableCommand disable;
  StatusCommand status;
  BlockedCommand blocked;
  ConnectCommand connect;
  HookCommand hook;
  std::string policy;
  std::string packet;

  [[nodiscard]] Output output() const { return json ? Output::json : Output::text; }
};

void add_enable(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("enable", "Lock this machine: traffic may leave it through the VPN only");
  command->footer(
      "Server names are resolved before the lock, and the pinned addresses are printed. Without a profile or server\n"
      "the machine is locked, and numeric servers are learned from OpenVPN itself (killswitch connect).\n\n"
      "Examples:\n"
      "  killswitch enable --config client.ovpn                    then: sudo openvpn --config client.ovpn\n"
      "  killswitch enable --server vpn.example.org:1194/udp --policy strict\n"
      "  killswitch enable --config client.ovpn --try 60s          unlocks after a minute unless confirmed\n"
      "  killswitch enable --networkmanager office                 as `nmcli connection show` lists it\n"
      "  killswitch enable --config client.ovpn --interface tun0   no other interface may be the tunnel\n"
      "  killswitch enable --server vpn.example.org:443/tcp --transport-program /usr/bin/stunnel4:stunnel4\n"
      "  sudo killswitch enable --config client.ovpn --offline     without daemon and D-Bus");
  command->add_option("--config", line.enable.request.profiles, "OpenVPN profile; may be given several times")
      ->type_name("FILE.ovpn");
  command->add_option("--server", line.enable.request.servers, "VPN server; may be given several times")
      ->type_name("HOST:PORT/udp|tcp");
  command
      ->add_option("--networkmanager", line.enable.request.networkmanager,
                   "VPN connection of NetworkManager; may be given several times")
      ->type_name("NAME|UUID");
  command
      ->add_option("--interface", line.enable.request.interface,
                   "only this interface may be the tunnel; its name alone never makes it trusted")
      ->type_name("NAME");
  command
      ->add_option("--transport-program", line.enable.request.transport_programs,
                   "helper that carries OpenVPN, such as stunnel; USER: the system user that it runs as, besides root; "
                   "may be given several times")
      ->type_name("PATH[:USER]");
  command->add_option("--policy", line.enable.request.policy, "what else may leave (see: killswitch policy list)")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  auto* trial =
      command->add_option("--try", line.enable.trial,
                          "restore the previous state after this time, unless `killswitch confirm` is run first");
  trial->type_name("DURATION");
  command->add_flag("--yes", line.enable.yes, "lock even if that cuts the SSH session that runs this command");
  command->add_flag("--offline", line.enable.offline, "set the rules in the kernel directly, without daemon and D-Bus")
      ->excludes(trial);
  command->add_flag("--json", line.json, "print the status as JSON");
  command->callback([&line] {
    line.enable.output = line.output();
    line.exit = run_enable(line.paths, line.enable);
  });
}

void add_confirm(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("confirm", "Keep a lock that was enabled with --try");
  command->footer(
      "Exit status 1 when no trial is running.\n\n"
      "Examples:\n"
      "  killswitch enable --config client.ovpn --try 60s\n"
      "  killswitch confirm");
  command->add_flag("--json", line.json, "print the status as JSON");
  command->callback([&line] { line.exit = run_confirm(line.output()); });
}

void add_disable(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("disable", "Unlock this machine: traffic may leave outside the VPN again");
  command->footer(
      "Unprivileged users authenticate as an administrator (polkit); --offline needs root.\n\n"
      "Examples:\n"
      "  killswitch disable\n"
      "  sudo killswitch disable --offline    works with the daemon dead and D-Bus absent");
  command->add_flag("--offline", line.disable.offline,
                    "remove the rules from the kernel directly, without daemon and D-Bus");
  command->add_flag("--json", line.json, "print the status as JSON");
  command->callback([&line] {
    line.disable.output = line.output();
    line.exit = run_disable(line.paths, line.disable);
  });
}

void add_status(CLI::App& app, CommandLine& line) {
  auto* command =
      app.add_subcommand("status", "Print the state, verified against the rules in the kernel, and what is missing");
  command->footer(
      "Exit status 0 while enabled, 3 while disabled.\n\n"
      "Examples:\n"
      "  killswitch status\n"
      "  killswitch status --json | jq -r .state\n"
      "  killswitch status --watch                  until Ctrl-C");
  command->add_flag("--json", line.json, "print JSON");
  command->add_flag("--watch", line.status.watch, "continue, and print every change");
  command->callback([&line] {
    line.status.output = line.output();
    line.exit = run_status(line.paths, line.status);
  });
}

void add_rules(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("rules", "Print the rules in the kernel, as nft(8) text");
  command->footer(
      "Exit status 1 when they could not be verified to be the computed ones.\n\n"
      "Examples:\n"
      "  sudo killswitch rules\n"
      "  sudo killswitch rules --json | jq -r .nft");
  command->add_flag("--json", line.json, "print JSON");
  command->callback([&line] { line.exit = run_rules(line.paths, line.output()); });
}

void add_test(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("test", "Probe every egress path of this machine, and report which of them leak");
  command->footer(
      "Sends a few packets for each class of leak on every link that is up: to documentation addresses, to the local\n"
      "network and to the VPN server; captures what leaves. While disabled it shows what the kill switch would stop.\n"
      "Exit status 0 when nothing leaked, 1 when something did.\n\n"
      "Examples:\n"
      "  sudo killswitch test\n"
      "  sudo killswitch test --json | jq '.results[] | select(.verdict == \"leaked\")'");
  command->add_flag("--json", line.json, "print JSON");
  command->callback([&line] { line.exit = run_test(line.paths, line.output()); });
}

void add_explain(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("explain", "Explain what the rules in the kernel do with a packet, and why");
  command->footer(
      "PACKET is PROTOCOL [SOURCE[:PORT]] -> DESTINATION[:PORT] DIRECTION OPTIONS:\n"
      "  PROTOCOL   udp, tcp, sctp, icmp [type N], icmpv6 [type N] or a number; arp and ethertype 0xNNNN have no "
      "addresses\n"
      "  SOURCE     numeric, like DESTINATION; IPv6 with a port as [ADDRESS]:PORT\n"
      "  DIRECTION  out IFACE, in IFACE, or forward IFACE IFACE\n"
      "  OPTIONS    mark N, uid N|NAME (else nobody), ttl N, hoplimit N, fragment, packet-socket,\n"
      "             socket-mark N (of the socket that receives it)\n"
      "Exit status 0 when the packet was explained, whatever the verdict; 2 when PACKET is not valid.\n\n"
      "Examples:\n"
      "  sudo killswitch explain \"udp 10.0.0.5 -> 8.8.8.8:53 out wlo1\"\n"
      "  sudo killswitch explain \"tcp -> [2001:db8::1]:443 out tun0 uid 1000\"\n"
      "  sudo killswitch explain \"icmpv6 type 135 fe80::1 -> ff02::1 out wlo1 hoplimit 255\"\n"
      "  sudo killswitch explain \"udp 172.17.0.2 -> 8.8.8.8:53 forward docker0 wlo1\"");
  command->add_option("PACKET", line.packet, "one argument, quoted")->required();
  command->add_flag("--json", line.json, "print JSON");
  command->callback([&line] { line.exit = run_explain(line.packet, line.output()); });
}

void add_blocked(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("blocked", "Print what was refused: class, destination, program");
  command->footer(
      "Without --follow: how much was refused since the kill switch was enabled, by class.\n"
      "With --follow (root only): each packet of this host and its guests from now on, at most 50 a second. Of a\n"
      "program that has closed its socket already only the user is known.\n"
      "Exit status 3 while disabled.\n\n"
      "Examples:\n"
      "  killswitch blocked\n"
      "  sudo killswitch blocked --follow --json | jq -r .process");
  command->add_flag("--follow", line.blocked.follow, "continue, and print each packet");
  command->add_flag("--json", line.json, "print JSON; with --follow one object a line");
  command->callback([&line] {
    line.blocked.output = line.output();
    line.exit = run_blocked(line.paths, line.blocked);
  });
}

void add_connect(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("connect", "Lock this machine if needed, then start OpenVPN under the lock");
  command->footer(
      "Options of killswitch stand before the first `--`, before or after FILE. Everything after it is passed to\n"
      "openvpn unchanged.\n\n"
      "Examples:\n"
      "  sudo killswitch connect client.ovpn\n"
      "  sudo killswitch connect client.ovpn --policy strict\n"
      "  sudo killswitch connect client.ovpn -- --verb 4 --auth-user-pass credentials.txt");
  command->add_option("FILE", line.connect.profile, "OpenVPN profile")->required();
  command->add_option("--policy", line.connect.policy, "as in enable")->type_name("NAME|FILE");
  command->add_flag("--yes", line.connect.yes, "as in enable");
  command->callback([&line] { line.exit = run_connect(line.paths, line.connect); });
}

void add_policy(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("policy", "List, show or check policies");
  command->footer("Examples:\n  killswitch policy list\n  killswitch policy show strict");
  command->require_subcommand(1);
  auto* list = command->add_subcommand("list", "The policies that --policy may name");
  list->footer("Examples:\n  killswitch policy list\n  killswitch policy list --json | jq -r '.[].name'");
  list->add_flag("--json", line.json, "print JSON");
  list->callback([&line] { line.exit = run_policy_list(line.paths, line.output()); });
  auto* show = command->add_subcommand("show", "Print a policy, with every default spelled out");
  show->footer("Examples:\n  killswitch policy show laptop > my.json");
  show->add_option("POLICY", line.policy, "name or file")->required();
  show->callback([&line] { line.exit = run_policy_show(line.paths, line.policy); });
  auto* check = command->add_subcommand("check", "Check whether a policy file is valid");
  check->footer("Examples:\n  killswitch policy check my.json && sudo killswitch enable --policy my.json");
  check->add_option("FILE", line.policy, "policy file")->required();
  check->callback([&line] { line.exit = run_policy_check(line.policy); });
}

void add_hook(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("hook", "Called by other programs when the network changes");
  command->footer("Examples:\n  sudo killswitch hook networkmanager wlo1 pre-up");
  command->require_subcommand(1);
  auto* networkmanager = command->add_subcommand("networkmanager", "For NetworkManager's dispatcher");
  networkmanager->footer(
      "pre-up and vpn-pre-up: while the kill switch is enabled, waits until its rules are verified, at most 5 "
      "seconds;\n"
      "exit status 1 when they are not. Every other action has the daemon read its facts again.\n\n"
      "Examples:\n"
      "  sudo killswitch hook networkmanager wlo1 pre-up");
  networkmanager->add_option("IFACE", line.hook.interface, "interface")->required();
  networkmanager->add_option("ACTION", line.hook.action, "as in NetworkManager-dispatcher(8)")->required();
  networkmanager->callback([&line] { line.exit = run_hook(line.paths, line.hook); });
}

/// The help as it is written here: newer versions of CLI11 break the lines of a footer anew, and none of them knows
/// that `connect` takes words after `--`, which never reach it.
class HelpFormatter : public CLI::Formatter {
public:
  HelpFormatter() { keep_footer_lines(*this); }

  [[nodiscard]] std::string make_usage(const CLI::App* app, std::string name) const override {
    auto usage = CLI::Formatter::make_usage(app, std::move(name));
    if (app->get_name() == "connect") {
      usage.insert(usage.find_last_not_of('\n') + 1, " [-- OPENVPN OPTIONS]");
    }
    return usage;
  }

private:
  /// @source CLI11 2.5, which has this switch
  static void keep_footer_lines(auto& formatter) {
    if constexpr (requires { formatter.enable_footer_formatting(false); }) {
      formatter.enable_footer_formatting(false);
    }
  }
};

/// Prints what is wrong with the command line, or the help that it asks for.
int report_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  const auto* connect = app.get_subcommand("connect");
  if (connect->parsed() && dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto unknown = killswitch::join(connect->remaining(), " ");
    print_note("killswitch connect: not expected here: " + unknown);
    print_note("            Options for openvpn come after `--`: killswitch connect FILE -- " + unknown);
    return exit_usage;
  }
  return app.exit(error) == 0 ? exit_done : exit_usage;
}

}  // namespace

int main(int argc, char** argv) {
  const auto words = divide_command_line({argv + std::min(argc, 1), argv + argc});
  CommandLine line;
  line.paths = paths_from_environment();
  line.connect.openvpn_options = words.openvpn;
  CLI::App app{"killswitch keeps this machine's traffic inside its OpenVPN tunnel, whatever crashes or reconnects.",
               "killswitch"};
  app.footer(
      "Exit status: 0 done, 1 failed, 2 usage, 3 status while disabled, 4 not permitted\n\n"
      "Examples:\n"
      "  sudo killswitch enable --config client.ovpn    locks this machine\n"
      "  sudo openvpn --config client.ovpn              connects under the lock\n"
      "  killswitch status\n"
      "  sudo killswitch disable                        unlocks it\n"
      "  sudo killswitch disable --offline              the same when the daemon or D-Bus does not work");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", KILLSWITCH_VERSION);
  app.require_subcommand(1);
  add_enable(app, line);
  add_confirm(app, line);
  add_disable(app, line);
  add_status(app, line);
  add_rules(app, line);
  add_test(app, line);
  add_explain(app, line);
  add_blocked(app, line);
  add_connect(app, line);
  add_policy(app, line);
  add_hook(app, line);
  try {
    app.parse(std::vector<std::string>{words.own.rbegin(), words.own.rend()});  // CLI11 takes the words from the back
  } catch (const CLI::ParseError& error) {
    return report_parse_error(app, error);
  }
  return line.exit;
}
