"""OpenVPN started by hand, without the management options: trusted because its process is proven to be OpenVPN."""

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from lab import addresses as a
from lab.profile import PROFILE, write_profile
from lab.sandbox import STORAGE
from lab.traffic import Stream
from lab.trial import Trial, case
from lab.waiting import until

from .transport_common import (
    CONNECTED, OPENVPN, STORM, UNPRIVILEGED, Daemonized, connect_plain, expect_proven, kill_under_storm, reconnect,
    server_endpoints, show_death_leaks,
)


@dataclass(frozen=True)
class _Variant:
    """One way to start OpenVPN by hand."""

    name: str
    remote: str
    port: int = a.SERVER_PORT
    options: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Of the server."""
        return "tcp" if "tcp" in self.remote else "udp"


_VARIANTS = (
    _Variant("UDP", f"{a.SERVER} {a.SERVER_PORT} udp"),
    _Variant("UDP over IPv6, by name", f"{a.SERVER_NAME} {a.SERVER_PORT} udp6"),
    _Variant("UDP, user nobody", f"{a.SERVER} {a.SERVER_PORT} udp", options=UNPRIVILEGED),
    _Variant("TCP", f"{a.SERVER} 443 tcp-client", 443),
    _Variant("TCP over IPv6, user nobody", f"{a.SERVER6} 443 tcp6-client", 443, UNPRIVILEGED),
)


def _prepare(trial: Trial, variant: _Variant) -> None:
    """The server and the profile."""
    trial.lab.stop_vpn_server()
    trial.lab.start_vpn_server(protocol=variant.kind, port=variant.port)
    trial.oracle.endpoints = frozenset(server_endpoints(variant.kind, variant.port))
    write_profile((variant.remote,))


@case("plain-openvpn")
def plain_openvpn(trial: Trial) -> None:
    """`openvpn --config` is protected without further options, over UDP and TCP, also after `user nobody`."""
    trial.control()
    for variant in _VARIANTS:
        _prepare(trial, variant)
        show_death_leaks(trial, trial.laptop.openvpn(*variant.options), variant.name)
    trial.laptop.start_daemon()
    for variant in _VARIANTS:
        _prepare(trial, variant)
        trial.laptop.enable()
        trial.laptop.wait_state("blocked", "connecting")
        for number in range(trial.times(1, 10)):
            with trial.no_leaks(f"{variant.name}: OpenVPN connects"):
                client = connect_plain(trial, *variant.options)
            trial.tunnel_works(resolver=False)
            _large_packets_pass(trial)
            if number == 0 and (trial.long or variant in (_VARIANTS[0], _VARIANTS[4])):
                trial.every_probe_refused(f"{variant.name}: protected")
            with trial.no_leaks(f"{variant.name}: OpenVPN connects anew"):
                reconnect(trial, client, signal.SIGUSR1)
            kill_under_storm(trial, client, variant.name)


def _large_packets_pass(trial: Trial) -> None:
    """A packet as large as the tunnel takes: over UDP what carries it is larger than the link takes, and fragmented."""
    ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", "-s", "1472", "-I", "tun0", a.HOST)
    until("a packet of full size is answered", lambda: trial.laptop.node.attempt(*ping).returncode == 0)


@case("plain-server-restart")
def plain_server_restart(trial: Trial) -> None:
    """The server goes and comes back while an OpenVPN that was started by hand, and gave up root's rights, runs."""
    trial.control()
    trial.laptop.start_daemon()
    for variant in (_VARIANTS[2], _VARIANTS[4]):
        _prepare(trial, variant)
        trial.laptop.enable()
        client = connect_plain(trial, *variant.options)
        connections = client.log().count(CONNECTED)
        for number in range(1, trial.times(1, 5) + 1):
            with trial.no_leaks(f"{variant.name}: server gone and back"), trial.storm():
                trial.lab.stop_vpn_server()
                trial.for_seconds(0.5)
                trial.lab.start_vpn_server(protocol=variant.kind, port=variant.port)
                reached = connections + number
                until("OpenVPN is connected anew", lambda: client.log().count(CONNECTED) >= reached, 60)
                expect_proven(trial, client)
            trial.tunnel_works(resolver=False)
        kill_under_storm(trial, client, variant.name)


@case("plain-before-lock")
def plain_before_lock(trial: Trial) -> None:
    """OpenVPN runs already when the machine is locked: its process is proven as it is, also after `user nobody`."""
    for variant in (_VARIANTS[1], _VARIANTS[2], _VARIANTS[3]):
        _prepare(trial, variant)
        trial.oracle.server_name = a.SERVER_NAME
        client = trial.laptop.openvpn(*variant.options)
        trial.tunnel_works(resolver=False)
        trial.laptop.start_daemon()
        with Stream(trial.lab) as stream:
            trial.laptop.enable()
            expect_proven(trial, client)
        trial.say(f"echo requests through the tunnel while the machine is locked: {stream.result}")
        trial.tunnel_works(resolver=False)
        trial.every_probe_refused(f"{variant.name}: locked after OpenVPN was started")
        kill_under_storm(trial, client, variant.name)
        trial.laptop.killswitch("disable")
        daemon = trial.laptop.daemon
        assert daemon is not None
        daemon.stop()


@case("plain-daemon-restart")
def plain_daemon_restart(trial: Trial) -> None:
    """The daemon is killed again and again beside an OpenVPN started by hand: its tunnel stays trusted."""
    trial.control()
    for variant in (_VARIANTS[0], _VARIANTS[4]):
        _prepare(trial, variant)
        trial.lock(restart=True)
        daemon = trial.laptop.daemon
        assert daemon is not None
        client = connect_plain(trial, *variant.options)
        rounds = trial.times(3, 30)
        with Stream(trial.lab) as undisturbed:
            trial.for_seconds(1)
        what = f"{variant.name}: daemon killed {rounds} times"
        with trial.no_leaks(what), trial.storm(), Stream(trial.lab) as stream:
            for number in range(rounds):
                daemon.kill()
                daemon.wait_ready(times=number + 2)
                expect_proven(trial, client)
        trial.say(f"echo requests through the tunnel, no restart: {undisturbed.result}")
        trial.expect(stream.result.lost <= undisturbed.result.lost, f"{rounds} restarts lose none ({stream.result})")
        daemon.command("restart off")
        with trial.no_leaks(f"{variant.name}: daemon dead, OpenVPN connects anew meanwhile"), trial.storm():
            daemon.kill()
            os.kill(client.pid, signal.SIGUSR1)
            trial.for_seconds(1)
            daemon.command("start")
            daemon.wait_ready(times=rounds + 2)
            expect_proven(trial, client, 60)
        trial.tunnel_works(resolver=False)
        kill_under_storm(trial, client, variant.name)
        trial.laptop.killswitch("disable")
        daemon.stop()


@case("plain-daemonized")
def plain_daemonized(trial: Trial) -> None:
    """OpenVPN goes to the background by itself, is upgraded while it runs, and connects anew again and again."""
    trial.control()
    variant = _VARIANTS[2]
    _prepare(trial, variant)
    trial.lock()
    pid_file, log = STORAGE / "openvpn.pid", STORAGE / "log" / "openvpn-daemonized.log"
    background = ("--daemon", "--writepid", str(pid_file), "--log", str(log))
    with trial.no_leaks("openvpn --daemon connects"):
        trial.laptop.node.run("openvpn", "--config", str(PROFILE), *variant.options, *background)
        client = Daemonized(pid_file, log)
        until("OpenVPN is connected", lambda: CONNECTED in client.log(), 30)
        expect_proven(trial, client)
    trial.tunnel_works(resolver=False)
    new = Path(f"{OPENVPN}.new")
    shutil.copy(OPENVPN, new)
    new.rename(OPENVPN)
    trial.say("the package is upgraded: the file that OpenVPN runs from is another one now")
    for number in range(trial.times(3, 30)):
        with trial.no_leaks(f"OpenVPN connects anew ({number + 1})"), trial.storm(STORM):
            reconnect(trial, client, signal.SIGUSR1)
    kill_under_storm(trial, client, "in the background")
    with trial.no_leaks("the new program connects"):
        fresh = connect_plain(trial)
    kill_under_storm(trial, fresh, "the new program")


@case("plain-interface")
def plain_interface(trial: Trial) -> None:
    """`enable --interface NAME` restricts the tunnel: a proven OpenVPN's interface of another name is not trusted."""
    trial.control(words=STORM)
    _prepare(trial, _VARIANTS[0])
    trial.lock("--interface", "tun7")
    with trial.no_leaks("OpenVPN has tun0"), trial.storm(STORM):
        client = trial.laptop.openvpn()
        until("its tunnel is there", trial.laptop.has_tunnel)
        trial.for_seconds(1)
        state = trial.laptop.status()["state"]
        client.kill()
    trial.expect(state in ("blocked", "connecting"), f"not trusted ({state})")
    with trial.no_leaks("OpenVPN has tun7"), trial.storm(STORM):
        client = connect_plain(trial, "--dev", "tun7", "--dev-type", "tun")
        trial.for_seconds(0.3)
        client.kill()
        trial.laptop.wait_state("blocked", "connecting")
