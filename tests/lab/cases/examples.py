"""Every example of the documentation is run as a user types it, and must end with the exit status that is documented.
lab/documentation.py finds them.

Each block of lines is run twice, on an unlocked machine and on a locked one. A line with a program that is not known
here fails.
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab import addresses as a
from lab.desktop import RESOLV_CONF, VPN_UUID, Desktop
from lab.documentation import Block, all_blocks, read_help, simple_commands
from lab.laptop import PROFILE
from lab.node import Process
from lab.sandbox import STORAGE
from lab.terminal import Terminal
from lab.trial import Trial, case
from lab.waiting import LabError, until

_PROJECT = Path(__file__).resolve().parents[3]
_FOLDER = STORAGE / "examples"
_STATE_FILE = Path("/var/lib/killswitch/state.json")
_CONNECTED = "Initialization Sequence Completed"
_STATES = ("disabled", "enabled")

_PROGRAMS = ("killswitch", "openvpn", "nmcli", "jq")
_SCRIPTS = ("packaging/quickstart.sh", "packaging/build-deb.sh", "tests/run.sh")
"""They build, install or test the whole project, this case included. Of their examples it is checked that the script
exists and knows the options; continuous integration and tests/machines run them."""

_FOR_UNPRIVILEGED = ("status", "blocked", "policy")
"""Subcommands that need no rights: without sudo in front an unprivileged user runs them. The others, and nmcli, are for
root or for an administrator whom polkit authenticates; there is no polkit here, so root runs them."""

_PROMISES = {
    ("status",): "Exit status 0 while enabled, 3 while disabled.",
    ("blocked",): "Exit status 3 while disabled.",
    ("confirm",): "Exit status 1 when no trial is running.",
    ("test",): "Exit status 0 when nothing leaked, 1 when something did.",
    ("rules",): "Exit status 1 when they could not be verified to be the computed ones.",
    ("explain",): "Exit status 0 when the packet was explained, whatever the verdict; 2 when PACKET is not valid.",
}
"""What `_promised` is built on; the help has to say it. Everything else ends with 0."""


def _needs_networkmanager(line: str) -> bool:
    return any(words[0] == "nmcli" or "--networkmanager" in words for words in simple_commands(line))


def _is_openvpn(words: Sequence[str]) -> bool:
    return words[0] == "openvpn" or list(words[:2]) == ["killswitch", "connect"]


def _stays(line: str) -> bool:
    """Whether it runs until it is ended."""
    return any(_is_openvpn(words) or {"--watch", "--follow"} & set(words) for words in simple_commands(line))


def _needs_root(line: str) -> bool:
    unprivileged = all(words[0] == "jq" or words[1] in _FOR_UNPRIVILEGED for words in simple_commands(line))
    return "sudo " in line or not unprivileged


def _promised(words: Sequence[str], status: dict[str, object]) -> int:
    """The exit status that the documentation promises for a command of ours in this state of the machine."""
    disabled = status["state"] == "disabled"
    if words[1] in ("status", "blocked"):
        return 3 if disabled else 0
    if words[1] == "confirm":
        return 0 if status.get("trial") else 1
    if words[1] == "test":
        return 1 if disabled else 0
    return 0


def _check_known(line: str) -> None:
    """Every program of an example must be known here, so that none is skipped silently."""
    for words in simple_commands(line):
        if words[0] not in (*_PROGRAMS, *_SCRIPTS):
            raise LabError(f"'{line}': {words[0]} is not known: define in {Path(__file__).name} how it is run")


def _check_script(words: Sequence[str]) -> None:
    script = _PROJECT / words[0]
    text = subprocess.run([script, "--help"], check=True, capture_output=True, text=True).stdout
    for option in (word for word in words[1:] if word.startswith("-")):
        if option not in text:
            raise LabError(f"{words[0]} does not know {option}")


class _Machine:
    """The laptop with what the examples name: files, a stunnel, interfaces; and the programs in the path."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.laptop = trial.laptop
        self.bus: Process | None = None
        self._openvpn: Terminal | None = None
        self.lines = 0
        self._environment = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        for prefix in ("/usr", "/usr/local"):  # as in a build tree: the built-in policies are enough
            shutil.rmtree(f"{prefix}/share/killswitch/policies", ignore_errors=True)
        programs = Path("/usr/local/bin")
        (programs / "killswitch").symlink_to(self.laptop.binary("killswitch"))
        (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (programs / "sudo").chmod(0o755)
        shutil.copy("/bin/true", "/usr/bin/stunnel4")  # a program of root's; a script would be refused
        with Path("/etc/passwd").open("a") as passwd:
            passwd.write("stunnel4:x:993:993::/:/usr/sbin/nologin\n")

    def start(self) -> None:
        """The bus (unless there is one) and the daemon."""
        if self.bus is None:
            self.bus = self.laptop.start_bus()
        self.laptop.start_daemon()

    def _write_files(self) -> None:
        shutil.rmtree(_FOLDER, ignore_errors=True)
        _FOLDER.mkdir()
        lines = [line for line in PROFILE.read_text().splitlines() if not line.startswith("remote ")]
        servers = [f"remote {a.SERVER6} {a.SERVER_PORT} udp6", f"remote {a.SERVER} {a.SERVER_PORT} udp"]
        (_FOLDER / "client.ovpn").write_text("\n".join([*servers, *lines, ""]))
        (_FOLDER / "credentials.txt").write_text("user\npassword\n")
        (_FOLDER / "my.json").write_bytes((_PROJECT / "policies" / "laptop.json").read_bytes())
        for path in (_FOLDER, *_FOLDER.iterdir()):
            os.chown(path, a.NOBODY, a.NOBODY)

    # -- a block -------------------------------------------------------------------------------------------------

    def run_block(self, block: Block, state: str) -> None:
        """All of its lines, one after the other."""
        self._write_files()
        self.laptop.killswitch("disable")
        commands = [words for line in block.lines for words in simple_commands(line)]
        starts_openvpn = any(_is_openvpn(words) or words[:2] == ["killswitch", "enable"] for words in commands)
        if state == "enabled":
            self.laptop.killswitch("enable", "--config", str(_FOLDER / "client.ovpn"))
            if not starts_openvpn and not any(_needs_networkmanager(line) for line in block.lines):
                self._start_openvpn("sudo killswitch connect client.ovpn")
        interfaces = self._add_interfaces(" ".join(block.lines))
        for line in block.lines:
            self.trial.say(f"[{state}] {block.source}: {line}")
            self.run(line)
            self.lines += 1
        self.stop_openvpn()
        for interface in interfaces:
            self.laptop.node.run("ip", "link", "delete", interface)

    def _add_interfaces(self, text: str) -> list[str]:
        """Those that the examples name and that are not there (the tunnel's is, where OpenVPN runs or will)."""
        added = []
        if "docker0" in text:
            self.laptop.node.run("ip", "link", "add", "docker0", "type", "bridge")
            added.append("docker0")
        if "out tun0" in text and not self.laptop.has_tunnel():
            self.laptop.node.run("ip", "tuntap", "add", "tun0", "mode", "tun")
            added.append("tun0")
        return added

    # -- a line --------------------------------------------------------------------------------------------------

    def run(self, line: str) -> None:
        """One example; it must end with the documented exit status, and print a value where it selects one."""
        commands = simple_commands(line)
        for words in commands:
            if words[0] in _SCRIPTS:
                _check_script(words)
                return
        status = self.laptop.status()
        own = [_promised(words, status) for words in commands if words[0] == "killswitch"]
        expected = next((value for value in own if value != 0), 0)
        if any(_is_openvpn(words) for words in commands):
            self._start_openvpn(line)
        elif _stays(line) and not (expected == 3 and "--follow" in line):
            self._run_until_first_output(line, expected)
        elif "--offline" in line:
            self._run_offline(line, expected)
        else:
            self._run_to_end(line, expected)

    def _terminal(self, line: str) -> Terminal:
        return Terminal(self.laptop.node, line, _FOLDER, self._environment, _needs_root(line))

    def _run_to_end(self, line: str, expected: int) -> None:
        terminal = self._terminal(line)
        status = terminal.exit_status()
        output = terminal.output()
        if status != expected:
            raise LabError(f"'{line}' ended with {status}, and promises {expected}:\n{output}")
        for words in simple_commands(line):
            if words[0] == "jq" and output.split("\n")[0] == "null":
                raise LabError(f"'{line}': there is no such value: {output}")
        if line == "nmcli connection up office" and self.laptop.status()["state"] != "disabled":
            self.laptop.wait_state("protected")
        if "> my.json" in line:
            json.loads((_FOLDER / "my.json").read_text())
        if "--transport-program" in line:
            programs = json.loads(_STATE_FILE.read_text())["settings"].get("transport_programs")
            if not programs or "/usr/bin/stunnel4" not in str(programs):
                raise LabError(f"'{line}': the settings hold {programs}")

    def _run_offline(self, line: str, expected: int) -> None:
        """With the daemon dead and no bus."""
        daemon = self.laptop.daemon
        assert daemon is not None and self.bus is not None
        daemon.kill()
        self.bus.kill()
        self._run_to_end(line, expected)
        self.bus = self.laptop.start_bus()
        daemon.command("start")
        daemon.wait_ready(times=daemon.count("started") + 1)

    def _run_until_first_output(self, line: str, expected: int) -> None:
        """Ctrl-C after the first output; meanwhile packets past the tunnel are refused, which --follow reports."""
        terminal = self._terminal(line)
        with self.laptop.node.entered():
            refused = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with refused:
            refused.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a.LINK.encode())

            def printed() -> bool:
                try:
                    refused.sendto(b"example", (a.HOST, 4444))
                except OSError:
                    pass  # refused by the kill switch
                return bool(terminal.output().strip()) or not terminal.alive()

            until(f"'{line}' prints something", printed, 20, step=0.2)
        if not terminal.alive():
            raise LabError(f"'{line}' ended with {terminal.exit_status()}:\n{terminal.output()}")
        status = terminal.interrupt()
        if len(simple_commands(line)) == 1 and status != expected:
            raise LabError(f"'{line}' ended with {status} after Ctrl-C, and promises {expected}:\n{terminal.output()}")

    # -- OpenVPN -------------------------------------------------------------------------------------------------

    def _start_openvpn(self, line: str) -> None:
        """Runs until the end of the block, or until another takes its place; connected, and protected when locked."""
        self.stop_openvpn()
        terminal = self._openvpn = self._terminal(line)
        terminal.wait_for(_CONNECTED, 40)
        status = self.laptop.status()
        if status["state"] != "disabled":
            status = self.laptop.wait_state("protected")
        words = simple_commands(line)[0]
        if "--policy" in words and status["policy"] != words[words.index("--policy") + 1]:
            raise LabError(f"'{line}': the policy is {status['policy']}")
        if "--verb" in words and "Current Parameter Settings:" not in terminal.output():
            raise LabError(f"'{line}': OpenVPN was not given --verb 4:\n{terminal.output()}")

    def stop_openvpn(self) -> None:
        """Ctrl-C; it must end in order."""
        terminal, self._openvpn = self._openvpn, None
        if terminal is None:
            return
        running = terminal.alive()
        status = terminal.interrupt()
        if running and status != 0:
            raise LabError(f"'{terminal.line}' ended with {status} after Ctrl-C:\n{terminal.output()}")
        until("the tunnel is gone", lambda: not self.laptop.has_tunnel())


def _blocks(trial: Trial, networkmanager: bool) -> list[Block]:
    """Those of the documentation, without the lines that the other case runs; equal blocks are run once."""
    found: dict[tuple[str, ...], Block] = {}
    for block in all_blocks(_PROJECT, trial.laptop.binary("killswitch").parent):
        for line in block.lines:
            _check_known(line)
        needs = any(_needs_networkmanager(line) for line in block.lines)
        if block.source.endswith("--help"):  # mostly alternatives; the other blocks are sequences
            lines = tuple(line for line in block.lines if _needs_networkmanager(line) == networkmanager)
        else:
            lines = block.lines if needs == networkmanager else ()
        if lines:
            found.setdefault(lines, Block(block.source, lines))
    return list(found.values())


def _check_promises(trial: Trial) -> None:
    helps = read_help(trial.laptop.program("killswitch"))
    for words, sentence in _PROMISES.items():
        if sentence not in " ".join(helps[words].split()):
            raise LabError(f"killswitch {' '.join(words)} --help does not say: {sentence}")


def _expect_usage_error(trial: Trial) -> None:
    """An option of OpenVPN before `--` is an error that says where it belongs; once it was passed on silently."""
    said = trial.laptop.killswitch("connect", str(_FOLDER / "client.ovpn"), "--verb", "4", expect=(2,))
    trial.expect("-- --verb 4" in said, "connect FILE --verb 4 is refused, and says: connect FILE -- --verb 4")


def _run_blocks(machine: _Machine, blocks: Sequence[Block]) -> None:
    for state in _STATES:
        for block in blocks:
            machine.run_block(block, state)
    expected = sum(len(block.lines) for block in blocks) * len(_STATES)
    machine.trial.expect(machine.lines == expected, f"{machine.lines} lines were run")


@case("examples")
def examples(trial: Trial) -> None:
    """Every example of --help, of the manual pages and of the README ends as it promises, locked and unlocked."""
    _check_promises(trial)
    machine = _Machine(trial)
    machine.start()
    _run_blocks(machine, _blocks(trial, networkmanager=False))
    _expect_usage_error(trial)


@case("examples-networkmanager", ipv6=False, packages=True)
def examples_networkmanager(trial: Trial) -> None:
    """The examples about VPN connections of NetworkManager, with the real one."""
    desktop = Desktop(trial)
    desktop.add_vpn(a.SERVER)
    RESOLV_CONF.write_text("# placeholder\n")
    desktop.start_networkmanager()
    desktop.nmcli("connection", "modify", VPN_UUID, "connection.id", "office")
    machine = _Machine(trial)
    trial.laptop.start_daemon()
    for state in _STATES:
        for block in _blocks(trial, networkmanager=True):
            machine.run_block(block, state)
            trial.laptop.node.attempt("nmcli", "connection", "down", "office")
    trial.expect(machine.lines >= 2 * len(_STATES), f"{machine.lines} lines were run")
