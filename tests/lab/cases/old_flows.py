"""Flows that were open before the kill switch was enabled (leak class 7)."""

import socket
import threading
import time
from collections.abc import Callable

from lab import addresses as a
from lab.node import Process
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import payload

_PORT = 4600


class _Echo:
    """A host of the internet that repeats what it is told, on TCP."""

    def __init__(self, trial: Trial, host: str) -> None:
        with trial.lab.internet.entered():
            self._listener = socket.create_server((host, _PORT), family=_family(host))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._repeat, args=(connection,), daemon=True).start()

    def _repeat(self, connection: socket.socket) -> None:
        try:
            while word := connection.recv(4096):
                connection.send(word)
        except OSError:
            pass  # the other side has ended


class _Flow:
    """A program that has opened a connection and says something every few milliseconds, whatever happens."""

    def __init__(self, trial: Trial, name: str, host: str, kind: socket.SocketKind) -> None:
        self.name = name
        self.answers, self.errors = 0, 0
        with trial.laptop.node.entered():
            self._socket = socket.socket(_family(host), kind)
        self._socket.settimeout(0.05)
        self._socket.connect((host, _PORT if kind == socket.SOCK_STREAM else 7))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._over.wait(0.01):
            try:
                self._socket.send(payload(self.name))
            except OSError:
                self.errors += 1

    def _receive(self) -> None:
        while not self._over.is_set():
            try:
                if self._socket.recv(4096):
                    self.answers += 1
                else:
                    time.sleep(0.01)
            except OSError:
                time.sleep(0.005)

    def close(self) -> None:
        """The program ends."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _open_flows(trial: Trial, prefix: str) -> list[_Flow]:
    return [
        _Flow(trial, f"{prefix}-{name}", host, kind)
        for name, host, kind in (
            ("tcp4", a.HOST, socket.SOCK_STREAM),
            ("tcp6", a.HOST6, socket.SOCK_STREAM),
            ("udp4", a.HOST, socket.SOCK_DGRAM),
            ("udp6", a.HOST6, socket.SOCK_DGRAM),
        )
    ]


def _all_answer(flows: list[_Flow], what: str) -> None:
    before = {flow.name: flow.answers for flow in flows}
    until(what, lambda: all(flow.answers > before[flow.name] + 3 for flow in flows))


def _tracked(trial: Trial) -> int:
    return trial.laptop.node.attempt("conntrack", "-L").stdout.count(f"dst={a.HOST} ")


_TRACKING = """
table ip foreign {
  chain out {
    type filter hook output priority 0
    ct state new accept
  }
}
"""


def _until_enabled(trial: Trial, enable: Callable[[], object]) -> list[_Flow]:
    """Opens flows and enables the kill switch; returns when they are dead, with nothing on the wire since."""
    flows = _open_flows(trial, "old")
    _all_answer(flows, "the flows are answered")
    trial.expect(_tracked(trial) >= 2, "control: the flows are answered, connection tracking knows them")
    enable()
    with trial.no_leaks("enabled over open flows"):
        until("every program was told that its connection is gone", lambda: all(flow.errors for flow in flows))
        trial.for_seconds(1)
    trial.expect(_tracked(trial) == 0, "connection tracking has forgotten them")
    return flows


def _disabled_again(trial: Trial, flows: list[_Flow], ping: Process) -> None:
    """Nothing of the old flows resumes when the network is given back; new ones work."""
    before = {flow.name: flow.answers for flow in flows}
    window = trial.capture.window()
    trial.laptop.killswitch("disable")
    trial.lab.wait_for_internet()
    trial.for_seconds(2)  # retransmissions would come within this time
    new = _open_flows(trial, "new")
    _all_answer(new, "new flows are answered")
    for flow in new:
        flow.close()
    trial.capture.settle()
    old = {name: count for name, count in window.probes.items() if name.startswith("old-")}
    trial.expect(not old, f"nothing of the old flows is seen after disabling ({old or 'nothing'})")
    trial.expect(before == {flow.name: flow.answers for flow in flows}, "none of them was answered")
    trial.expect(sum(window.probes.values()), f"new flows are seen ({window.summary()})")
    for flow in flows:
        flow.close()
    trial.expect(ping.alive(), "ping has no connection: it goes on with new requests")


@case("old-flows")
def old_flows(trial: Trial) -> None:
    """TCP, UDP and ping from before: nothing more once enabled, and no connection resumes after disabling."""
    for host in (a.HOST, a.HOST6):
        _Echo(trial, host)
    trial.laptop.node.run("nft", "-f", "-", text=_TRACKING)
    ping = trial.laptop.node.start("ping", ["ping", "-n", "-q", "-i", "0.05", a.HOST])
    trial.laptop.start_daemon()

    def enable() -> None:
        trial.laptop.enable()
        trial.laptop.wait_state("blocked", "connecting")

    flows = _until_enabled(trial, enable)
    daemon = trial.laptop.daemon
    assert daemon is not None
    trial.expect("connections and" in daemon.log(), "the daemon has said how many it ended")
    _disabled_again(trial, flows, ping)

    daemon.stop()
    flows = _until_enabled(trial, lambda: trial.laptop.enable("--offline"))
    trial.laptop.killswitch("disable", "--offline")
    for flow in flows:
        flow.close()
