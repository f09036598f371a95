#!/usr/bin/python3
"""How soon names are asked for in the tunnel: names_bench.py --bin-dir DIR [--owner OWNER] [--rounds N] [--json].

Measures, for resolv.conf as a plain file or in the hands of a real NetworkManager: from OpenVPN's word that it is
connected until resolv.conf names the tunnel's resolver alone, and from another program's write until it does again. The
clock is that of a program that reads the file again and again. Needs root; touches nothing of the machine's own network.
Figures are only worth something for a release build on a machine that has nothing else to do: tests/bench/run.sh.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

_LAB = Path(__file__).resolve().parent.parent / "lab"
sys.path[:0] = [str(Path(__file__).resolve().parent), str(_LAB)]
sys.dont_write_bytecode = True

from figures import Figure, print_json, print_table, quantiles, timed  # noqa: E402
from lab import addresses as a  # noqa: E402
from lab import sandbox  # noqa: E402
from lab.desktop import RESOLV_CONF, Desktop  # noqa: E402
from lab.trial import Trial  # noqa: E402
from lab.waiting import LabError, until  # noqa: E402
from user_side import ResolvConf, ScriptedOpenVpn  # noqa: E402

_OWNERS = {"file": "file", "networkmanager": "NetworkManager"}
"""As `status` calls them, and as people do."""


def _measure(trial: Trial, owner: str, rounds: int) -> list[Figure]:
    names = ResolvConf(a.TUNNEL_DNS)
    openvpn = ScriptedOpenVpn(trial.laptop.node)
    connected, undone = [], []
    for _ in range(min(rounds, 50)):
        trial.laptop.killswitch("disable")
        until("resolv.conf is given back", lambda: not names.is_right())
        trial.laptop.enable()
        trial.laptop.wait_state("connecting")
        openvpn.announce_up()
        connected.append(timed(names.until_right))
        openvpn.announce_down()
    openvpn.announce_up()
    dns = trial.laptop.wait_state("protected")["dns"]
    if not isinstance(dns, dict) or dns["backend"] != owner:
        raise LabError(f"names are not in the hands of {owner}: {dns}")
    for _ in range(rounds):
        time.sleep(0.02)  # fewer a second than the daemon's limit
        names.overwrite(a.AP)
        undone.append(timed(names.until_right))
    openvpn.announce_down()
    openvpn.close()
    return [
        quantiles(f"{_OWNERS[owner]}: connected → resolv.conf", "µs", connected, 10_000.0),
        quantiles(f"{_OWNERS[owner]}: foreign write → undone", "µs", undone, 5_000.0),
    ]


def _inside(arguments: argparse.Namespace) -> int:
    owner = arguments.owner
    try:
        trial = Trial(arguments.bin_dir.resolve(), ipv6=False, long=False)
        if owner == "networkmanager":
            desktop = Desktop(trial)
            RESOLV_CONF.write_text("# placeholder\n")
            desktop.start_networkmanager()
        trial.laptop.start_daemon()
        trial.laptop.enable()
        trial.laptop.wait_state("blocked", "connecting")
        figures = _measure(trial, owner, arguments.rounds)
    except LabError as error:
        print(f"names_bench: {owner}: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print_json(figures, arguments.rounds, owner=owner)
    else:
        print_table(figures, arguments.rounds)
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, required=True, help="where killswitch and killswitchd are")
    parser.add_argument("--owner", choices=list(_OWNERS), default="file", help="of resolv.conf (default: file)")
    parser.add_argument("--rounds", type=int, default=250, help="of each measurement (default: 250)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--idle-seconds", type=float, help=argparse.SUPPRESS)  # daemon_bench.py's; run.sh tells all
    arguments = parser.parse_args()
    packages = arguments.owner != "file"
    if packages:
        subprocess.run([str(_LAB / "fetch_packages.sh")], check=True, stdout=sys.stderr)
    return sandbox.run(lambda: _inside(arguments), packages=packages)


if __name__ == "__main__":
    sys.exit(main())
