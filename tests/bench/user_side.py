"""Programs that talk to the daemon in the benchmark: an OpenVPN that says what was recorded of a real one, a real one
whose lines are timed, and a D-Bus client.
"""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from lab.node import Node
from lab.waiting import LabError

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_TRANSCRIPT = Path(__file__).resolve().parent.parent / "data" / "management" / "connect-dual-stack.txt"


class ScriptedOpenVpn:
    """Connects to the daemon as OpenVPN does, has a tun interface, and announces it as often as one likes."""

    def __init__(self, node: Node) -> None:
        with node.entered():
            self._tunnel = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self._tunnel, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
        node.ip(
            "link set tun0 up",
            "address add 192.168.255.2/24 dev tun0",
            "address add fd00:0:0:feed::1000/64 dev tun0 nodad",
        )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect("/run/killswitch/openvpn.sock")
        spoken = [line[11:] for line in _TRANSCRIPT.read_text().splitlines() if line[9:10] == ">"]
        announcement = [line for line in spoken if line.startswith(">UPDOWN:")]
        end = announcement.index(">UPDOWN:ENV,END") + 1
        self._up = _lines(announcement[:end])
        self._down = _lines([">UPDOWN:DOWN", *announcement[1:end]])
        self._socket.send(_lines([spoken[0], ">STATE:1795400629,CONNECTED,SUCCESS,,,,,,"]))

    def announce_up(self) -> None:
        """>UPDOWN:UP with its environment."""
        self._say(self._up)

    def announce_down(self) -> None:
        """>UPDOWN:DOWN with its environment."""
        self._say(self._down)

    def close(self) -> None:
        """OpenVPN and its interface are gone."""
        self._socket.close()
        os.close(self._tunnel)

    def _say(self, text: bytes) -> None:
        self._socket.setblocking(False)
        try:
            while self._socket.recv(65536):  # the daemon's commands are not obeyed, but they are taken
                pass
        except BlockingIOError:
            pass
        self._socket.setblocking(True)
        self._socket.sendall(text)


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


class ResolvConf:
    """/etc/resolv.conf, as a program that reads it again and again sees it."""

    def __init__(self, resolver: str) -> None:
        """@param resolver the only one that it should name"""
        self._path = "/etc/resolv.conf"
        self._resolver = resolver.encode()

    def is_right(self) -> bool:
        """Whether it names the resolver and no other."""
        try:
            with open(self._path, "rb") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return False
        return [line[11:] for line in lines if line.startswith(b"nameserver ")] == [self._resolver]

    def until_right(self, seconds: float = 5.0) -> None:
        """Reads it until it is."""
        deadline = time.perf_counter() + seconds
        while not self.is_right():
            if time.perf_counter() > deadline:
                raise LabError("resolv.conf does not name the tunnel's resolver")

    def overwrite(self, resolver: str) -> None:
        """What another program does to it."""
        beside = self._path + ".other"
        with open(beside, "w", encoding="ascii") as file:
            file.write(f"nameserver {resolver}\n")
        os.rename(beside, self._path)


class BusClient:
    """As much of D-Bus as one call needs, so that what is measured is the daemon and the bus, not a library."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect("/run/dbus/system_bus_socket")
        self._reader = self._socket.makefile("rb")
        self._serial = 0
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n")
        answer = self._reader.readline()
        if not answer.startswith(b"OK "):
            raise ConnectionError(f"the bus does not let us in: {answer!r}")
        self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")

    def get_status(self) -> bytes:
        """org.killswitch1.Manager.GetStatus; the body of the answer."""
        return self.call("org.killswitch1", "/org/killswitch1", "org.killswitch1.Manager", "GetStatus")

    def call(self, destination: str, path: str, interface: str, member: str, argument: str | None = None) -> bytes:
        """Calls a method with at most one argument and waits for its return; the body as it came."""
        self._serial += 1
        fields = b""
        for code, kind, value in ((1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", destination)):
            fields += bytes(-len(fields) % 8) + struct.pack("<BBcxI", code, 1, kind, len(value))
            fields += value.encode() + b"\0"
        sent = b""
        if argument is not None:
            fields += bytes(-len(fields) % 8) + struct.pack("<BBcxBcx", 8, 1, b"g", 1, b"s")
            sent = struct.pack("<I", len(argument)) + argument.encode() + b"\0"
        header = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(sent), self._serial, len(fields)) + fields
        self._socket.sendall(header + bytes(-len(header) % 8) + sent)
        while True:
            answer, reply_to, body = self.read_message()
            if reply_to == self._serial:
                if answer != 2:
                    raise ConnectionError(f"{member} was answered by an error: {body!r}")
                return body

    def ping(self) -> None:
        """org.freedesktop.DBus.GetId: what a question to the bus alone costs."""
        self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId")

    def read_message(self) -> tuple[int, int, bytes]:
        """Type, serial that is answered (0: none) and body of the next message."""
        start = self._reader.read(16)
        body_length, _, fields_length = struct.unpack_from("<III", start, 4)
        fields = self._reader.read(fields_length + -fields_length % 8)
        body = self._reader.read(body_length)
        # A header field is a code, the signature "u" and the value; REPLY_SERIAL has code 5.
        at = fields.find(b"\x05\x01u\x00")
        return start[1], struct.unpack_from("<I", fields, at + 4)[0] if at >= 0 else 0, body


class StateWatch:
    """When the daemon announced which state: the time (CLOCK_REALTIME, ns) at which its signal was read."""

    _RULE = "type='signal',interface='org.killswitch1.Manager',member='StatusChanged'"

    def __init__(self) -> None:
        self._states: list[tuple[int, str]] = []
        self._changed = threading.Condition()
        self._bus = BusClient()
        self._bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", self._RULE)
        threading.Thread(target=self._read, daemon=True, name="announced states").start()

    def next(self, state: str, since: int, seconds: float = 20.0) -> int:
        """Waits until `state` is announced after `since`; when that was."""

        def find() -> int | None:
            return next((at for at, one in self._states if one == state and at >= since), None)

        with self._changed:
            found = self._changed.wait_for(find, seconds)
            if found is None:
                raise LabError(f"the daemon did not announce '{state}' within {seconds:g} s: {self._states[-3:]}")
        return found

    def _read(self) -> None:
        while True:
            kind, _, body = self._bus.read_message()
            at = time.time_ns()
            if kind == 4 and body[4:5] == b"{":  # a string: length, text, NUL
                with self._changed:
                    self._states.append((at, json.loads(body[4:-1])["state"]))
                    self._changed.notify_all()


class TimedProgram:
    """A program that runs in a node, and when (CLOCK_REALTIME, ns) it printed what."""

    def __init__(self, node: Node, command: Sequence[str]) -> None:
        self._lines: list[tuple[int, str]] = []
        self._changed = threading.Condition()
        with node.entered():
            self.started = time.time_ns()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        self._thread = threading.Thread(target=self._read, daemon=True, name=command[0])
        self._thread.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def when(self, text: str, seconds: float = 30.0) -> int:
        """Waits until it has printed `text`; when that was read."""

        def find() -> int | None:
            return next((at for at, line in self._lines if text in line), None)

        with self._changed:
            found = self._changed.wait_for(find, seconds)
            if found is None:
                said = "".join(line for _, line in self._lines)
                raise LabError(f"'{text}' was not printed within {seconds:g} s:\n{said}")
        return found

    def end(self) -> None:
        """Asks it to end, and returns when it has."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self._thread.join(20)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                at = time.time_ns()
                with self._changed:
                    self._lines.append((at, line.decode(errors="replace")))
                    self._changed.notify_all()
