"""Real NetworkManager, its OpenVPN plugin and dispatcher, and systemd-resolved on the laptop, on its own system bus
(case(…, packages=True))."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from . import addresses as a
from . import kernel
from .node import Process
from .sandbox import STORAGE
from .trial import Trial
from .users import add_user
from .waiting import LabError, until

_BUS_POLICIES = Path("/usr/share/dbus-1/system.d")
RESOLV_CONF = Path("/etc/resolv.conf")
NETWORKMANAGER_STATE = Path("/var/lib/NetworkManager/NetworkManager-intern.conf")
_RESOLVED_USER = 991
_VPN_USER = 992
_OURS = Path(__file__).resolve().parents[3] / "packaging" / "nm"
"""What the package brings for NetworkManager."""
_RESOLVED = ("org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager")

_NETWORKMANAGER_CONF = """\
[main]
plugins=keyfile
dhcp=internal
no-auto-default=*
auth-polkit=root-only
{main}
[logging]
level=INFO
domains=ALL:INFO,DNS:DEBUG
[connectivity]
enabled=false
"""

_CONNECTION = f"""\
[connection]
id=lan
uuid=11111111-2222-3333-4444-555555555555
type=ethernet
interface-name={a.LINK}
[ipv4]
method=auto
[ipv6]
method={{ipv6}}
"""

VPN = "lab vpn"
VPN_UUID = "22222222-3333-4444-5555-666666666666"
_VPN = """\
[connection]
id={name}
uuid={uuid}
type=vpn
autoconnect=false
[vpn]
service-type=org.freedesktop.NetworkManager.openvpn
connection-type=tls
remote={remote}
ca={keys}/ca.crt
cert={keys}/client.crt
key={keys}/client.key
cert-pass-flags=4
remote-cert-tls=server
[ipv4]
method=auto
[ipv6]
method=auto
"""


class Desktop:
    """The services that a desktop has and a server may lack."""

    def __init__(self, trial: Trial, main: str = "", ipv6: bool = False) -> None:
        """@param main more lines for [main] of NetworkManager.conf
        @param ipv6 whether NetworkManager takes what routers advertise
        """
        self._trial = trial
        self._node = trial.laptop.node
        self.networkmanager: Process | None = None
        self.resolved: Process | None = None
        kernel.mount(None, "/sys", None, kernel.MS_REMOUNT | kernel.MS_RDONLY)  # or it waits for udev
        _write_configuration(main, ipv6)
        self.dispatcher: Process | None = None
        add_user("systemd-resolve", _RESOLVED_USER)  # the bus's policy names it
        add_user("nm-openvpn", _VPN_USER)
        policies = ("org.freedesktop.NetworkManager", "org.freedesktop.resolve1", "nm-openvpn-service", "nm-dispatcher")
        trial.laptop.start_bus(*(_BUS_POLICIES / f"{name}.conf" for name in policies))

    # -- NetworkManager ------------------------------------------------------------------------------------------

    def start_networkmanager(self, wait: bool = True) -> None:
        """NetworkManager takes the link over from the laptop's DHCP client; connected when it returns."""
        if self.networkmanager is None and self._trial.lab.dhcp_client.alive():
            self._trial.lab.dhcp_client.kill()
            self._node.ip(f"address flush dev {a.LINK}")
        self.networkmanager = self._node.start("networkmanager", ["NetworkManager", "--debug"])
        if wait:
            self.wait_connected()

    def wait_connected(self) -> None:
        """Until NetworkManager says that the link is connected."""
        until("NetworkManager is connected", self.is_connected, 20)

    def is_connected(self) -> bool:
        said = self._node.attempt("nmcli", "-g", "GENERAL.STATE", "device", "show", a.LINK)
        return said.stdout.startswith("100")

    def stop_networkmanager(self, number: signal.Signals = signal.SIGTERM) -> None:
        """It ends, in order or not."""
        if self.networkmanager is None:
            raise LabError("NetworkManager does not run")
        self.networkmanager.kill(number)

    def kill_networkmanager(self) -> None:
        """It dies without a word."""
        self.stop_networkmanager(signal.SIGKILL)

    def nmcli(self, *arguments: str) -> str:
        """nmcli as root."""
        return self._node.run("nmcli", *arguments)

    def renew(self) -> None:
        """The connection is made anew, and with it the lease."""
        self.nmcli("connection", "up", "lan")
        self.wait_connected()

    # -- its VPN -------------------------------------------------------------------------------------------------

    def add_vpn(self, remote: str) -> None:
        """A VPN connection for the plugin; before NetworkManager starts, or followed by `nmcli connection reload`."""
        keys = STORAGE / "pki"
        for path in (STORAGE, keys, *keys.iterdir()):  # the plugin gives up root's rights
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        text = _VPN.format(name=VPN, uuid=VPN_UUID, remote=remote, keys=keys)
        _write_connection("vpn", text)

    def vpn_up(self) -> None:
        """nmcli connection up."""
        self.nmcli("connection", "up", VPN)

    def vpn_processes(self) -> list[int]:
        """The plugin's OpenVPN."""
        return [int(pid) for pid in self._node.attempt("pgrep", "-u", str(_VPN_USER), "-x", "openvpn").stdout.split()]

    def kill_vpn(self) -> None:
        """The plugin's OpenVPN dies at once."""
        for pid in self.vpn_processes():
            os.kill(pid, signal.SIGKILL)

    # -- the dispatcher ------------------------------------------------------------------------------------------

    def start_dispatcher(self) -> None:
        """The real dispatcher; without the service that the bus would start it by, it is started here."""
        program = "/usr/lib/NetworkManager/nm-dispatcher"
        self.dispatcher = self._node.start("nm-dispatcher", [program, "--persist", "--debug"])
        self.dispatcher.wait_for("request name for org.freedesktop.nm_dispatcher succeeded")

    def install_hook(self, command: Path) -> None:
        """The kill switch's script, as the package installs it."""
        folder = Path("/usr/lib/NetworkManager/dispatcher.d")
        (folder / "pre-up.d").mkdir(parents=True, exist_ok=True)
        script = folder / "50-killswitch"
        script.write_bytes((_OURS / "dispatcher.sh").read_bytes())
        script.chmod(0o755)
        (folder / "pre-up.d" / script.name).symlink_to(f"../{script.name}")
        Path("/usr/bin/killswitch").symlink_to(command)

    def expect_hook_ran(self) -> None:
        """The dispatcher has run it before a link was used, and afterwards."""
        assert self.dispatcher is not None
        for place in ("dispatcher.d/pre-up.d/50-killswitch", "dispatcher.d/50-killswitch"):
            self.dispatcher.wait_for(place)

    def wait_pre_up(self) -> None:
        """Until NetworkManager waits for the scripts that come before the link is used."""
        state = ("nmcli", "-g", "GENERAL.STATE", "device", "show", a.LINK)
        until("the link is about to be used", lambda: self._node.attempt(*state).stdout.startswith("80"))

    # -- systemd-resolved ----------------------------------------------------------------------------------------

    def start_resolved(self) -> None:
        """systemd-resolved, answering."""
        runtime = Path("/run/systemd/resolve")
        runtime.mkdir(parents=True, exist_ok=True)
        os.chown(runtime, _RESOLVED_USER, _RESOLVED_USER)
        self.resolved = self._node.start("resolved", ["/usr/lib/systemd/systemd-resolved"])
        until("systemd-resolved answers", lambda: self._resolved_call("get-property", "DNS").returncode == 0)

    def stop_resolved(self) -> None:
        """It ends."""
        if self.resolved is None:
            raise LabError("systemd-resolved does not run")
        self.resolved.kill(signal.SIGTERM)

    def ask_resolved(self, name: str) -> None:
        """A program asks systemd-resolved itself, as nss-resolve does, whatever resolv.conf says."""
        self._resolved_call("call", "ResolveHostname", "isit", "0", name, "2", "0")

    def tell_resolved(self, server: str, domain: str) -> None:
        """Another program gives the link a resolver and a search domain, in NetworkManager's order."""
        with self._node.entered():
            index = str(socket.if_nametoindex(a.LINK))
        self._node.run("busctl", "call", *_RESOLVED, "SetLinkDomains", "ia(sb)", index, "1", domain, "false")
        octets = socket.inet_aton(server)
        address = (str(socket.AF_INET), str(len(octets)), *map(str, octets))
        self._node.run("busctl", "call", *_RESOLVED, "SetLinkDNS", "ia(iay)", index, "1", *address)

    def resolved_servers(self) -> str:
        """All resolvers that systemd-resolved knows, as busctl prints them."""
        return self._resolved_call("get-property", "DNS").stdout

    def _resolved_call(self, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self._node.attempt("busctl", "--timeout=3", verb, *_RESOLVED, *arguments)


def _write_configuration(main: str, ipv6: bool) -> None:
    folder = Path("/etc/NetworkManager")
    for part in ("system-connections", "conf.d", "dispatcher.d"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "NetworkManager.conf").write_text(_NETWORKMANAGER_CONF.format(main=main))
    shipped = Path("/usr/lib/NetworkManager/conf.d/50-killswitch.conf")
    shipped.parent.mkdir(parents=True, exist_ok=True)
    shipped.write_bytes((_OURS / shipped.name).read_bytes())
    _write_connection("lan", _CONNECTION.format(ipv6="auto" if ipv6 else "disabled"))
    Path("/var/lib/NetworkManager").mkdir(mode=0o700, parents=True, exist_ok=True)
    Path("/run/NetworkManager").mkdir(exist_ok=True)


def _write_connection(name: str, text: str) -> None:
    connection = Path("/etc/NetworkManager/system-connections") / f"{name}.nmconnection"
    connection.write_text(text)
    connection.chmod(0o600)
