"""The laboratory itself: four nodes, the links between them, and the services that run there.

    laptop (wlo1, DHCP + SLAAC) ── ap (192.168.43.1) ── internet (203.0.113.7, …) ── vpn (198.51.100.49)

Every router knows the way back to every prefix, so that a packet that leaks really arrives somewhere.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from . import addresses as a
from . import kernel, openvpn_server, pki
from .node import Node, Process
from .sandbox import STORAGE
from .waiting import LabError, until

HERE = Path(__file__).resolve().parent.parent
_RESOLVERS = (f"dhcp-option DNS {a.TUNNEL_DNS}",)
PYTHON = [sys.executable, "-I", "-B"]


class Lab:
    """A running laboratory. There is nothing to close: it goes with its process."""

    def __init__(self, ipv6: bool = True) -> None:
        self.ipv6 = ipv6
        self.vpn_server: Process | None = None
        self.ap_dns: Process | None = None
        self.tunnel_dns: Process | None = None
        keys = threading.Thread(target=pki.make, args=(STORAGE / "pki",))
        keys.start()
        self.internet, self.ap, self.vpn, self.laptop = (Node(name) for name in ("internet", "ap", "vpn", "laptop"))
        with self.laptop.entered():
            kernel.mount("sysfs", "/sys", "sysfs")
        self._connect()
        self._start_internet()
        self.serve_addresses()
        keys.join()
        self.start_vpn_server()
        self._bring_up_laptop()

    # -- links ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Makes the links and the routes."""
        for node in (self.internet, self.ap, self.vpn, self.laptop):
            node.sysctl("ipv6/conf/all/disable_ipv6", 0)
            node.sysctl("ipv6/conf/default/disable_ipv6", 0)
            node.sysctl("ipv6/conf/default/dad_transmits", 0)
            node.sysctl("ipv6/conf/default/accept_dad", 0)
        for node in (self.internet, self.ap, self.vpn):
            node.sysctl("ipv4/ip_forward", 1)
            node.sysctl("ipv6/conf/all/forwarding", 1)
        self.internet.ip(
            "link add ap0 type veth peer name wan0 netns ap",
            "link add vpn0 type veth peer name eth0 netns vpn",
            f"address add {a.HOST}/32 dev lo",
            f"address add {a.PUBLIC_DNS}/32 dev lo",
            f"address add {a.ELSEWHERE}/32 dev lo",
            f"address add {a.HOST6}/128 dev lo",
            f"address add {a.PUBLIC_DNS6}/128 dev lo",
            "address add 192.0.2.1/30 dev ap0",
            "address add 2001:db8:f::1/64 dev ap0",
            "address add 198.51.100.1/24 dev vpn0",
            "address add 2001:db8:b700::1/64 dev vpn0",
            "link set ap0 up",
            "link set vpn0 up",
            f"route add {a.AP_PREFIX} via 192.0.2.2",
            f"route add {a.TUNNEL_PREFIX} via {a.SERVER}",
        )
        self.ap.ip(
            f"link add wlan0 address {a.AP_MAC} type veth peer name {a.LINK} address {a.LAPTOP_MAC} netns laptop",
            f"address add {a.AP}/24 broadcast + dev wlan0",
            "address add 192.0.2.2/30 dev wan0",
            "address add 2001:db8:f::2/64 dev wan0",
            "link set wan0 up",
            "route add default via 192.0.2.1",
            "route add default via 2001:db8:f::1",
        )
        self.vpn.ip(
            f"address add {a.SERVER}/24 dev eth0",
            f"address add {a.SECOND_SERVER}/24 dev eth0",
            f"address add {a.SERVER6}/64 dev eth0",
            f"address add {a.SECOND_SERVER6}/64 dev eth0",
            "link set eth0 up",
            "route add default via 198.51.100.1",
            "route add default via 2001:db8:b700::1",
        )
        self.internet.ip(
            f"route add {a.AP6_PREFIX} via 2001:db8:f::2", f"route add {a.TUNNEL6_PREFIX} via {a.SERVER6}"
        )
        if self.ipv6:
            self.ap.ip(f"address add {a.AP6}/64 dev wlan0")
        self.ap.ip("link set wlan0 up")

    # -- services ------------------------------------------------------------------------------------------------

    def _start_internet(self) -> None:
        hosts = self.internet.start("hosts", [*PYTHON, str(HERE / "hosts.py")])
        hosts.wait_for("ready")

    def serve_addresses(self, *pool: str, prefix6: str = a.AP6_PREFIX, server: Sequence[str] = (a.SERVER, a.SERVER6)) -> None:
        """DHCP, DNS and (with IPv6) router advertisements, all from one dnsmasq of the access point, started anew.

        @param pool dnsmasq's options about the addresses that it hands out, and what it tells with them
        @param prefix6 what it advertises
        @param server what it answers to questions for the VPN server's name
        """
        if self.ap_dns is not None:
            self.ap_dns.kill()
        network = prefix6.split("/")[0]
        advertise = ["--enable-ra", f"--dhcp-range={network},ra-only", "--ra-param=wlan0,high,10,1800"]
        self.ap_dns = self._dnsmasq(
            self.ap,
            "wlan0",
            *(pool or ("--dhcp-range=192.168.43.100,192.168.43.199,2m", f"--dhcp-leasefile={STORAGE}/leases")),
            "--dhcp-authoritative",
            "--no-ping",
            *(advertise if self.ipv6 else []),
            *(f"--host-record={a.SERVER_NAME},{address}" for address in server),
            f"--address=/{a.WHO}/{a.WHO_AP}",
            f"--address=/{a.NOWHERE}/",
        )

    def become_other_network(self) -> None:
        """While the laptop's link is down the access point becomes another one, with other prefixes; the way back to
        the old ones is gone."""
        self.ap.ip("address flush dev wlan0 scope global", f"address add {a.OTHER_AP}/24 broadcast + dev wlan0")
        self.internet.ip(f"route del {a.AP_PREFIX}", f"route add {a.OTHER_AP_PREFIX} via 192.0.2.2")
        if self.ipv6:
            self.ap.ip(f"address add {a.OTHER_AP6}/64 dev wlan0 nodad")
            self.internet.ip(f"route del {a.AP6_PREFIX}", f"route add {a.OTHER_AP6_PREFIX} via 2001:db8:f::2")
        leases = f"--dhcp-leasefile={STORAGE}/other-leases"
        self.serve_addresses("--dhcp-range=192.168.44.100,192.168.44.199,2m", leases, prefix6=a.OTHER_AP6_PREFIX)

    def _dnsmasq(self, node: Node, interface: str, *options: str) -> Process:
        return node.start(
            "dnsmasq",
            [
                *("dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--log-facility=-"),
                *("--no-hosts", "--no-resolv", "--pid-file=", f"--interface={interface}", "--except-interface=lo"),
                *("--bind-dynamic", "--log-queries", f"--address=/#/{a.HOST}", f"--address=/#/{a.HOST6}", *options),
            ],
        )

    def start_vpn_server(
        self, tunnel6: bool = True, resolvers: Sequence[str] = _RESOLVERS, protocol: str = "udp", port: int = a.SERVER_PORT
    ) -> None:
        """A dual-stack OpenVPN server, and the DNS server inside its tunnel.

        @param tunnel6 whether the tunnel carries IPv6 as well
        @param resolvers the options with which resolvers are pushed
        @param protocol "udp" or "tcp"
        """
        self.vpn_server = openvpn_server.start(self.vpn, openvpn_server.Settings(protocol, port, tunnel6, tuple(resolvers)))
        if self.tunnel_dns is None:  # it stays when the server goes, and follows the interface
            self.tunnel_dns = self._dnsmasq(self.vpn, "tun0", f"--address=/{a.WHO}/{a.WHO_TUNNEL}")

    def stop_vpn_server(self) -> None:
        """The server is gone at once, without a word to its clients."""
        if self.vpn_server is None:
            raise LabError("the VPN server does not run")
        self.vpn_server.kill()
        self.vpn_server = None

    # -- the laptop ----------------------------------------------------------------------------------------------

    def _bring_up_laptop(self) -> None:
        """The laptop gets an address by DHCP and one from the router advertisements."""
        for name, value in (("accept_ra", 1), ("autoconf", 1), ("router_solicitation_delay", 0), ("use_tempaddr", 0)):
            self.laptop.sysctl(f"ipv6/conf/{a.LINK}/{name}", value)
        self.bring_link_up()
        self.wait_for_internet()

    def bring_link_up(self) -> None:
        """The link comes up and gets its addresses."""
        self.laptop.ip(f"link set {a.LINK} up")
        self._start_dhcp_client()
        self._wait_for_addresses()

    def take_link_down(self) -> None:
        """The link goes down and loses its addresses, as before a boot."""
        self.dhcp_client.kill()
        self.laptop.ip(f"address flush dev {a.LINK}", f"link set {a.LINK} down")

    def _start_dhcp_client(self) -> None:
        """udhcpc, as long as the link is up."""
        script = HERE / "dhcp-script.sh"
        command = ["busybox", "udhcpc", "-f", "-i", a.LINK, "-s", str(script), "-t", "20", "-T", "1", "-A", "1"]
        command += ["-O", "staticroutes"]  # option 121, which every desktop asks for
        self.dhcp_client = self.laptop.start("dhcp-client", command)

    def _wait_for_addresses(self) -> None:
        """Until the laptop is on the net."""
        self.dhcp_client.wait_for("event bound")
        if self.ipv6:
            until("an IPv6 address from the router advertisement", self.link_address6)
            until("an IPv6 default route", lambda: self.laptop.run("ip", "-6", "route", "show", "default").strip())

    def wait_for_internet(self) -> None:
        """Until the hosts of the internet answer, so that all neighbours on the way know each other."""
        for host in (a.HOST, a.HOST6) if self.ipv6 else (a.HOST,):
            ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", host)
            until(f"{host} answers", lambda: self.laptop.attempt(*ping).returncode == 0)

    def renew_lease(self) -> None:
        """Has the DHCP client renew its lease and waits for the new one."""
        before = self.dhcp_client.log().count("event renew")
        os.kill(self.dhcp_client.pid, signal.SIGUSR1)
        until("the DHCP lease is renewed", lambda: self.dhcp_client.log().count("event renew") > before)

    def take_lease(self) -> None:
        """The DHCP client begins anew, as when the laptop roams: its lease is what the access point hands out now."""
        self.dhcp_client.kill()
        self._start_dhcp_client()
        self.dhcp_client.wait_for("event bound", 20)

    def link_address(self) -> str:
        """The laptop's IPv4 address on the link, or nothing."""
        return self._address("-4")

    def link_address6(self) -> str:
        """The laptop's global IPv6 address on the link, or nothing."""
        return self._address("-6")

    def _address(self, family: str) -> str:
        words = self.laptop.run("ip", "-brief", family, "address", "show", "dev", a.LINK, "scope", "global").split()
        return words[2].split("/")[0] if len(words) > 2 else ""
