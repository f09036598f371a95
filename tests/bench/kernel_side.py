"""What the benchmark does to the kernel and sees of it: links that come and go, generations of the ruleset, packets on
the wire, and what the kernel counts about a process. Plain netlink, packet sockets and /proc, so that the clock stops
as near to the event as it can.
"""

import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

from lab.node import Node
from lab.waiting import LabError

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_NFNLGRP_NFTABLES, _RTNLGRP_LINK = 7, 1
_NFT_MSG_NEWGEN = 10 << 8 | 15  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN
_SO_RCVBUFFORCE, _BUFFER_BYTES = 33, 64 << 20

_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_ANY_LINK = struct.pack("=BxHiII", 0, 0, 0, 0, 0)

_SO_TIMESTAMPNS, _OUTGOING = 35, 4
_ETHERNET, _IPV4, _IPV6 = 14, 0x0800, 0x86DD
_CAPTURED = 128  # bytes of a frame: all headers up to the ports


class Watch:
    """Waits for one kind of notification of the kernel about a node."""

    def __init__(self, node: Node, protocol: int, group: int, kinds: frozenset[int]) -> None:
        self._kinds = kinds
        self._buffer = bytearray(1 << 16)
        with node.entered():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def next(self, seconds: float = 5.0) -> float:
        """Waits for the next one; the time (perf_counter) at which it was read."""
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            if self._poll.poll(100) and self._read():
                return time.perf_counter()
        raise LabError(f"the kernel did not report what was waited for within {seconds:g} s")

    def settle(self, quiet_milliseconds: int = 10) -> None:
        """Until nothing has been reported for a while."""
        while self._poll.poll(quiet_milliseconds):
            self._read()

    def _read(self) -> bool:
        """Reads until there is one of ours, or nothing more. What matters is told in a datagram of its own."""
        while True:
            try:
                self._socket.recv_into(self._buffer)
            except BlockingIOError:
                return False
            if struct.unpack_from("=H", self._buffer, 4)[0] in self._kinds:
                return True


def watch_commits(node: Node) -> Watch:
    """A new generation of the ruleset: a transaction of nf_tables is in force."""
    return Watch(node, _NETLINK_NETFILTER, _NFNLGRP_NFTABLES, frozenset({_NFT_MSG_NEWGEN}))


def watch_links(node: Node) -> Watch:
    """A link that came, changed or went."""
    return Watch(node, _NETLINK_ROUTE, _RTNLGRP_LINK, frozenset({_RTM_NEWLINK, _RTM_DELLINK}))


class Arrivals:
    """When packets of the laptop to one port reach the access point, as the kernel stamps them (CLOCK_REALTIME, ns)."""

    def __init__(self, node: Node, interface: str, ports: frozenset[int]) -> None:
        self._ports = ports
        self._seen: list[tuple[int, int]] = []
        self._changed = threading.Condition()
        with node.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.bind((interface, 3))  # ETH_P_ALL
        threading.Thread(target=self._read, daemon=True, name=f"arrivals at {interface}").start()

    def next(self, since: int, source_port: int | None = None, seconds: float = 5.0) -> int:
        """Waits for the first one after `since`, from `source_port` if that is given; when it came."""

        def find() -> int | None:
            wanted = (at for at, source in self._seen if at >= since and source_port in (None, source))
            return next(wanted, None)

        with self._changed:
            found = self._changed.wait_for(find, seconds)
        if found is None:
            raise LabError(f"nothing reached the access point within {seconds:g} s")
        return found

    def forget(self) -> None:
        """What came until now is of no interest any more."""
        with self._changed:
            self._seen.clear()

    def _read(self) -> None:
        while True:
            frame, extra, _, address = self._socket.recvmsg(_CAPTURED, 64)
            source, destination = _ports_of(frame)
            if address[2] == _OUTGOING or destination not in self._ports:
                continue
            seconds, nanoseconds = struct.unpack("=qq", extra[0][2])
            with self._changed:
                self._seen.append((seconds * 1_000_000_000 + nanoseconds, source))
                self._changed.notify_all()


def _ports_of(frame: bytes) -> tuple[int, int]:
    """Source and destination port of a TCP or UDP packet without extension headers; 0 of anything else."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IPV4:
        header, protocol = (frame[_ETHERNET] & 15) * 4, frame[_ETHERNET + 9]
    elif kind == _IPV6:
        header, protocol = 40, frame[_ETHERNET + 6]
    else:
        return 0, 0
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) or len(frame) < _ETHERNET + header + 4:
        return 0, 0
    source, destination = struct.unpack_from("!HH", frame, _ETHERNET + header)
    return source, destination


class LinkMaker:
    """Makes and removes links of a node; their other ends are in another node."""

    def __init__(self, node: Node, far: Node) -> None:
        with node.entered():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        with far.entered():
            self._far = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def add(self, name: str) -> None:
        """The link is there when this returns."""
        label = name.encode() + b"\0"
        peer = _ANY_LINK + _attribute(_IFLA_IFNAME, label) + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", self._far))
        kind = _attribute(_IFLA_INFO_KIND, b"veth")
        info = kind + _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, peer))
        body = _ANY_LINK + _attribute(_IFLA_IFNAME, label) + _attribute(_IFLA_LINKINFO, info)
        self._request(_RTM_NEWLINK, _REQUEST | _ACK | _CREATE | _EXCL, body)

    def remove(self, name: str) -> None:
        """The link is gone when this returns."""
        body = _ANY_LINK + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        self._request(_RTM_DELLINK, _REQUEST | _ACK, body)

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        error = struct.unpack_from("=i", self._socket.recv(4096), 16)[0]
        if error:
            raise LabError(f"the link of the benchmark: {os.strerror(-error)}")


def _attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute, padded."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def memory(pid: int) -> dict[str, int]:
    """Resident memory of a process in KiB, and what it is made of."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    values = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    shared = values["Shared_Clean"] + values["Shared_Dirty"]
    return {
        "resident": values["Rss"],
        "anonymous": values["Anonymous"],
        "file_shared": shared,
        "file_private": values["Rss"] - values["Anonymous"] - shared,
        "proportional": values["Pss"],
    }


def memory_by_file(pid: int) -> dict[str, int]:
    """Resident KiB of a process by what is mapped: a file, the heap, the stack."""
    sizes: dict[str, int] = {}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            name = Path(words[5]).name if len(words) > 5 else "anonymous"
        elif words[0] == "Rss:":
            sizes[name] = sizes.get(name, 0) + int(words[1])
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def wakeups(pid: int) -> int:
    """How often the threads of a process have gone to sleep and been woken."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        count += sum(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("voluntary"))
    return count


def processor_seconds(pid: int) -> float:
    """Time that a process has spent on a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor_nanoseconds(pid: int) -> int:
    """The same to the nanosecond, of a process with a single thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
