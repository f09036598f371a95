"""Real NetworkManager and systemd-resolved on the laptop, on its own system bus (case(…, packages=True))."""

import os
import signal
import subprocess
from pathlib import Path

from . import addresses as a
from . import kernel
from .node import Process
from .trial import Trial
from .waiting import LabError, until

_BUS_POLICIES = Path("/usr/share/dbus-1/system.d")
RESOLV_CONF = Path("/etc/resolv.conf")
NETWORKMANAGER_STATE = Path("/var/lib/NetworkManager/NetworkManager-intern.conf")
_RESOLVED_USER = 991
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
[keyfile]
unmanaged-devices=interface-name:tun*
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
        _add_user("systemd-resolve", _RESOLVED_USER)  # the bus's policy names it
        policies = [_BUS_POLICIES / f"org.freedesktop.{name}.conf" for name in ("NetworkManager", "resolve1")]
        trial.laptop.start_bus(*policies)

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
        until("NetworkManager is connected", self._is_connected, 20)

    def _is_connected(self) -> bool:
        said = self._node.attempt("nmcli", "-g", "GENERAL.STATE", "device", "show", a.LINK)
        return said.stdout.startswith("100")

    def stop_networkmanager(self, number: signal.Signals = signal.SIGTERM) -> None:
        """It ends, in order or not."""
        if self.networkmanager is None:
            raise LabError("NetworkManager does not run")
        self.networkmanager.kill(number)

    def nmcli(self, *arguments: str) -> str:
        """nmcli as root."""
        return self._node.run("nmcli", *arguments)

    def renew(self) -> None:
        """The connection is made anew, and with it the lease."""
        self.nmcli("connection", "up", "lan")
        self.wait_connected()

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

    def _resolved_call(self, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self._node.attempt("busctl", "--timeout=3", verb, *_RESOLVED, *arguments)


def _write_configuration(main: str, ipv6: bool) -> None:
    folder = Path("/etc/NetworkManager")
    for part in ("system-connections", "conf.d", "dispatcher.d"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "NetworkManager.conf").write_text(_NETWORKMANAGER_CONF.format(main=main))
    connection = folder / "system-connections" / "lan.nmconnection"
    connection.write_text(_CONNECTION.format(ipv6="auto" if ipv6 else "disabled"))
    connection.chmod(0o600)
    Path("/var/lib/NetworkManager").mkdir(mode=0o700, parents=True, exist_ok=True)
    Path("/run/NetworkManager").mkdir(exist_ok=True)


def _add_user(name: str, number: int) -> None:
    for file, line in (("passwd", f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n"), ("group", f"{name}:x:{number}:\n")):
        path = Path("/etc") / file
        if f"{name}:" not in path.read_text():
            path.write_text(path.read_text() + line)
