"""The client's profile, as a provider hands it out: one file with everything in it."""

from collections.abc import Sequence
from pathlib import Path

from . import addresses as a
from .sandbox import STORAGE

PROFILE = Path("/etc/openvpn/client/client.ovpn")
_REMOTES = tuple(f"{a.SERVER_NAME} {a.SERVER_PORT} {protocol}" for protocol in ("udp6", "udp"))


def write_profile(
    remotes: Sequence[str] = _REMOTES, options: Sequence[str] = (), path: Path = PROFILE, bind: bool = False
) -> Path:
    """Writes it; remotes as "HOST PORT PROTOCOL".

    @param options more lines
    @param bind whether the client may be told a local port (--lport)
    """
    keys = STORAGE / "pki"
    inline = {"ca": "ca.crt", "cert": "client.crt", "key": "client.key"}
    lines = ["client", "dev tun", *(f"remote {remote}" for remote in remotes)]
    lines += [] if bind else ["nobind"]
    lines += ["remote-cert-tls server", "server-poll-timeout 5", "connect-retry 1 2", "verb 3", "mute 20", *options]
    parts = "".join(f"<{name}>\n{(keys / file).read_text()}</{name}>\n" for name, file in inline.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n" + parts)
    return path
