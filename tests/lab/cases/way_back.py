"""The ways back: a trial that reverts by itself, a warning before the branch is sawn off, and a command that works
when everything else is broken."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import addresses as a
from lab.node import Process
from lab.profile import PROFILE
from lab.sandbox import STORAGE
from lab.topology import HERE, PYTHON
from lab.trial import Trial, case
from lab.waiting import until

_STATE = Path("/var/lib/killswitch/state.json")
_GET_STATUS = "org.killswitch1.Manager.GetStatus"


def _given_back(trial: Trial, what: str) -> None:
    trial.expect(trial.laptop.tables() == [], f"{what}: no table is left")
    trial.lab.wait_for_internet()
    trial.control(what)


# -- trial ---------------------------------------------------------------------------------------------------------


@case("try-revert")
def try_revert(trial: Trial) -> None:
    """`enable --try` opens the machine again at its time, also when the daemon died meanwhile; until then nothing leaks."""
    trial.control()
    daemon = trial.laptop.start_daemon()
    said = trial.laptop.enable("--try", "6s")
    began = time.monotonic()
    trial.expect("killswitch confirm" in said, "enable --try says how to keep it")
    tried = trial.laptop.status()["trial"]
    trial.expect(isinstance(tried, dict) and tried["reverts_to"] == "disabled", "status says what it reverts to")
    with trial.no_leaks("on trial, the daemon killed, dead beyond the deadline"), trial.storm():
        daemon.kill()
        until("the deadline is past", lambda: time.monotonic() > began + 7)
    trial.expect(trial.laptop.tables(), "a dead daemon opens nothing")
    daemon.command("start")
    daemon.wait_ready(times=2)
    until("the machine is open", lambda: trial.laptop.tables() == [])
    _given_back(trial, "started after the deadline: reverted")
    trial.expect(trial.laptop.status()["state"] == "disabled", "status says disabled")

    trial.laptop.enable("--try", "5s")
    began = time.monotonic()
    daemon.kill()
    daemon.command("start")
    daemon.wait_ready(times=3)
    with trial.no_leaks("on trial again, the daemon killed and back in time"), trial.storm():
        trial.for_seconds(1)
    until("the machine is open", lambda: trial.laptop.tables() == [])
    trial.say(f"opened {time.monotonic() - began:.1f} s after a trial of 5 s began")
    trial.expect(time.monotonic() > began + 4, "not before its time")
    _given_back(trial, "at its time")


@case("try-settings")
def try_settings(trial: Trial) -> None:
    """A trial of other settings goes back to those before, without a gap; a confirmed one stays."""
    trial.control()
    trial.lock()
    with trial.no_leaks("trial of another policy, and back"), trial.storm():
        trial.laptop.enable("--policy", "strict", "--try", "5s")
        status = trial.laptop.status()
        trial.expect(status["policy"] == "strict" and status["trial"], "strict is on trial")
        until("laptop is back", lambda: trial.laptop.status()["policy"] == "laptop", 20)
        trial.expect(trial.laptop.status()["trial"] is None, "the trial is over")
    with trial.no_leaks("trial of another policy, confirmed"), trial.storm():
        trial.laptop.enable("--policy", "strict", "--try", "5s")
        trial.laptop.killswitch("confirm")
        said = trial.laptop.killswitch("confirm", expect=(1,))
        trial.expect("no trial" in said, "a second confirm says that there is no trial")
        trial.for_seconds(6)
    status = trial.laptop.status()
    trial.expect(status["policy"] == "strict" and status["state"] != "disabled", "what was confirmed stayed")
    said = trial.laptop.enable("--try", "1s", expect=(2,))
    trial.expect("from 5 s to 24 h" in said, "a trial that is too short is refused")


# -- from afar -----------------------------------------------------------------------------------------------------


def _log_in(trial: Trial, way: str, address: str, *options: str) -> tuple[int, str]:
    """`killswitch enable` in a session that came from the access point (or from the laptop itself); how it ended."""
    enable = [str(trial.laptop.binary("killswitch")), "enable", "--config", str(PROFILE), *options]
    login: Process = trial.laptop.node.start(
        "login", [*PYTHON, str(HERE / "remote_login.py"), address, "22", way, *enable]
    )
    login.wait_for("ready")
    node = trial.laptop.node if address == "127.0.0.1" else trial.lab.ap
    connect = f"import socket, time; s = socket.create_connection(('{address}', 22)); time.sleep(60)"
    client = node.start("login-client", [*PYTHON, "-c", connect])
    status = login.exit_status(30)
    client.kill()
    return status, login.log()


@case("remote-session")
def remote_session(trial: Trial) -> None:
    """Enabling over a remote session that the lock would cut is refused, unless a policy, a trial or --yes says otherwise."""
    trial.laptop.start_daemon()
    here = trial.lab.link_address()
    for way in ("environment", "socket"):
        status, said = _log_in(trial, way, here)
        trial.expect(status == 1 and "CUT THIS SESSION" in said, f"refused over a link (session known by its {way})")
        trial.expect('"inbound"' in said and a.LINK in said and "--try" in said, "it says what would let it in")
        trial.expect(trial.laptop.tables() == [] and not _STATE.exists(), "nothing was changed")

    status, said = _log_in(trial, "environment", "127.0.0.1")
    trial.expect(status == 0 and "CUT" not in said, "over loopback: no warning")
    trial.laptop.killswitch("disable")

    policy = STORAGE / "let-in.json"
    document = json.loads(trial.laptop.killswitch("policy", "show", "laptop"))
    document["name"] = "let-in"
    document["inbound"] = [{"links": [a.LINK], "protocol": "tcp", "port": 22, "from": [a.AP_PREFIX]}]
    policy.write_text(json.dumps(document))
    status, said = _log_in(trial, "environment", here, "--policy", str(policy))
    trial.expect(status == 0 and "CUT" not in said, "with a policy that lets it in: no warning")
    trial.laptop.killswitch("disable")

    for option in (("--yes",), ("--try", "60s")):
        status, said = _log_in(trial, "socket", here, *option)
        trial.expect(status == 0 and "CUT" in said, f"with {' '.join(option)}: warned and done")
        trial.laptop.killswitch("disable")


# -- when everything is broken -------------------------------------------------------------------------------------


@contextmanager
def _read_only(trial: Trial, folder: Path) -> Iterator[None]:
    """The folder as on a file system that has gone read-only."""
    trial.laptop.node.run("mount", "--bind", str(folder), str(folder))
    trial.laptop.node.run("mount", "-o", "remount,ro,bind", str(folder))
    yield
    trial.laptop.node.run("umount", str(folder))


@case("offline-broken")
def offline_broken(trial: Trial) -> None:
    """`disable --offline` opens the machine with the daemon dead, hung or unreachable, its socket kept, its files read-only."""
    trial.control()
    bus = trial.laptop.start_bus()
    trial.lock()
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    bus.kill()
    deleted = trial.laptop.node.attempt("nft", "delete", "table", "inet", "killswitch")
    trial.expect(deleted.returncode != 0, "the dead daemon's socket is kept: another program cannot delete the table")
    with _read_only(trial, _STATE.parent):
        said = trial.laptop.killswitch("disable", "--offline", expect=(1,))
        trial.expect("locks again at the next boot" in said, "it says that it could not write it down")
        _given_back(trial, "daemon and bus dead, its socket kept, state directory read-only")
    daemon.command("start")
    daemon.wait_ready(times=2)
    trial.expect(trial.laptop.tables(), "as it said: a daemon that starts locks again")

    os.kill(daemon.pid, signal.SIGSTOP)
    trial.laptop.killswitch("disable", "--offline")
    _given_back(trial, "daemon hangs, no bus")
    os.kill(daemon.pid, signal.SIGCONT)
    trial.laptop.start_bus()
    ask = ("dbus-send", "--system", "--print-reply", "--dest=org.killswitch1", "/org/killswitch1")
    until("the daemon is on the bus", lambda: trial.laptop.node.attempt(*ask, _GET_STATUS).returncode == 0)
    trial.expect(trial.laptop.status()["state"] == "disabled", "status says disabled")
    _given_back(trial, "the daemon goes on, and finds what was decided")

    trial.laptop.enable()
    with _read_only(trial, _STATE.parent):
        said = trial.laptop.killswitch("disable", "--offline", expect=(1,))
        trial.expect("locks again" in said, "daemon alive, state read-only: it is asked over the bus")
        _given_back(trial, "daemon alive, state read-only")


@case("switched-off")
def switched_off(trial: Trial) -> None:
    """killswitch=off on the kernel's command line: open for this boot, the state untouched, locked again without it."""
    trial.control()
    trial.lock()
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.stop()
    trial.laptop.node.run("nft", "flush", "ruleset")  # as a boot does
    state = _STATE.read_bytes()
    line = STORAGE / "cmdline"
    line.write_text("quiet killswitch=off\n")
    trial.laptop.node.run("mount", "--bind", str(line), "/proc/cmdline")
    daemon = trial.laptop.start_daemon()
    _given_back(trial, "booted with killswitch=off")
    status = trial.laptop.status()
    trial.expect(status["state"] == "disabled" and status["switched_off"], "status says so")
    trial.expect("killswitch=off" in daemon.log(), "the journal says so")
    said = trial.laptop.enable(expect=(1,))
    trial.expect("killswitch=off" in said and trial.laptop.tables() == [], "it is not enabled in this boot")
    trial.expect(_STATE.read_bytes() == state, "the state file is untouched")
    daemon.stop()
    trial.laptop.node.run("umount", "/proc/cmdline")
    trial.laptop.start_daemon()
    trial.laptop.wait_state("blocked", "connecting")
    trial.every_probe_refused("booted without it")


_FORGED_SIGNAL = (
    *("busctl", "emit", "--destination=org.killswitch1", "/org/freedesktop/login1"),
    *("org.freedesktop.login1.Manager", "PrepareForSleep", "b", "false"),
)
"""Addressed to the kill switch alone, a signal passes by its rule that names the sender."""


@case("not-permitted")
def not_permitted(trial: Trial) -> None:
    """Who is not root and not let in by polkit reads the status and changes nothing."""
    trial.control()
    trial.lock()
    program = str(trial.laptop.binary("killswitch"))
    nobody = ("setpriv", f"--reuid={a.NOBODY}", f"--regid={a.NOBODY}", "--clear-groups", program)
    for command in (
        ("disable",),
        ("disable", "--offline"),
        ("enable", "--server", f"{a.SERVER}:1194/udp"),
        ("enable", "--server", f"{a.SERVER}:1194/udp", "--try", "5s"),
        ("confirm",),
        ("rules",),
    ):
        done = trial.laptop.node.attempt(*nobody, *command)
        trial.expect(done.returncode == 4, f"nobody: killswitch {' '.join(command)}: exit status 4")
        trial.expect("root" in done.stderr, "it says who may")
    trial.expect(trial.laptop.node.attempt(*nobody, "status").returncode == 0, "nobody: killswitch status: exit status 0")
    monitor = trial.laptop.node.start("bus-monitor", ["busctl", "monitor"])
    monitor.wait_for("Monitoring bus message stream")
    trial.laptop.node.run(*nobody[:-1], *_FORGED_SIGNAL)
    monitor.wait_for("Rejected send message")
    trial.say("nobody passes for another service with a signal of its own")
    trial.every_probe_refused("after all that")
