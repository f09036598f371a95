"""A logind that can do one thing: say PrepareForSleep on the laptop's bus, under logind's name.

It speaks just enough of the D-Bus protocol to own a name and to send a signal; no library is needed for that.
@source D-Bus specification, "Message Protocol"
"""

import socket
import struct
from pathlib import Path

from .laptop import BUS_POLICIES
from .node import Node
from .waiting import LabError

_NAME = "org.freedesktop.login1"
_POLICY = f"""\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy user="root"><allow own="{_NAME}"/></policy></busconfig>
"""
_CALL, _RETURN, _SIGNAL = 1, 2, 4
_PATH, _INTERFACE, _MEMBER, _DESTINATION, _SIGNATURE = 1, 2, 3, 6, 8


def allow() -> None:
    """Lets root have logind's name on the laptop's bus; to be called before the bus starts."""
    BUS_POLICIES.mkdir(exist_ok=True)
    (BUS_POLICIES / "login1.conf").write_text(_POLICY)


class Logind:
    """A connection to the bus that owns logind's name."""

    def __init__(self, node: Node) -> None:
        self._serial = 0
        with node.entered():
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(10)
        self._socket.connect("/run/dbus/system_bus_socket")
        self._socket.sendall(b"\0AUTH EXTERNAL 30\r\n")  # the uid 0, as text in hexadecimal
        if not self._socket.recv(256).startswith(b"OK"):
            raise LabError("the bus does not let the laboratory's logind in")
        self._socket.sendall(b"BEGIN\r\n")
        self._call("Hello", b"", "")
        self._call("RequestName", _string(_NAME) + _align(len(_string(_NAME)), 4) + struct.pack("<I", 0), "su")

    def prepare_for_sleep(self, going: bool) -> None:
        """The signal, before (True) and after (False) the machine sleeps."""
        fields = {_PATH: "/org/freedesktop/login1", _INTERFACE: f"{_NAME}.Manager", _MEMBER: "PrepareForSleep"}
        self._send(_SIGNAL, fields, struct.pack("<I", going), "b")

    def _call(self, member: str, body: bytes, signature: str) -> None:
        bus = "org.freedesktop.DBus"
        fields = {_PATH: "/org/freedesktop/DBus", _INTERFACE: bus, _MEMBER: member, _DESTINATION: bus}
        self._send(_CALL, fields, body, signature)
        answer = self._socket.recv(4096)
        if answer[1] not in (_RETURN, _SIGNAL):
            raise LabError(f"the bus refuses {member}: {answer!r}")

    def _send(self, kind: int, fields: dict[int, str], body: bytes, signature: str) -> None:
        self._serial += 1
        array = b""
        for code, text in {**fields, **({_SIGNATURE: signature} if signature else {})}.items():
            array += _align(len(array), 8) + struct.pack("<B", code)
            if code == _SIGNATURE:
                array += b"\x01g\0" + struct.pack("<B", len(text)) + text.encode() + b"\0"
            else:
                array += b"\x01" + (b"o" if code == _PATH else b"s") + b"\0" + _string(text)
        header = struct.pack("<cBBBIII", b"l", kind, 0, 1, len(body), self._serial, len(array)) + array
        self._socket.sendall(header + _align(len(header), 8) + body)


def _string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def _align(length: int, to: int) -> bytes:
    return b"\0" * (-length % to)
