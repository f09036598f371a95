"""VPN connections of NetworkManager (the real plugin): under the lock they connect, die and come again."""

import json
import time
from pathlib import Path

from lab import addresses as a
from lab.desktop import RESOLV_CONF, VPN, VPN_UUID, Desktop
from lab.names import Names
from lab.traffic import Stream
from lab.trial import Trial, case
from lab.waiting import until

from .names_file import ACCESS_POINT, TUNNEL, names_of, tunnel_named
from .server_name import forget_addresses
from .transport_common import OPENVPN

_PROBES = ("dns4", "dot", "icmp", "lan", "tcp", "udp")
"""NetworkManager has no IPv6 on this link, and so no multicast of it."""


def _desktop(trial: Trial, remote: str) -> Desktop:
    desktop = Desktop(trial)
    desktop.add_vpn(remote)
    RESOLV_CONF.write_text("# placeholder\n")
    desktop.start_networkmanager()
    return desktop


def _enrol(trial: Trial, *options: str) -> None:
    trial.laptop.start_daemon()
    trial.laptop.killswitch("enable", "--networkmanager", VPN, *options)
    trial.laptop.wait_state("blocked")


def _expect_tunnel(trial: Trial, address: str = a.SERVER) -> str:
    """@return its interface"""
    status = trial.laptop.wait_state("protected")
    transport, tunnel = str(status["transport"]), status["tunnel"]
    assert isinstance(tunnel, dict)
    trial.expect(OPENVPN in transport and "marked" in transport, f"the plugin's OpenVPN is proven ({transport})")
    trial.expect(tunnel["source"] == "process", "its tunnel is trusted by proof")
    server = tunnel["server"]
    trial.expect(server["address"] == address, f"and it leads to the server that was pinned, {server}")
    return str(tunnel["interface"])


def _die(trial: Trial, desktop: Desktop) -> None:
    """The plugin's OpenVPN dies under traffic."""
    with trial.no_leaks("the plugin's OpenVPN is killed"), trial.storm():
        desktop.kill_vpn()
        trial.laptop.wait_state("blocked")
        trial.for_seconds(1)
    until("its interface is gone", lambda: not trial.laptop.has_tunnel())


def _persist(trial: Trial, desktop: Desktop) -> None:
    """A persistent connection: NetworkManager makes it anew by itself when its link was lost."""
    desktop.nmcli("connection", "down", VPN)
    desktop.nmcli("connection", "modify", VPN_UUID, "vpn.persistent", "yes")
    desktop.vpn_up()
    _expect_tunnel(trial)
    processes = desktop.vpn_processes()
    with trial.no_leaks("the link is lost and comes again", link_up=False), trial.storm():
        trial.lab.ap.ip("link set wlan0 down")
        until("NetworkManager sees it", lambda: not desktop.is_connected(), 30)
        trial.lab.ap.ip("link set wlan0 up")
        desktop.wait_connected()
        until("another OpenVPN runs", lambda: desktop.vpn_processes() not in ([], processes), 30)
        interface = _expect_tunnel(trial)
    trial.tunnel_works(interface=interface)


@case("names-nm-vpn", ipv6=False, packages=True)
def names_nm_vpn(trial: Trial) -> None:
    """A VPN of NetworkManager's: it leaks without us; with us it connects from locked, dies and comes again without one."""
    desktop = _desktop(trial, a.SERVER)
    names = Names(trial.lab, trial.laptop.resolve)
    desktop.vpn_up()
    both = [a.TUNNEL_DNS, a.AP]
    until("control: the router is named beside the tunnel", lambda: names_of(RESOLV_CONF.read_text()) == both)
    desktop.kill_vpn()
    until("control: the interface is gone", lambda: not trial.laptop.has_tunnel())
    trial.control("control: the plugin's OpenVPN was killed", words=_PROBES)
    trial.say(names.expect(ACCESS_POINT, "control: names after it", times=1))
    _enrol(trial)
    with trial.no_leaks("nmcli connection up, from locked"), trial.storm():
        desktop.vpn_up()
        trial.laptop.wait_state("protected")
    _expect_tunnel(trial)
    state = desktop.nmcli("-g", "GENERAL.STATE", "device", "show", "tun0").strip()
    trial.expect(state == "10 (unmanaged)", "NetworkManager leaves the interface to its plugin, as the package says")
    trial.tunnel_works()
    until("resolv.conf names the tunnel's resolver and nobody else", tunnel_named)
    trial.say(names.expect(TUNNEL, "protected"))
    trial.every_probe_refused("protected")
    _die(trial, desktop)
    trial.say(names.expect(set(), "blocked", times=1))
    with trial.no_leaks("connected again"):
        desktop.vpn_up()
        _expect_tunnel(trial)
    _persist(trial, desktop)
    with trial.no_leaks("NetworkManager is killed"), trial.storm():
        desktop.kill_networkmanager()
        trial.laptop.wait_state("blocked")


@case("nm-vpn-ipv6", packages=True)
def nm_vpn_ipv6(trial: Trial) -> None:
    """A VPN of NetworkManager's to a server over IPv6: from locked, and again after its death."""
    desktop = Desktop(trial, ipv6=True)
    desktop.add_vpn(f"[{a.SERVER6}]:{a.SERVER_PORT}:udp6")
    RESOLV_CONF.write_text("# placeholder\n")
    desktop.start_networkmanager()
    names = Names(trial.lab, trial.laptop.resolve)
    until("a host answers over IPv6", lambda: trial.laptop.node.attempt("ping", "-c1", "-W1", a.HOST6).returncode == 0)
    trial.control("control: no VPN")
    _enrol(trial)
    with trial.no_leaks("nmcli connection up over IPv6, from locked"), trial.storm():
        desktop.vpn_up()
        trial.laptop.wait_state("protected")
    _expect_tunnel(trial, a.SERVER6)
    trial.tunnel_works()
    trial.say(names.expect(TUNNEL, "protected"))
    trial.every_probe_refused("protected")
    _die(trial, desktop)
    with trial.no_leaks("connected again"):
        desktop.vpn_up()
        _expect_tunnel(trial, a.SERVER6)


@case("nm-vpn-name", ipv6=False, packages=True)
def nm_vpn_name(trial: Trial) -> None:
    """A VPN of NetworkManager's by name, with no address known, from a locked boot; over a restart; and roaming."""
    desktop = _desktop(trial, a.SERVER_NAME)
    names = Names(trial.lab, trial.laptop.resolve)
    _enrol(trial)
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.stop()
    forget_addresses()
    with trial.no_leaks("the daemon starts and knows no address"):
        daemon = trial.laptop.start_daemon(restart=True)
        trial.laptop.wait_state("blocked")
    with trial.no_leaks("nmcli connection up with a name, from locked"), trial.storm(words=("udp", "dns")):
        desktop.vpn_up()
        trial.laptop.wait_state("protected")
    _expect_tunnel(trial)
    trial.say(names.expect(TUNNEL, "protected"))
    with trial.no_leaks("the daemon is restarted", link_up=True), trial.storm():
        daemon.kill()
        daemon.wait_ready(times=2)
        trial.laptop.wait_state("protected")
    _expect_tunnel(trial)
    with trial.no_leaks("the daemon is restarted, no storm"), Stream(trial.lab) as carried:
        for number in range(trial.times(3, 50)):
            daemon.kill()
            daemon.wait_ready(times=number + 3)
            trial.laptop.wait_state("protected")
    trial.expect(not carried.result.lost, f"the tunnel carries every packet meanwhile ({carried.result})")
    _roam(trial, desktop)
    trial.say(names.expect(TUNNEL, "on the other network"))
    _change_remote(trial, desktop)


def _roam(trial: Trial, desktop: Desktop) -> None:
    """Another network with another router; the VPN is connected anew there, under the lock."""
    with trial.no_leaks("roaming", link_up=False):
        trial.lab.ap.ip("link set wlan0 down")
        trial.laptop.wait_state("blocked")
        trial.lab.become_other_network()
        trial.lab.ap.ip("link set wlan0 up")
        desktop.wait_connected()
        until("an address of the other network", lambda: trial.lab.link_address().startswith("192.168.44."), 30)
    with trial.no_leaks("nmcli connection up on the other network"):
        desktop.vpn_up()
        trial.laptop.wait_state("protected")


def _change_remote(trial: Trial, desktop: Desktop) -> None:
    """Whoever may edit the connection changes what is said of it, and nothing that may be reached."""
    before = _state()["remotes"]
    desktop.nmcli("connection", "modify", VPN_UUID, "+vpn.data", f"remote={a.SECOND_SERVER}")

    def told() -> bool:
        warnings = trial.laptop.status()["warnings"]
        assert isinstance(warnings, list)
        return any(a.SECOND_SERVER in line and "enable --networkmanager" in line for line in warnings)

    until("the change is told", told)
    trial.expect(_state()["remotes"] == before, "another server in the connection is told, and opens nothing")
    desktop.nmcli("connection", "down", VPN)
    trial.laptop.wait_state("blocked")
    with trial.no_leaks("the plugin tries the other server"):
        refused = trial.laptop.node.attempt("nmcli", "--wait", "5", "connection", "up", VPN)
        trial.expect(refused.returncode != 0, "a server that was not enrolled cannot be reached")


def _state() -> dict[str, object]:
    settings = json.loads(Path("/var/lib/killswitch/state.json").read_text())["settings"]
    assert isinstance(settings, dict)
    return settings


_HOOK = ("hook", "networkmanager", a.LINK)
_BOUND = 8.0
"""Seconds that the dispatcher script may take, whatever is wrong."""


def _hook(trial: Trial, action: str, expect: int = 0) -> str:
    began = time.monotonic()
    said = trial.laptop.killswitch(*_HOOK, action, expect=(expect,))
    trial.expect(time.monotonic() - began < _BOUND, f"hook {action}: ended with {expect} in time")
    return said


def _lose_lock(trial: Trial) -> None:
    """Nobody guards the tables any more, and root takes them away."""
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    for table in trial.laptop.tables():
        trial.laptop.node.run("nft", "delete", *table.split())
    trial.expect(not trial.laptop.tables(), "the lock is gone while the state file says enabled")


@case("nm-hook", ipv6=False, packages=True)
def nm_hook(trial: Trial) -> None:
    """The real dispatcher: no link is used before the lock stands, and NetworkManager never waits for long."""
    desktop = Desktop(trial)
    desktop.install_hook(trial.laptop.binary("killswitch"))
    RESOLV_CONF.write_text("# placeholder\n")
    desktop.start_dispatcher()
    desktop.start_networkmanager()
    _hook(trial, "pre-up")
    trial.expect(not trial.laptop.tables(), "never enabled: the hook changes nothing")
    trial.control("control: never enabled", words=_PROBES)
    trial.laptop.start_daemon(store=0)
    trial.laptop.enable()
    for action in ("pre-up", "up", "dhcp4-change", "an-action-of-next-year"):
        _hook(trial, action)
    with trial.no_leaks("the link is connected anew under the lock"), trial.storm():
        desktop.renew()
    desktop.expect_hook_ran()
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    said = _hook(trial, "pre-up")
    trial.expect("the kernel holds the lock" in said, "without a daemon the lock is seen in the kernel")
    _lose_lock_and_wait(trial, desktop)
    trial.laptop.killswitch("disable")
    _hook(trial, "pre-up")
    trial.expect(not trial.laptop.tables(), "disabled: the hook changes nothing")


def _lose_lock_and_wait(trial: Trial, desktop: Desktop) -> None:
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.command("start")
    daemon.wait_ready(times=2)
    _lose_lock(trial)
    said = _hook(trial, "pre-up", expect=1)
    why = said.splitlines()[0]
    trial.expect("the lock was not seen" in why and "killswitchd" in why, f"the hook says why: {why}")
    activation = trial.laptop.node.start("nmcli", ["nmcli", "connection", "up", "lan"])
    desktop.wait_pre_up()
    trial.expect(activation.alive(), "NetworkManager waits with the link")
    daemon.command("start")
    daemon.wait_ready(times=3)
    trial.expect(activation.exit_status(20) == 0, "and uses it when the lock is there")
    trial.laptop.wait_state("blocked", "connecting")
