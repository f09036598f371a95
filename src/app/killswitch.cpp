// killswitch: the command. Reads the command line and calls the subcommand; everything else is theirs.
#include "commands.hpp"

#include <unistd.h>
#include <CLI/CLI.hpp>

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
  auto* command = app.add_subcommand("enable", "Lock this machine: only the VPN may leave it");
  command->footer(
      "Server names are resolved before the lock, and what was pinned is said. Without a profile or server the\n"
      "machine is locked and learns numeric servers from OpenVPN itself (killswitch connect).\n\n"
      "Examples:\n"
      "  killswitch enable --config client.ovpn\n"
      "  killswitch enable --server vpn.example.org:1194/udp --policy strict\n"
      "  killswitch enable --config client.ovpn --try 60s          open again after a minute unless confirmed\n"
      "  killswitch enable --networkmanager office                 as `nmcli connection show` lists it\n"
      "  killswitch enable --config client.ovpn --interface tun0   OpenVPN runs without management\n"
      "  killswitch enable --config client.ovpn --offline          no daemon, no D-Bus");
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
                   "trust this tun interface although OpenVPN runs without management and cannot confirm it")
      ->type_name("NAME");
  command->add_option("--policy", line.enable.request.policy, "what else may leave (see: killswitch policy list)")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  auto* trial = command->add_option("--try", line.enable.trial,
                                    "revert to what was before after this time, unless killswitch confirm comes first");
  trial->type_name("DURATION");
  command->add_flag("--yes", line.enable.yes, "lock also when that cuts the SSH session that this is given in");
  command->add_flag("--offline", line.enable.offline, "straight into the kernel, without daemon and D-Bus")
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
      "Exit status 1 when there is no trial.\n\n"
      "Examples:\n"
      "  killswitch enable --config client.ovpn --try 60s\n"
      "  killswitch confirm");
  command->add_flag("--json", line.json, "print the status as JSON");
  command->callback([&line] { line.exit = run_confirm(line.output()); });
}

void add_disable(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("disable", "Give the network back");
  command->footer(
      "Who is not root is asked to authenticate as an administrator (polkit); --offline is for root.\n\n"
      "Examples:\n"
      "  killswitch disable\n"
      "  killswitch disable --offline    works with the daemon dead and D-Bus absent");
  command->add_flag("--offline", line.disable.offline, "straight out of the kernel, without daemon and D-Bus");
  command->add_flag("--json", line.json, "print the status as JSON");
  command->callback([&line] {
    line.disable.output = line.output();
    line.exit = run_disable(line.paths, line.disable);
  });
}

void add_status(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("status", "Say what the kernel was seen to hold, and what is missing");
  command->footer(
      "Exit status 0 while enabled, 3 while disabled.\n\n"
      "Examples:\n"
      "  killswitch status\n"
      "  killswitch status --json | jq -r .state\n"
      "  killswitch status --watch                  until Ctrl-C");
  command->add_flag("--json", line.json, "print JSON");
  command->add_flag("--watch", line.status.watch, "go on and print every change");
  command->callback([&line] {
    line.status.output = line.output();
    line.exit = run_status(line.paths, line.status);
  });
}

void add_rules(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("rules", "Print the rules that the kernel holds now, as nft(8) text");
  command->footer(
      "Exit status 1 when they are not confirmed to be what is wanted.\n\n"
      "Examples:\n"
      "  killswitch rules\n"
      "  killswitch rules --json | jq -r .nft");
  command->add_flag("--json", line.json, "print JSON");
  command->callback([&line] { line.exit = run_rules(line.paths, line.output()); });
}

void add_test(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("test", "Try every way out of this machine, and say which of them leak");
  command->footer(
      "Sends a few packets for each class of leak on every link that is up: to addresses that belong to nobody, to\n"
      "the local network and to the VPN server. Watches what leaves. With the kill switch off it shows what that is\n"
      "for.\n"
      "Exit status 0 when nothing left, 1 when something did.\n\n"
      "Examples:\n"
      "  killswitch test\n"
      "  killswitch test --json | jq '.results[] | select(.verdict == \"leaked\")'");
  command->add_flag("--json", line.json, "print JSON");
  command->callback([&line] { line.exit = run_test(line.paths, line.output()); });
}

void add_explain(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("explain", "Say what the rules in the kernel do with a packet, and why");
  command->footer(
      "PACKET is PROTOCOL [SOURCE[:PORT]] -> DESTINATION[:PORT] WAY OPTIONS:\n"
      "  PROTOCOL  udp, tcp, sctp, icmp [type N], icmpv6 [type N] or a number; arp and ethertype 0xNNNN have no "
      "addresses\n"
      "  SOURCE    numeric, like DESTINATION; IPv6 with a port as [ADDRESS]:PORT\n"
      "  WAY       out IFACE, in IFACE, or forward IFACE IFACE\n"
      "  OPTIONS   mark N, uid N|NAME (else nobody), ttl N, hoplimit N, fragment, packet-socket\n"
      "Exit status 0 when it was explained, whatever the verdict; 2 when it is no packet.\n\n"
      "Examples:\n"
      "  killswitch explain \"udp 10.0.0.5 -> 8.8.8.8:53 out wlo1\"\n"
      "  killswitch explain \"tcp -> [2001:db8::1]:443 out tun0 uid 1000\"\n"
      "  killswitch explain \"icmpv6 type 135 fe80::1 -> ff02::1 out wlo1 hoplimit 255\"\n"
      "  killswitch explain \"udp 172.17.0.2 -> 8.8.8.8:53 forward docker0 wlo1\"");
  command->add_option("PACKET", line.packet, "in words, quoted")->required();
  command->add_flag("--json", line.json, "print JSON");
  command->callback([&line] { line.exit = run_explain(line.packet, line.output()); });
}

void add_blocked(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("blocked", "Say what was refused: class, destination, program");
  command->footer(
      "Without --follow: how much was refused since the kill switch was enabled, by class.\n"
      "With --follow: each packet of this host and its guests from now on, at most 50 a second. A program that has\n"
      "closed its socket already is told by its user alone.\n"
      "Exit status 3 while disabled.\n\n"
      "Examples:\n"
      "  killswitch blocked\n"
      "  killswitch blocked --follow --json | jq -r .process");
  command->add_flag("--follow", line.blocked.follow, "go on, and print each packet");
  command->add_flag("--json", line.json, "print JSON; with --follow one object a line");
  command->callback([&line] {
    line.blocked.output = line.output();
    line.exit = run_blocked(line.paths, line.blocked);
  });
}

void add_connect(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("connect", "Lock this machine if needed, then start OpenVPN under the lock");
  command->footer(
      "Examples:\n"
      "  killswitch connect client.ovpn\n"
      "  killswitch connect client.ovpn -- --verb 4 --auth-user-pass credentials.txt");
  command->add_option("FILE", line.connect.profile, "OpenVPN profile")->required();
  command->add_option("--policy", line.connect.policy, "as in enable")->type_name("NAME|FILE");
  command->add_flag("--yes", line.connect.yes, "as in enable");
  command->add_option("OPTIONS", line.connect.openvpn_options, "after --: options for openvpn");
  command->positionals_at_end();
  command->callback([&line] { line.exit = run_connect(line.paths, line.connect); });
}

void add_policy(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("policy", "List, show or check policies");
  command->require_subcommand(1);
  auto* list = command->add_subcommand("list", "The policies that --policy may name");
  list->footer("Examples:\n  killswitch policy list\n  killswitch policy list --json | jq -r '.[].name'");
  list->add_flag("--json", line.json, "print JSON");
  list->callback([&line] { line.exit = run_policy_list(line.paths, line.output()); });
  auto* show = command->add_subcommand("show", "Print a policy, with every default spelled out");
  show->footer("Examples:\n  killswitch policy show laptop > my.json");
  show->add_option("POLICY", line.policy, "name or file")->required();
  show->callback([&line] { line.exit = run_policy_show(line.paths, line.policy); });
  auto* check = command->add_subcommand("check", "Say whether a policy file is valid");
  check->footer("Examples:\n  killswitch policy check my.json && sudo killswitch enable --policy my.json");
  check->add_option("FILE", line.policy, "policy file")->required();
  check->callback([&line] { line.exit = run_policy_check(line.policy); });
}

void add_hook(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("hook", "Called by other programs when the network changes");
  command->require_subcommand(1);
  auto* networkmanager = command->add_subcommand("networkmanager", "For NetworkManager's dispatcher");
  networkmanager->footer(
      "pre-up and vpn-pre-up: while the kill switch is enabled, waits until the lock is seen, at most 5 seconds; exit\n"
      "status 1 when it is not. Everything else is a hint to look again.\n\n"
      "Examples:\n"
      "  killswitch hook networkmanager wlo1 pre-up");
  networkmanager->add_option("IFACE", line.hook.interface, "interface")->required();
  networkmanager->add_option("ACTION", line.hook.action, "as in NetworkManager-dispatcher(8)")->required();
  networkmanager->callback([&line] { line.exit = run_hook(line.paths, line.hook); });
}

}  // namespace

int main(int argc, char** argv) {
  CommandLine line;
  line.paths = paths_from_environment();
  CLI::App app{"killswitch keeps this machine's traffic inside its OpenVPN tunnel, whatever crashes or reconnects.",
               "killswitch"};
  app.footer(
      "Start here:  sudo killswitch enable --config client.ovpn && sudo killswitch connect client.ovpn\n"
      "Way back:    sudo killswitch disable   (daemon dead: sudo killswitch disable --offline)\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 status while disabled, 4 not permitted");
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
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_done : exit_usage;
  }
  return line.exit;
}
