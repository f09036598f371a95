"""What a policy names besides the tunnel: a local network, a service of the laptop, a LAN behind it."""

import ipaddress
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import probe

from lab import addresses as a
from lab.frames import Packet
from lab.node import Node
from lab.sandbox import STORAGE
from lab.topology import PYTHON
from lab.trial import Trial, case
from lab.waiting import LabError, until

from .leak_classes_common import Way, datagram, shown_closed, shown_open

_NAME_PORTS = {53, 137, 138, 139, 853, 5353, 5355}
_ROUTED = ("udp4-route", "udp6-route", "tcp4-route", "tcp6-route", "icmp4-route", "icmp6-route", "dns4-public-route")
_HOSTILE_PREFIX, _HOSTILE_ROUTER = "203.0.113.0/26", "203.0.113.33"
_LAN, _LAN_ROUTER, _LAN_ROUTER6 = "lan0", "10.7.0.1", "2001:db8:70::1"


def _serve(node: Node, port: int) -> None:
    """A page on `port`."""
    page = STORAGE / "page"
    page.mkdir(exist_ok=True)
    (page / "index.html").write_text("a page\n")
    node.start(f"httpd-{port}", ["busybox", "httpd", "-f", "-p", str(port), "-h", str(page)])
    until(f"{node.name} serves port {port}", lambda: f":{port} " in node.run("ss", "-Hltn"))


def _gets_page(node: Node, address: str, port: int) -> bool:
    with node.entered():
        caller = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with caller:
        caller.settimeout(2)
        try:
            caller.connect((address, port))
            caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"HTTP/1" in caller.recv(4096)
        except OSError:
            return False


def _answers(node: Node, address: str) -> bool:
    return node.attempt("ping", "-n", "-q", "-c", "1", "-W", "1", address).returncode == 0


def _is_neighbour(node: Node, address: str) -> bool:
    """Somebody on the link says that the address is there; asks by sending."""
    node.attempt("ping", "-n", "-q", "-c", "1", "-W", "0.2", address)
    return "lladdr" in node.attempt("ip", "neighbour", "show", address).stdout


# -- a local network -----------------------------------------------------------------------------------------------------


def _is_local(packet: Packet) -> bool:
    """What the policy laptop-lan names, said in other words."""
    target = ipaddress.ip_address(packet.destination)
    home = (ipaddress.ip_network("192.168.0.0/16"), ipaddress.ip_network("fe80::/10"))
    return any(target in network for network in home if network.version == target.version) and not (
        packet.protocol in (6, 17) and packet.ports[1] in _NAME_PORTS
    )


@contextmanager
def _hostile_lease(trial: Trial) -> Iterator[None]:
    """The access point turns hostile, and the laptop takes a lease of it by DHCP.

    The lease puts a public prefix on the link, of which a host of the internet is part (TunnelCrack, LocalNet), and
    brings routes for the rest (TunnelVision, option 121); proxy ARP answers for the host, as an attacker would.
    """
    ap, laptop = trial.lab.ap, trial.laptop.node
    ap.sysctl("ipv4/conf/wlan0/proxy_arp", 1)
    ap.sysctl("ipv4/neigh/wlan0/proxy_delay", 0)  # else it answers after up to 0.8 s, chosen at random
    ap.ip(f"address add {_HOSTILE_ROUTER}/26 dev wlan0", f"route add {a.HOST}/32 via 192.0.2.1")
    trial.lab.internet.ip(f"route add {_HOSTILE_PREFIX} via 192.0.2.2")
    routes = f"{a.PUBLIC_DNS}/32,{_HOSTILE_ROUTER},0.0.0.0/0,{_HOSTILE_ROUTER}"
    trial.lab.serve_addresses(
        "--dhcp-range=203.0.113.50,203.0.113.60,255.255.255.192,2m",
        f"--dhcp-option=option:classless-static-route,{routes}",
        f"--dhcp-leasefile={STORAGE}/hostile-leases",
    )
    trial.lab.take_lease()
    link = laptop.run("ip", "route", "show", "dev", a.LINK)
    trial.expect(
        _HOSTILE_PREFIX in link and a.PUBLIC_DNS in link, "the lease put a public prefix and a route on the link"
    )
    yield
    trial.lab.serve_addresses()
    ap.ip(f"address delete {_HOSTILE_ROUTER}/26 dev wlan0", f"route delete {a.HOST}/32 via 192.0.2.1")
    trial.lab.internet.ip(f"route delete {_HOSTILE_PREFIX} via 192.0.2.2")
    laptop.ip(f"route delete {a.PUBLIC_DNS}/32 dev {a.LINK}")
    trial.lab.take_lease()


def _hostile_ways(trial: Trial) -> list[Way]:
    """What plain programs send, on the way that the routes say: to the prefix on the link, and by option 121."""
    node = trial.laptop.node
    return [
        Way("localnet", datagram(node, "localnet", a.HOST)),
        Way("dhcp-route", datagram(node, "dhcp-route", a.PUBLIC_DNS)),
        Way("dhcp-route-dns", datagram(node, "dhcp-route-dns", a.PUBLIC_DNS, 53)),
    ]


def _control_hostile_lease(trial: Trial) -> None:
    """Without the kill switch the lease takes traffic out of a tunnel that stands."""
    client = trial.laptop.openvpn()
    ways = _hostile_ways(trial)
    route = trial.laptop.node.run("ip", "route", "get", a.HOST)
    trial.expect("dev tun0" in route, "control: before the lease the tunnel carries it")
    with _hostile_lease(trial):
        until(f"{a.HOST} is a neighbour on the link", lambda: _is_neighbour(trial.laptop.node, a.HOST))
        shown_open(trial, ways, "control, plain OpenVPN, hostile lease")
    client.kill()


@case("laptop-lan")
def laptop_lan(trial: Trial) -> None:
    """The local network can be used, but not for names; a public prefix that a hostile DHCP server hands out cannot."""
    trial.control()
    _control_hostile_lease(trial)
    _serve(trial.lab.ap, 631)
    _serve(trial.laptop.node, 8080)
    laptop = trial.lab.link_address()
    trial.expect(_gets_page(trial.lab.ap, laptop, 8080), "control: the access point reaches the laptop")
    trial.oracle.named = _is_local
    trial.lock("--policy", "laptop-lan")
    for state in ("locked", "protected"):
        with trial.no_leaks(state) as window:
            trial.expect(_gets_page(trial.laptop.node, a.AP, 631), "a page of the local network is read")
            trial.expect(_answers(trial.laptop.node, a.AP), "the local network answers")
        trial.expect(window.allowed["named"], "packets for the local network seen on the link")
        trial.expect(not _gets_page(trial.lab.ap, laptop, 8080), "the access point does not reach the laptop")
        with trial.no_leaks(f"{state}, every probe"), trial.storm():
            trial.for_seconds(trial.times(2, 20))
        with trial.no_leaks(f"{state}, a hostile lease is taken"), _hostile_lease(trial):
            shown_closed(trial, _hostile_ways(trial), f"{state}, hostile lease")
            with trial.storm(words=("udp4", "tcp4", "icmp4")):
                trial.for_seconds(trial.times(1, 10))
        if state == "locked":
            trial.laptop.connect()
    trial.laptop.wait_state("protected")
    trial.tunnel_works()


# -- a service of the laptop ---------------------------------------------------------------------------------------------


def _is_answer(packet: Packet) -> bool:
    """An answer of the named service: from its port, to the access point's network, and no connection request."""
    near = not packet.ipv6 and ipaddress.ip_address(packet.destination) in ipaddress.ip_network(a.AP_PREFIX)
    return near and packet.protocol == 6 and packet.ports[0] == 22 and packet.payload[13] & 0x12 != 0x02


def _write_policy(name: str, **more: object) -> None:
    """A policy of the administrator's: as laptop, and more."""
    policy = json.loads(Path("/usr/share/killswitch/policies/laptop.json").read_text())
    folder = Path("/etc/killswitch/policies")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**policy, "name": name, **more}))


@case("named-service")
def named_service(trial: Trial) -> None:
    """A service that the policy names is reached from the link, with its answers; another one is not."""
    trial.control()
    laptop = trial.lab.link_address()
    for port in (22, 23):
        _serve(trial.laptop.node, port)
        trial.expect(_gets_page(trial.lab.ap, laptop, port), f"control: port {port} is reached")
    service = {"links": [a.LINK], "protocol": "tcp", "port": 22, "from": [a.AP_PREFIX]}
    _write_policy("ssh", inbound=[service])
    trial.oracle.named = _is_answer
    trial.lock("--policy", "ssh")
    for state in ("locked", "protected"):
        with trial.no_leaks(state) as window:
            trial.expect(_gets_page(trial.lab.ap, laptop, 22), "port 22 is reached")
            trial.expect(not _gets_page(trial.lab.ap, laptop, 23), "port 23 is not")
        trial.expect(window.allowed["named"], "answers of the service seen on the link")
        trial.every_probe_refused(f"{state}, every probe")
        if state == "locked":
            trial.laptop.connect()
    trial.tunnel_works()


# -- a LAN behind the laptop ---------------------------------------------------------------------------------------------


def _lan_client(trial: Trial) -> Node:
    """A computer on a LAN whose router the laptop is; it has no address yet."""
    client = Node("client")
    trial.laptop.node.ip(
        f"link add {_LAN} type veth peer name eth0 netns client",
        f"address add {_LAN_ROUTER}/24 dev {_LAN}",
        f"address add {_LAN_ROUTER6}/64 dev {_LAN}",
        f"link set {_LAN} up",
    )
    client.sysctl("ipv6/conf/all/disable_ipv6", 0)
    client.sysctl("ipv6/conf/eth0/accept_dad", 0)
    client.sysctl("ipv6/conf/eth0/accept_ra", 1)
    client.sysctl("ipv6/conf/eth0/router_solicitation_delay", 0)
    trial.laptop.node.sysctl("ipv4/ip_forward", 1)
    # accept_ra 2: a router that still listens to the access point's advertisements
    trial.laptop.node.sysctl(f"ipv6/conf/{a.LINK}/accept_ra", 2)
    trial.laptop.node.sysctl("ipv6/conf/all/forwarding", 1)
    trial.laptop.node.start(
        "dnsmasq",
        [
            *("dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--log-facility=-", "--no-hosts"),
            *("--no-resolv", "--pid-file=", f"--interface={_LAN}", "--except-interface=lo", "--bind-dynamic"),
            *("--dhcp-range=10.7.0.100,10.7.0.199,2m", "--no-ping", f"--dhcp-leasefile={STORAGE}/lan-leases"),
            *("--enable-ra", "--dhcp-range=2001:db8:70::,ra-only", f"--ra-param={_LAN},high,10,1800"),
            f"--address=/{a.WHO}/{_LAN_ROUTER}",
        ],
    )
    return client


def _get_addresses(client: Node) -> None:
    """DHCP and router advertisements, as the client of a home router has it."""
    script = STORAGE / "lan-dhcp-script.sh"
    script.write_text(
        "#!/bin/sh\nset -eu\n[ $1 = bound ] || exit 0\n"
        'ip address replace "$ip/$mask" dev "$interface"\nip route replace default via "$router"\n'
    )
    script.chmod(0o755)
    client.ip("link set eth0 up")
    dhcp = client.start(
        "dhcp-client", ["busybox", "udhcpc", "-f", "-i", "eth0", "-s", str(script), "-t", "20", "-T", "1", "-A", "1"]
    )
    dhcp.wait_for("obtained", 15)
    until(
        "an IPv6 address from the router advertisement",
        lambda: "inet6" in client.run("ip", "-6", "address", "show", "dev", "eth0", "scope", "global"),
    )
    for family in ("-4", "-6"):
        until(f"a default route ({family})", lambda: client.run("ip", family, "route", "show", "default").strip())


def _ask(client: Node, name: str) -> str:
    """What the router says to a question for a name; empty if it does not answer."""
    with client.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.settimeout(2)
        try:
            sender.sendto(probe.dns_question(name), (_LAN_ROUTER, 53))
            return socket.inet_ntoa(sender.recv(512)[-4:])
        except OSError:
            return ""


def _probe_from(client: Node) -> None:
    client.run(*PYTHON, probe.__file__, "once", *_ROUTED)


@case("router")
def router(trial: Trial) -> None:
    """A computer behind the laptop has addresses and names from it, and reaches the internet by the tunnel alone."""
    trial.control()
    client = _lan_client(trial)
    _get_addresses(client)
    window = trial.capture.window()
    _probe_from(client)
    trial.capture.settle()
    missing = set(_ROUTED) - set(window.probes)
    if missing:
        raise LabError(f"control: these probes of the client were not seen: {', '.join(sorted(missing))}")
    trial.say(f"control: the laptop forwards for the client: {window.summary()}")
    trial.lock("--policy", "router")
    client.ip("address flush dev eth0", "link set eth0 down")
    with trial.no_leaks("client, locked"):
        _get_addresses(client)
        trial.expect(_ask(client, a.WHO) == _LAN_ROUTER, "the client has addresses and names from the laptop")
        _probe_from(client)
        trial.expect(not _answers(client, a.HOST) and not _answers(client, a.AP), "it reaches nothing else")
    openvpn = trial.laptop.connect()
    with trial.no_leaks("client, protected"):
        for host in (a.HOST, a.HOST6):
            until(f"{host} answers the client through the tunnel", lambda: _answers(client, host))
        trial.say("the client reaches the internet through the tunnel, over IPv4 and IPv6")
        trial.expect(not _answers(client, a.AP), "it does not reach the access point")
        _probe_from(client)
    with trial.no_leaks("client, OpenVPN killed"):
        openvpn.kill()
        _probe_from(client)
        trial.laptop.wait_state("blocked", "connecting")
        _probe_from(client)
        trial.expect(not _answers(client, a.HOST) and not _answers(client, a.HOST6), "nothing without the tunnel")
    trial.every_probe_refused("the laptop itself")
