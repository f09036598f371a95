"""Firewalls of other people: ufw and firewalld, as Debian ships them, are switched on and reloaded (G5)."""

import shutil
from collections.abc import Callable
from pathlib import Path

from lab import addresses as a
from lab.laptop import BUS_POLICIES
from lab.node import Node
from lab.packages import unpack
from lab.topology import Lab
from lab.trial import Trial, case
from lab.waiting import until

from .tampering import Attack, run_attacks

_SLOW = 600.0
"""Seconds for a reload of a hundred small programs on a machine that has other things to do."""


def _run(command: str) -> Callable[[Node], object]:
    return lambda node: node.run(*command.split(), seconds=_SLOW)


@case("tamper-ufw")
def tamper_ufw(trial: Trial) -> None:
    """ufw is reloaded, and disabled and enabled, under the storm; a lock in its chains is gone each time."""
    _install_ufw()
    node = trial.laptop.node
    node.run("ufw", "--force", "enable", seconds=_SLOW)
    drop = f"iptables -I ufw-before-output -o {a.LINK} -j DROP"
    attacks = [
        Attack("ufw reload", _run("ufw reload"), _run(drop), lambda node: None),
        Attack("ufw disable, enable", _off_and_on, _run(drop), lambda node: None),
    ]
    run_attacks(trial, attacks, 1, 1000)


def _off_and_on(node: Node) -> None:
    node.run("ufw", "disable", seconds=_SLOW)
    node.run("ufw", "--force", "enable", seconds=_SLOW)


def _install_ufw() -> None:
    """What its package's scripts would do, without starting it."""
    unpack("ufw")
    for file in (*Path("/usr/share/ufw").glob("*.init"), *Path("/usr/share/ufw/iptables").glob("*.rules")):
        shutil.copy(file, "/etc/ufw")
    shutil.copy("/usr/share/ufw/ufw.conf", "/etc/ufw")


@case("tamper-firewalld")
def tamper_firewalld(trial: Trial) -> None:
    """firewalld starts, reloads and reloads completely under the storm; a lock in its own table is gone each time."""
    unpack("firewalld")
    BUS_POLICIES.mkdir(exist_ok=True)
    shutil.copy("/usr/share/dbus-1/system.d/FirewallD.conf", BUS_POLICIES)
    trial.laptop.start_bus()
    _start(trial.lab)
    drop = f"insert rule inet firewalld filter_OUTPUT oifname {a.LINK} drop"
    attacks = [
        Attack(f"firewall-cmd {option}", _run(f"firewall-cmd {option}"), _run(f"nft {drop}"), lambda node: None)
        for option in ("--reload", "--complete-reload")
    ]
    run_attacks(trial, attacks, 1, 1000)


def _start(lab: Lab) -> None:
    command = ["/usr/bin/python3", "/usr/sbin/firewalld", "--nofork", "--nopid"]
    lab.laptop.start("firewalld", command)
    until("firewalld runs", lambda: lab.laptop.attempt("firewall-cmd", "--state").returncode == 0, 60, step=0.2)
