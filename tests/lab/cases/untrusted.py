"""OpenVPN run by unprivileged users, and by root in ways that prove nothing: none of it is the transport."""

import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import addresses as a
from lab import kernel
from lab.node import Node, Process
from lab.profile import write_profile
from lab.sandbox import STORAGE
from lab.topology import HERE
from lab.trial import Trial, case
from lab.waiting import LabError, until

from .transport_common import OPENVPN, UDP, connect_plain, kill_under_storm, server_endpoints

_SHARED = STORAGE / "untrusted"
_PROFILE = Path("/etc/openvpn/client/untrusted.ovpn")
_NOBODY = ("setpriv", "--reuid", str(a.NOBODY), "--regid", str(a.NOBODY), "--clear-groups")
_USER = ("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups")
_GUEST, _GUEST_ROUTER = "10.77.0.2", "10.77.0.1"
_TUN = "tun9"
_ANSWERED, _GIVEN_UP = "TLS: Initial packet from", "Server poll timeout"


@dataclass(frozen=True)
class _Run:
    """One way to run OpenVPN; `wrap` is what comes before its options, and the program."""

    name: str
    wrap: tuple[str, ...]
    node: str = "laptop"
    options: tuple[str, ...] = ("--dev", "null")


def _runs() -> list[_Run]:
    copy, own = str(_SHARED / "root-copy"), str(_SHARED / "own-copy")
    mask = ("sh", "-c", f'mount --bind {own} {OPENVPN} && exec {OPENVPN} "$@"', "sh")
    namespace = (*_NOBODY, "unshare", "--user", "--map-root-user")
    preload = ("env", f"LD_PRELOAD={_SHARED}/preload.so")
    trace = ("strace", "--follow-forks", "--output", "/dev/null", OPENVPN)
    tun = ("--dev", _TUN, "--dev-type", "tun")
    return [
        _Run("nobody", (*_NOBODY, OPENVPN)),
        _Run("user", (*_USER, OPENVPN)),
        _Run("nobody-tun", (*_NOBODY, OPENVPN), options=tun),
        _Run("nobody-preload", (*_NOBODY, *preload, OPENVPN)),
        _Run("nobody-traced", (*_NOBODY, *trace)),
        _Run("root-traced", trace),
        _Run("namespace-root", (*namespace, OPENVPN)),
        _Run("namespace-mask", (*namespace, "--mount", *mask)),
        _Run("copy", (copy,)),
        _Run("own-copy", (*_NOBODY, own)),
        _Run("guest", (OPENVPN,), node="guest"),
    ]


_FIRST_PORT = 20100
_PRELOADED_PORT = 20199


def _prepare(trial: Trial) -> dict[str, Node]:
    """Copies, a library to preload, a tun device that a user may use, a network namespace behind the laptop."""
    _SHARED.mkdir(mode=0o755)
    for folder in (STORAGE, _SHARED):
        folder.chmod(0o755)
    shutil.copy(OPENVPN, _SHARED / "root-copy")
    shutil.copy(OPENVPN, _SHARED / "own-copy")
    os.chown(_SHARED / "own-copy", a.NOBODY, a.NOBODY)
    source, library = str(HERE / "preload.c"), str(_SHARED / "preload.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    kernel.mount("tmpfs", "/dev/net", "tmpfs", data="mode=755")  # the laboratory's own: open to all, as udev makes it
    os.mknod("/dev/net/tun", 0o666 | stat.S_IFCHR, os.makedev(10, 200))
    os.chmod("/dev/net/tun", 0o666)
    laptop = trial.laptop.node
    laptop.ip(f"tuntap add dev {_TUN} mode tun user {a.NOBODY}")
    guest = Node("guest")
    laptop.ip(
        "link add guest0 type veth peer name eth0 netns guest",
        f"address add {_GUEST_ROUTER}/24 dev guest0",
        "link set guest0 up",
    )
    guest.ip(f"address add {_GUEST}/24 dev eth0", "link set eth0 up", f"route add default via {_GUEST_ROUTER}")
    laptop.sysctl("ipv4/ip_forward", 1)
    masquerade = f"oifname {a.LINK} ip saddr {_GUEST} masquerade"
    laptop.run("nft", f"table ip guests {{ chain out {{ type nat hook postrouting priority 100; {masquerade}; }}; }}")
    return {"laptop": laptop, "guest": guest}


def _start(nodes: dict[str, Node], runs: Sequence[_Run]) -> list[Process]:
    """All of them, each with a local port of its own."""
    processes = []
    for number, run in enumerate(runs):
        options = ("--config", str(_PROFILE), "--lport", str(_FIRST_PORT + number), *run.options, "--ifconfig-noexec")
        environment = {"PRELOAD_TARGET": f"{a.SERVER} {a.SERVER_PORT} {_PRELOADED_PORT}"}
        options += ("--route-noexec", "--server-poll-timeout", "2")
        processes.append(nodes[run.node].start(run.name, [*run.wrap, *options], environment))
    return processes


def _watch(trial: Trial, runs: Sequence[_Run]) -> None:
    trial.oracle.endpoints = frozenset(server_endpoints("udp"))
    trial.oracle.foreign = {(UDP, _FIRST_PORT + number): run.name for number, run in enumerate(runs)}
    trial.oracle.foreign = {**trial.oracle.foreign, (UDP, _PRELOADED_PORT): "preloaded"}


def _wait_tried(processes: Sequence[Process], *texts: str) -> None:
    """Until each of them has said one of these."""
    for process in processes:

        def tried(of: Process = process) -> bool:
            if not of.alive():
                raise LabError(f"{of.name} ended:\n{of.log()[-800:]}")
            return any(text in of.log() for text in texts)

        until(f"{process.name} says {' or '.join(texts)}", tried, 30)


def _openvpn_pid(process: Process) -> int:
    """The process that OpenVPN runs in: a tracer starts it as its child."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else process.pid


def _end(processes: Sequence[Process]) -> None:
    for process in processes:
        os.kill(_openvpn_pid(process), signal.SIGKILL)
        process.kill()


def _show_logged_once(trial: Trial, pids: dict[str, int]) -> None:
    """The daemon has named each refused process once, and was never protected."""
    assert trial.laptop.daemon is not None
    log = trial.laptop.daemon.log().splitlines()
    counts = {name: sum(bool(re.search(rf"\bpid {pid}\b", line)) for line in log) for name, pid in pids.items()}
    trial.expect(max(counts.values()) == 1, f"no refused process is logged more than once ({counts})")
    trial.expect(not any(line.startswith("info: protected") for line in log), "the state was never `protected`")


@case("untrusted-runs", ipv6=False)
def untrusted_runs(trial: Trial) -> None:
    """OpenVPN run by an unprivileged user, traced, in a user namespace, copied, or elsewhere: nothing of it leaves."""
    remotes = (f"{a.SERVER} {a.SERVER_PORT} udp",)
    write_profile(remotes, ("user nobody", "group nogroup"))
    write_profile(remotes, path=_PROFILE, bind=True)
    runs = _runs()
    nodes = _prepare(trial)
    _watch(trial, runs)
    window = trial.capture.window()
    processes = _start(nodes, runs)
    _wait_tried(processes, _ANSWERED)
    trial.capture.settle()
    _end(processes)
    expected = {*(run.name for run in runs), "preloaded"}
    missing = ", ".join(expected - set(window.probes))
    trial.expect(not missing, f"control, no kill switch: all {len(expected)} are seen, but {missing or 'none'}")

    trial.lock()
    with trial.no_leaks("locked: one untrusted run"):
        alone = _start(nodes, runs[:1])[0]
        until("it has tried twice", lambda: alone.log().count(_GIVEN_UP) > 1, 30)
        pids = {alone.name: _openvpn_pid(alone)}
        _end([alone])
    _show_logged_once(trial, pids)
    with trial.no_leaks("locked: untrusted runs of OpenVPN"):
        processes = _start(nodes, runs)
        _wait_tried(processes, _GIVEN_UP, _ANSWERED)
        answered = ", ".join(process.name for process in processes if _ANSWERED in process.log())
        pids = {process.name: _openvpn_pid(process) for process in processes if process.name != "guest"}
        _end(processes)
    trial.expect(not answered, f"none of them hears from the server ({answered or 'none'})")
    _show_logged_once(trial, pids)
    with trial.no_leaks("OpenVPN proper, beside them"):
        processes = _start(nodes, runs)
        client = connect_plain(trial)
        _wait_tried(processes, _GIVEN_UP, _ANSWERED)
        _end(processes)
    kill_under_storm(trial, client, "OpenVPN proper")
