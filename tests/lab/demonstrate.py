#!/usr/bin/python3
"""The laboratory as something to watch: OpenVPN is killed under traffic, without and with the kill switch.

demonstrate.py --bin-dir DIR. Ends with 1 if anything leaked with the kill switch on. packaging/quickstart.sh runs it.
"""

import argparse
import os
import re
import signal
import socket
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from lab import addresses as a  # noqa: E402
from lab import sandbox  # noqa: E402
from lab.node import Process  # noqa: E402
from lab.profile import PROFILE  # noqa: E402
from lab.traffic import Storm  # noqa: E402
from lab.trial import Trial  # noqa: E402
from lab.waiting import LabError, until  # noqa: E402

_SECONDS = 3.0

TOPOLOGY = """
  ┌────────────┐      ┌──────────────┐      ┌──────────────┐      ┌───────────────────┐
  │   laptop   │ wlo1 │ access point │      │   internet   │      │    VPN server     │
  │            ├──────┤ 192.168.43.1 ├──────┤ 203.0.113.7  ├──────┤ 198.51.100.49     │
  │  programs  │      │ DHCP, DNS,   │      │ 2001:db8:1::7│      │ 2001:db8:b700::220│
  │  OpenVPN   │      │ IPv6 router  │      └──────────────┘      │ vpn.example.test  │
  └─────┬──────┘      └──────┬───────┘                            └─────────┬─────────┘
        │            every frame that leaves                                │
        │            the laptop is looked at here                           │
        └───────── tun0, encrypted: 192.168.255.0/24, fd00:0:0:feed::/64 ───┘
"""


class Screen:
    """What the person sees; colours only on a terminal."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def paint(self, text: str, code: str) -> str:
        """The text in a colour (an SGR code)."""
        return f"\033[{code}m{text}\033[0m" if self._colours else text

    def title(self, text: str) -> None:
        """A part of the demonstration begins."""
        print(f"\n{self.paint(text, '1')}\n{'─' * len(text)}", flush=True)

    def say(self, text: str) -> None:
        """One line."""
        print(f"  {text}", flush=True)

    def command(self, *words: str) -> None:
        """A command that is run now."""
        self.say(self.paint(f"# {' '.join(words)}", "36"))

    def number(self, count: int) -> str:
        """A count of leaked packets: red, or green if none."""
        return self.paint(f"{count:10,}", "32" if count == 0 else "31")


class Demonstration:
    """Both halves, on the same laptop with the same traffic."""

    def __init__(self, trial: Trial, screen: Screen) -> None:
        self._trial = trial
        self._laptop = trial.laptop
        self._screen = screen

    def run(self) -> int:
        """The whole demonstration; the exit status."""
        print(TOPOLOGY)
        self._screen.say("All of this runs in network namespaces of its own: your own network is not touched.")
        without = self._without()
        with_lock = self._with()
        self._table(without, with_lock)
        self._show_status()
        self._show_rules()
        if not without:
            raise LabError("nothing leaked even without the kill switch: the demonstration proves nothing")
        return 1 if with_lock else 0

    def _without(self) -> Counter[str]:
        self._screen.title("Before: OpenVPN alone")
        self._screen.command("openvpn --config client.ovpn")
        client = self._laptop.openvpn()
        self._screen.say(f"connected; a host on the internet sees this laptop as {self._seen_as()}")
        leaked = self._kill_under_traffic(client)
        self._say_total(leaked)
        return leaked

    def _with(self) -> Counter[str]:
        self._screen.title("After: with the kill switch")
        self._laptop.start_daemon()
        self._screen.command("killswitch enable --config client.ovpn")
        self._print_indented(self._laptop.enable())
        self._screen.command("killswitch connect client.ovpn")
        client = self._laptop.connect()
        self._screen.say(f"connected; a host on the internet sees this laptop as {self._seen_as()}")
        self._screen.command("killswitch status")
        self._print_indented(self._laptop.killswitch("status"))
        leaked = self._kill_under_traffic(client)
        self._say_total(leaked)
        return leaked

    def _say_total(self, leaked: Counter[str]) -> None:
        count = self._screen.number(leaked.total()).strip()
        self._screen.say(f"the access point saw {count} packets that should not have been there")

    def _kill_under_traffic(self, client: Process) -> Counter[str]:
        """Traffic of every kind; OpenVPN dies in the middle of it. Returns what left the laptop in clear after that."""
        self._screen.say("programs talk all the time: UDP, TCP, ICMP, DNS, multicast, raw sockets; IPv4 and IPv6 …")
        with Storm(self._trial.lab, words=_ORDINARY) as storm:
            until("traffic flows", lambda: self._laptop.has_tunnel())
            self._screen.command(f"kill -KILL {client.pid}", " (OpenVPN)")
            window = self._trial.capture.window()
            client.kill(signal.SIGKILL)
            until("the tunnel is gone", lambda: not self._laptop.has_tunnel())
            self._trial.for_seconds(_SECONDS)
        self._trial.capture.settle()
        self._screen.say(f"… and went on for {_SECONDS:g} seconds: {storm.attempts:,} attempts to send")
        examples = {text.split()[0]: text for text in (sample.split(" s  ", 1)[1] for sample in window.samples)}
        for text in examples.values():
            self._screen.say(f"   for example {text}")
        return window.leaked

    def _seen_as(self) -> str:
        """Asks a host of the internet for the address that it sees."""

        def ask() -> str:
            try:
                with self._laptop.node.entered(), socket.create_connection((a.HOST, 80), timeout=2) as connection:
                    return connection.recv(64).decode().removeprefix("hello ").strip()
            except OSError:
                return ""

        return until(f"{a.HOST} answers", ask)

    def _table(self, without: Counter[str], with_lock: Counter[str]) -> None:
        self._screen.title("Packets that left the laptop in clear after OpenVPN was killed")
        self._screen.say(f"{'':28}{'without':>10}{'with the kill switch':>24}")
        for kind in sorted(without | with_lock):
            row = f"{self._screen.number(without[kind])}{' ' * 14}{self._screen.number(with_lock[kind])}"
            self._screen.say(f"{kind:28}{row}")
        totals = [self._screen.number(sum(counter.values())) for counter in (without, with_lock)]
        self._screen.say(f"{'all':28}{totals[0]}{' ' * 14}{totals[1]}")

    def _show_status(self) -> None:
        self._screen.title("killswitch status, with OpenVPN dead")
        self._print_indented(self._laptop.killswitch("status"))

    def _show_rules(self) -> None:
        """Of the rules the part that decides about this computer's own packets."""
        self._screen.title("killswitch rules: what holds them back")
        text = self._laptop.killswitch("rules")
        chain = re.search(r"^\tchain output \{.*?^\t\}$", text, re.MULTILINE | re.DOTALL)
        shown = chain.group(0) if chain else text
        self._print_indented(shown)
        self._screen.say(f"… one chain; all of it is {text.count(chr(10))} lines, each rule with the guarantee it keeps")

    def _print_indented(self, text: str) -> None:
        for line in text.expandtabs(4).rstrip().split("\n"):
            self._screen.say(line)


_ORDINARY = ("udp", "tcp", "icmp", "dns", "dot", "doh", "lan", "mdns", "llmnr", "ssdp", "header", "sctp", "packet")


def _inside(binaries: Path) -> int:
    screen = Screen()
    try:
        return Demonstration(Trial(binaries), screen).run()
    except LabError as error:
        print(f"\ndemonstration failed: {error}", file=sys.stderr)
        daemon_log = sandbox.STORAGE / "log" / "laptop-killswitchd.log"
        if daemon_log.exists():
            last_lines = daemon_log.read_text().splitlines()[-20:]
            print("the end of killswitchd's log:", *last_lines, sep="\n  ", file=sys.stderr)
        return 1


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, required=True, help="where killswitch and killswitchd are")
    binaries = parser.parse_args().bin_dir.resolve()
    return sandbox.run(lambda: _inside(binaries))


if __name__ == "__main__":
    sys.exit(main())
