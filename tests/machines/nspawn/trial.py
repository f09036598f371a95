"""What a case works with: the bridge and what is behind it, a capture, machines, and statements about them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import addresses as a
from lab import pki
from lab.capture import Window
from lab.frames import Oracle
from lab.node import Node, Process
from lab.sandbox import STORAGE
from lab.waiting import LabError, until

from .machine import Machine
from .wire import Wire

SERVER = f"{a.SERVER}:{a.SERVER_PORT}/udp"
_LEAKER = """\
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
ExecStart=/usr/local/sbin/leaker
TimeoutStopSec=2s
[Install]
WantedBy=sysinit.target
"""
WAYS = frozenset({"raw", "udp", "multicast"})
"""How the leaker tries to get out."""


@dataclass(frozen=True)
class Materials:
    """What was prepared before: files outside of the laboratory."""

    release: str
    root: Path
    package: Path
    leaker: Path
    calls: Path


class Trial:
    """A laboratory with the world outside of one machine."""

    def __init__(self, materials: Materials, long: bool = False) -> None:
        self.materials = materials
        self.long = long
        self.outside = Node("outside")
        self._make_outside()
        self.wire = Wire(self.outside, Oracle())

    def say(self, text: str) -> None:
        """One line of the case's story."""
        print(f"   {text}", flush=True)

    def expect(self, condition: object, text: str) -> None:
        """Something that must be true."""
        if not condition:
            raise LabError(f"not true: {text}")
        self.say(f"{text}: yes")

    def times(self, short: int, long: int) -> int:
        """How often to repeat something."""
        return long if self.long else short

    def for_seconds(self, seconds: float) -> None:
        """Lets the leaker try for a while: the duration of a measurement, not a wait for something to happen."""
        time.sleep(seconds)

    # -- machines ------------------------------------------------------------------------------------------------

    def machine(self, installed: bool = True) -> Machine:
        """A machine, off, with a leaker that starts before everything else; the kill switch installed, not enabled."""
        machine = Machine(self.outside, self.materials.root)
        machine.write("usr/local/sbin/leaker", "", 0o755).write_bytes(self.materials.leaker.read_bytes())
        machine.write("etc/systemd/system/leaker.service", _LEAKER)
        machine.enable_unit("/etc/systemd/system/leaker.service", "sysinit.target")
        (machine.root / "root/killswitch.deb").write_bytes(self.materials.package.read_bytes())
        if installed:
            machine.change_root("dpkg", "-i", "/root/killswitch.deb")
        return machine

    def control(self, machine: Machine) -> None:
        """Boots the machine without the kill switch being enabled, to its end: everything gets out."""
        window = self.wire.window()
        seconds = machine.boot()
        machine.wait_address()
        until("each way out is seen on the wire", lambda: set(window.probes) >= WAYS, 30)
        machine.power_off()
        self.wire.settle()
        if window.leaks < 300:
            raise LabError(f"the control leaked only {window.leaks} frames")
        self.say(f"control, not enabled, from boot ({seconds:.1f} s) to power-off: {window.leaks} frames leaked")

    @contextmanager
    def no_leaks(self, what: str) -> Iterator[Window]:
        """Nothing but the allowed leaves the machine inside the block."""
        window = self.wire.window()
        yield window
        self.wire.settle()
        if window.leaks:
            listing = "\n      ".join(window.samples)
            raise LabError(f"{what}: {window.leaks} frames leaked ({window.summary()})\n      {listing}")
        self.say(f"{what}: 0 leaks ({window.summary()})")

    # -- outside -------------------------------------------------------------------------------------------------

    def start_vpn_server(self, machine: Machine) -> Process:
        """An OpenVPN server outside, and openvpn-client@lab's profile in the machine."""
        keys = STORAGE / "pki"
        pki.make(keys)
        options = ["--dev", "tun0", "--local", a.SERVER, "--proto", "udp", "--topology", "subnet", "--dh", "none"]
        options += ["--server", "192.168.255.0", "255.255.255.0", "--keepalive", "2", "10", "--verb", "3"]
        options += ["--ca", f"{keys}/ca.crt", "--cert", f"{keys}/server.crt", "--key", f"{keys}/server.key"]
        server = self.outside.start("openvpn-server", ["openvpn", *options, "--push", "redirect-gateway def1"])
        server.wait_for("Initialization Sequence Completed", 30)
        parts = {"ca": "ca.crt", "cert": "client.crt", "key": "client.key"}
        inline = "".join(f"<{name}>\n{(keys / file).read_text()}</{name}>\n" for name, file in parts.items())
        profile = f"client\ndev tun\nremote {a.SERVER} {a.SERVER_PORT} udp\nremote-cert-tls server\nverb 3\n{inline}"
        machine.write("etc/openvpn/client/lab.conf", profile, 0o600)
        return server

    def _make_outside(self) -> None:
        """An access point with DHCP, the server's and a host's address behind it, all in one namespace."""
        for name in ("all", "default"):
            self.outside.sysctl(f"ipv6/conf/{name}/disable_ipv6", 0)
        self.outside.sysctl("ipv4/ip_forward", 1)
        self.outside.ip(
            "link add br0 type bridge",
            f"address add {a.AP}/24 broadcast + dev br0",
            f"address add {a.SERVER}/32 dev lo",
            f"address add {a.HOST}/32 dev lo",
            "link set br0 up",
        )
        dnsmasq = ["dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--log-facility=-"]
        dnsmasq += ["--no-hosts", "--no-resolv", "--pid-file=", "--interface=br0", "--bind-dynamic", "--no-ping"]
        dnsmasq += ["--except-interface=lo", "--dhcp-range=192.168.43.100,192.168.43.199,10m", "--dhcp-authoritative"]
        self.outside.start("dnsmasq", [*dnsmasq, f"--dhcp-leasefile={STORAGE}/leases", f"--address=/#/{a.HOST}"])


@dataclass(frozen=True)
class Case:
    """A case and what it shows."""

    name: str
    run: Callable[[Trial], None]
    text: str


CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Registers a function as a case; its docstring says what is shown."""

    def register(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        CASES[name] = Case(name, function, (function.__doc__ or "").strip().split("\n")[0])
        return function

    return register
