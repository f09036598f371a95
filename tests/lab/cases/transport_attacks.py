"""Foreign programs use the transport's endpoint: root's, an unprivileged user's, with a resolver's help."""

import os
import signal

from lab import addresses as a
from lab.profile import PROFILE, write_profile
from lab.trial import Trial, case
from lab.waiting import until

from .server_name import forget_addresses, pinned_addresses
from .transport_common import (
    CONNECTED, TCP, Caller, call, connect_plain, expect_proven, kill_under_storm, server_endpoints, show_callers_reach,
    show_callers_refused, watch,
)

_OWN_PORT = 20010
"""OpenVPN's, where it is told one."""


@case("lying-resolver")
def lying_resolver(trial: Trial) -> None:
    """The link's resolver gives a web site as the VPN server's address: no program, not even root's, gets there."""
    write_profile((f"{a.SERVER_NAME} 80 tcp",), ("user nobody", "group nogroup"))
    callers = [
        Caller("root-site", "tcp", a.PUBLIC_DNS, 80, 20001),
        Caller("nobody-site", "tcp", a.PUBLIC_DNS, 80, 20002, a.NOBODY),
        Caller("root-site6", "tcp", a.PUBLIC_DNS6, 80, 20003),
        Caller("nobody-site6", "tcp", a.PUBLIC_DNS6, 80, 20004, a.NOBODY),
    ]
    watch(trial, server_endpoints("tcp", 80), callers)
    show_callers_reach(trial, callers)
    trial.lock()
    show_callers_refused(trial, callers, "the resolver is honest")
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.stop()
    forget_addresses()
    trial.lab.serve_addresses(server=(a.PUBLIC_DNS, a.PUBLIC_DNS6))
    with trial.no_leaks("the daemon asks a resolver that lies"):
        trial.laptop.start_daemon()
        until("the daemon has learned the site's address", lambda: a.PUBLIC_DNS in pinned_addresses(), 30)
        trial.laptop.wait_state("blocked", "connecting")
    show_callers_refused(trial, callers, "the site was given as the server")


def _callers(kind: str) -> list[Caller]:
    port = a.SERVER_PORT if kind == "udp" else 443
    base = 20020 if kind == "udp" else 20030
    return [
        Caller(f"root-{kind}", kind, a.SERVER, port, base),
        Caller(f"nobody-{kind}", kind, a.SERVER, port, base + 1, a.NOBODY),
        Caller(f"root-{kind}6", kind, a.SERVER6, port, base + 2),
        Caller(f"nobody-{kind}6", kind, a.SERVER6, port, base + 3, a.NOBODY),
    ]


@case("endpoint-callers")
def endpoint_callers(trial: Trial) -> None:
    """Foreign programs, root's as well, use the server's address and port in every state: nothing of them leaves."""
    remotes = [f"{a.SERVER} {a.SERVER_PORT} udp", f"{a.SERVER6} {a.SERVER_PORT} udp6"]
    remotes += [f"{a.SERVER} 443 tcp-client", f"{a.SERVER6} 443 tcp6-client"]
    write_profile(remotes, ("server-poll-timeout 2",), bind=True)
    callers = [*_callers("udp"), *_callers("tcp")]
    watch(trial, server_endpoints("udp") + server_endpoints("tcp", 443), callers)
    show_callers_reach(trial, callers)
    trial.lock()
    show_callers_refused(trial, callers, "locked")
    twins = [
        Caller("twin-udp", "udp", a.SERVER, a.SERVER_PORT, _OWN_PORT, a.NOBODY),
        Caller("twin-udp6", "udp", a.SERVER6, a.SERVER_PORT, _OWN_PORT, a.NOBODY),
        Caller("twin-tcp", "tcp", a.SERVER, 443, _OWN_PORT, a.NOBODY),
    ]
    trial.oracle.foreign = {**trial.oracle.foreign, (TCP, _OWN_PORT): "twin-tcp"}  # its datagrams carry their name
    beside = twins[1:]  # the first would take OpenVPN's port
    waiting = [twin.start(trial, 40 if twin.kind == "udp" else 3) for twin in beside]
    with trial.no_leaks("OpenVPN starts beside sockets of its own port in another family and protocol"):
        client = connect_plain(trial, "--lport", str(_OWN_PORT))
        for process in waiting:
            process.wait_for("done", 30)
            process.exit_status()
    show_callers_refused(trial, callers, "protected, OpenVPN started by hand")
    show_callers_refused(trial, twins, "protected, OpenVPN's own port")
    kill_under_storm(trial, client, "started by hand")
    trial.lab.stop_vpn_server()
    client = trial.laptop.node.start("openvpn", ["openvpn", "--config", str(PROFILE)])
    client.wait_for("UDPv4 link remote")
    show_callers_refused(trial, callers, "OpenVPN tries to reach a server that is gone")
    trial.lab.start_vpn_server()
    expect_proven(trial, client, 60)
    client.kill()
    with trial.no_leaks("connecting with the management options"):
        trial.laptop.connect()
    show_callers_refused(trial, callers, "protected, killswitch connect")


@case("late-copies", ipv6=False)
def late_copies(trial: Trial) -> None:
    """A held-up daemon examines a program's datagram when OpenVPN has its port already: it is not sent again."""
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp",), bind=True)
    caller = Caller("port-before", "udp", a.SERVER, a.SERVER_PORT, _OWN_PORT, a.NOBODY)
    trial.oracle.endpoints = frozenset(server_endpoints("udp"))  # its datagrams carry their name
    show_callers_reach(trial, [caller])
    trial.lock()
    daemon = trial.laptop.daemon
    assert daemon is not None
    with trial.no_leaks("the daemon is held up; a program's datagram, then OpenVPN from the same port"):
        os.kill(daemon.pid, signal.SIGSTOP)
        call(trial, [caller], 3)
        client = trial.laptop.node.start("openvpn", ["openvpn", "--config", str(PROFILE), "--lport", str(_OWN_PORT)])
        client.wait_for("UDPv4 link remote")
        os.kill(daemon.pid, signal.SIGCONT)
        client.wait_for(CONNECTED, 30)
        expect_proven(trial, client)
    client.kill()
