"""OpenVPN servers of the laboratory: the VPN server's own, and others that a case starts elsewhere."""

from dataclasses import dataclass

from . import addresses as a
from .node import Node, Process
from .sandbox import STORAGE

_DNS_PORT = 53


@dataclass(frozen=True)
class Settings:
    """What one server does. With `redirect` its clients send everything through its tunnel."""

    protocol: str = "udp"
    port: int = a.SERVER_PORT
    tunnel6: bool = True
    resolvers: tuple[str, ...] = ()
    device: str = "tun0"
    prefix: str = a.TUNNEL_PREFIX
    redirect: bool = True


def start(node: Node, settings: Settings) -> Process:
    """A server that listens on both families; ready when it returns."""
    profile = STORAGE / f"server-{node.name}-{settings.device}.conf"
    profile.write_text(_render(settings))
    server = node.start("openvpn-server", ["openvpn", "--config", str(profile)])
    server.wait_for("Initialization Sequence Completed")
    return server


def _render(settings: Settings) -> str:
    keys = STORAGE / "pki"
    lines = [f"dev {settings.device}", "dev-type tun", f"port {settings.port}"]
    if settings.port == _DNS_PORT:  # beside the DNS server in the tunnel, which has the port on its own addresses
        lines += [f"local {a.SERVER}", f"proto {settings.protocol}", "explicit-exit-notify 0"]
    elif settings.protocol == "udp":
        lines += ["proto udp6", "multihome", "explicit-exit-notify 0"]
    else:
        lines += ["proto tcp6-server", "tcp-nodelay"]
    lines += ["topology subnet", f"server {settings.prefix.split('/')[0]} 255.255.255.0"]
    if settings.tunnel6:
        lines.append(f"server-ipv6 {a.TUNNEL6_PREFIX}")
    if settings.redirect:
        lines.append(f'push "redirect-gateway def1{" ipv6" if settings.tunnel6 else ""}"')
    lines += [f'push "{option}"' for option in settings.resolvers]
    lines += ["keepalive 1 5", "dh none", "disable-dco", "verb 3"]
    lines += [f"ca {keys}/ca.crt", f"cert {keys}/server.crt", f"key {keys}/server.key"]
    return "\n".join(lines) + "\n"
