"""resolv.conf in the hands of NetworkManager and systemd-resolved: who is asked for names, through storms and restarts."""

import signal
from collections.abc import Callable
from pathlib import Path

from lab import addresses as a
from lab.desktop import NETWORKMANAGER_STATE, RESOLV_CONF, Desktop
from lab.names import Names
from lab.profile import PROFILE
from lab.trial import Trial, case
from lab.waiting import until

from .names_file import ACCESS_POINT, TUNNEL, Found, defend, dns_of, names_of, tunnel_named

_POOL = "--dhcp-range=192.168.43.100,192.168.43.199,2m"
_HOSTILE = (
    _POOL,
    "--dhcp-option=option:domain-name,com",
    f"--dhcp-option=121,0.0.0.0/1,{a.AP},128.0.0.0/1,{a.AP}",
)
"""A lease that claims every name under "com" and draws traffic past the tunnel (TunnelVision)."""


def connect(trial: Trial, names: Names, backend: str) -> None:
    """Protected, with names in the hands of `backend`."""
    # store 0: or the tables stay owned by what the service manager keeps when the daemon is gone
    trial.laptop.start_daemon(store=0)
    trial.laptop.enable()
    trial.laptop.connect()
    dns = dns_of(trial)
    trial.expect(dns["backend"] == backend, f"backend {dns['backend']} because {dns['reasons']}")
    trial.expect(dns["applied"], "status says that names are set")
    trial.say(names.expect(TUNNEL, "protected"))


def disable(trial: Trial, names: Names, original: Found) -> None:
    """Disabled, and resolv.conf is what it was."""
    trial.laptop.killswitch("disable")
    trial.expect(not Path("/var/lib/killswitch/dns.json").exists(), "disabled: everything is given back by then")
    until("resolv.conf is what it was, byte for byte", lambda: Found.now() == original)
    names.wait(ACCESS_POINT, "disabled")
    trial.say("disabled: resolv.conf is what it was, byte for byte, and the access point is asked again")


def profile_with_addresses() -> None:
    """While locked systemd-resolved would look for the server's name until its patience ends."""
    profile = PROFILE.read_text().replace(f"remote {a.SERVER_NAME} {a.SERVER_PORT} udp6\n", "")
    PROFILE.write_text(profile.replace(a.SERVER_NAME, a.SERVER))


def through(trial: Trial, names: Names, what: str, action: Callable[[], None]) -> None:
    """Something happens to a service: during and after it nobody but the tunnel's resolver is asked."""
    with trial.no_leaks(what):
        action()
        names.wait(TUNNEL, what)
    trial.laptop.wait_state("protected")
    for _ in range(3):
        names.wait(TUNNEL, f"{what}, settled", suffix="site.com")
    trial.say(f"{what}: questions reach the tunnel's resolver, and none the access point")


def _hostile_lease(trial: Trial, desktop: Desktop) -> None:
    trial.lab.serve_addresses(*_HOSTILE)
    desktop.renew()


def _networking_off_and_on(desktop: Desktop) -> None:
    desktop.nmcli("networking", "off")
    desktop.nmcli("networking", "on")
    desktop.wait_connected()


def _restart(desktop: Desktop, number: signal.Signals) -> None:
    desktop.stop_networkmanager(number)
    desktop.start_networkmanager()


@case("names-networkmanager", ipv6=False, packages=True)
def names_networkmanager(trial: Trial) -> None:
    """NetworkManager writes resolv.conf: through hostile leases, restarts and kills only the tunnel is asked."""
    desktop = Desktop(trial)
    RESOLV_CONF.write_text("# placeholder\n")
    desktop.start_networkmanager()
    original = Found.now()
    names = Names(trial.lab, trial.laptop.resolve)
    trial.expect(names_of(RESOLV_CONF.read_text()) == [a.AP], "NetworkManager has written the access point's resolver")
    trial.say(names.expect(ACCESS_POINT, "control, no kill switch", times=1))
    connect(trial, names, "networkmanager")
    through(trial, names, "a hostile lease", lambda: _hostile_lease(trial, desktop))
    through(trial, names, "NetworkManager restarted", lambda: _restart(desktop, signal.SIGTERM))
    through(trial, names, "NetworkManager killed", lambda: _restart(desktop, signal.SIGKILL))
    defend(trial, names, (_overwrite,))
    trial.lab.serve_addresses()
    desktop.renew()
    disable(trial, names, original)


def _overwrite() -> None:
    RESOLV_CONF.write_text(f"nameserver {a.AP}\n")


@case("names-networkmanager-link", ipv6=False, packages=True)
def names_networkmanager_link(trial: Trial) -> None:
    """resolv.conf is a link to NetworkManager's file; given back with NetworkManager stopped and the daemon killed."""
    desktop = Desktop(trial)
    RESOLV_CONF.unlink()
    RESOLV_CONF.symlink_to("/run/NetworkManager/resolv.conf")
    desktop.start_networkmanager()
    original = Found.now()
    names = Names(trial.lab, trial.laptop.resolve)
    trial.say(names.expect(ACCESS_POINT, "control, no kill switch", times=1))
    connect(trial, names, "networkmanager")
    through(trial, names, "networking off and on", lambda: _networking_off_and_on(desktop))
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    desktop.stop_networkmanager()
    trial.expect("global-dns" in NETWORKMANAGER_STATE.read_text(), "NetworkManager keeps our resolvers on disk")
    trial.laptop.killswitch("disable", "--offline")
    trial.expect(Found.now() == original, "neither daemon nor NetworkManager: resolv.conf is what it was, byte for byte")
    trial.expect("global-dns" not in NETWORKMANAGER_STATE.read_text(), "and NetworkManager will not come back with ours")
    desktop.start_networkmanager()
    names.wait(ACCESS_POINT, "disabled")


@case("names-resolved", ipv6=False, packages=True)
def names_resolved(trial: Trial) -> None:
    """systemd-resolved behind its stub, fed by NetworkManager: through hostile leases and restarts."""
    desktop = Desktop(trial)
    profile_with_addresses()
    RESOLV_CONF.unlink()
    RESOLV_CONF.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    desktop.start_resolved()
    desktop.start_networkmanager()
    original = Found.now()
    names = Names(trial.lab, desktop.ask_resolved)
    names.wait(ACCESS_POINT, "control, no kill switch")
    connect(trial, names, "resolved")
    through(trial, names, "a hostile lease", lambda: _hostile_lease(trial, desktop))
    through(trial, names, "a resolver for the link from another program", lambda: _tell_resolved(desktop))
    through(trial, names, "systemd-resolved restarted", lambda: _restart_resolved(desktop))
    through(trial, names, "NetworkManager killed", lambda: _restart(desktop, signal.SIGKILL))
    trial.lab.serve_addresses()  # what systemd-resolved writes depends on the lease
    desktop.renew()
    disable(trial, names, original)


def _tell_resolved(desktop: Desktop) -> None:
    """Heard of by nothing but systemd-resolved's own signal, which comes from a user that is not root."""
    desktop.tell_resolved(a.AP, "com")

    def tunnel_alone() -> bool:
        servers = desktop.resolved_servers()
        return a.TUNNEL_DNS.replace(".", " ") in servers and a.AP.replace(".", " ") not in servers

    until("what the link was given is gone again", tunnel_alone)


def _restart_resolved(desktop: Desktop) -> None:
    desktop.stop_resolved()
    desktop.start_resolved()


@case("names-resolved-beside", ipv6=False, packages=True)
def names_resolved_beside(trial: Trial) -> None:
    """systemd-resolved runs beside a resolv.conf of NetworkManager's: both are asked, and both ask the tunnel only."""
    desktop = Desktop(trial, main="systemd-resolved=true")
    RESOLV_CONF.write_text("# placeholder\n")
    desktop.start_resolved()
    desktop.start_networkmanager()
    original = Found.now()
    resolved = Names(trial.lab, desktop.ask_resolved)
    library = Names(trial.lab, trial.laptop.resolve)
    resolved.wait(ACCESS_POINT, "control, asking systemd-resolved")
    library.wait(ACCESS_POINT, "control, asking as resolv.conf says")
    connect(trial, library, "resolved+networkmanager")
    trial.say(resolved.expect(TUNNEL, "asking systemd-resolved"))
    through(trial, resolved, "a hostile lease", lambda: _hostile_lease(trial, desktop))
    trial.expect(tunnel_named(), "resolv.conf names the tunnel's resolver")
    trial.lab.serve_addresses()
    desktop.renew()
    disable(trial, library, original)
    resolved.wait(ACCESS_POINT, "disabled, asking systemd-resolved")
