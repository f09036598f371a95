"""Getting connected, and staying quiet meanwhile."""

from lab import addresses as a
from lab.profile import PROFILE
from lab.trial import Trial, case
from lab.waiting import LabError


def _connected_to(trial: Trial, address: str) -> None:
    status = trial.laptop.status()
    tunnel = status["tunnel"]
    trial.expect(isinstance(tunnel, dict) and tunnel["server"]["address"] == address, f"connected to {address}")
    trial.expect(status["enforced"], "status read the kernel back and found what was computed")


@case("connect-ipv6")
def connect_ipv6(trial: Trial) -> None:
    """OpenVPN connects over IPv6 under the lock, and the tunnel carries both families."""
    trial.control()
    trial.lock()
    trial.every_probe_refused("locked, not connected")
    with trial.no_leaks("while OpenVPN connects") as window:
        trial.laptop.connect()
    trial.expect(window.allowed["transport"], "transport seen on the link")
    _connected_to(trial, a.SERVER6)
    trial.tunnel_works()
    trial.expect(trial.laptop.status()["ipv6"] == "tunnelled", "status says that IPv6 is tunnelled")
    trial.every_probe_refused("protected")


@case("fallback-ipv4", ipv6=False)
def fallback_ipv4(trial: Trial) -> None:
    """The link has no IPv6: OpenVPN falls back from udp6 to udp."""
    trial.control()
    trial.lock()
    with trial.no_leaks("while OpenVPN falls back to IPv4") as window:
        trial.laptop.connect()
    trial.expect(window.allowed["transport"], "transport seen on the link")
    _connected_to(trial, a.SERVER)
    trial.tunnel_works()
    trial.every_probe_refused("protected")


@case("storm")
def storm(trial: Trial) -> None:
    """Traffic of every kind, begun before the lock, gets nowhere while OpenVPN connects and runs."""
    trial.control()
    with trial.storm():
        trial.lock()
        with trial.no_leaks("flows from before the lock, DHCP renewal, connecting, protected"):
            trial.lab.renew_lease()
            trial.laptop.connect()
            trial.for_seconds(trial.times(3, 60))
            trial.lab.renew_lease()


@case("server-restart")
def server_restart(trial: Trial) -> None:
    """The server goes without a word and comes back: locked meanwhile, connected again afterwards."""
    trial.control()
    trial.lock()
    trial.laptop.connect()
    for _ in range(trial.times(1, 5)):
        with trial.no_leaks("server gone and back"), trial.storm():
            trial.lab.stop_vpn_server()
            trial.laptop.wait_state("connecting", "blocked")
            trial.lab.start_vpn_server()
            trial.laptop.wait_state("protected", seconds=60)
        trial.tunnel_works()


@case("unresolvable-name")
def unresolvable_name(trial: Trial) -> None:
    """A server name that does not resolve leaves the machine locked, and the status names it."""
    trial.control()
    name = f"vpn.{a.NOWHERE}"
    PROFILE.write_text(PROFILE.read_text().replace(a.SERVER_NAME, name))
    trial.oracle.server_name = name
    trial.laptop.start_daemon()
    said = trial.laptop.killswitch("enable", "--config", str(PROFILE), expect=(0, 1))
    status = trial.laptop.wait_state("blocked")
    trial.expect(name in f"{said} {status['reasons']} {status['warnings']}", f"the user is told about {name}")
    with trial.no_leaks("locked with nowhere to go"), trial.storm():
        trial.for_seconds(trial.times(3, 20))
    trial.every_probe_refused("locked with nowhere to go")


@case("connect-command")
def connect_command(trial: Trial) -> None:
    """`killswitch connect PROFILE` alone: enables the lock, then becomes OpenVPN."""
    trial.control()
    trial.laptop.start_daemon()
    client = trial.laptop.connect(wait=False)
    trial.laptop.wait_state("blocked", "connecting", "protected")
    with trial.no_leaks("from the lock to the tunnel"):
        client.wait_for("Initialization Sequence Completed", 40)
        trial.laptop.wait_state("protected")
    with open(f"/proc/{client.pid}/comm", encoding="ascii") as name:
        if name.read().strip() != "openvpn":
            raise LabError("the command did not become OpenVPN")
    trial.tunnel_works()
    trial.every_probe_refused("protected")
