"""The laptop as a user knows it: the kill switch's daemon and command, OpenVPN, a system bus, a resolver."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from probe import dns_question

from . import addresses as a
from .node import Process
from .profile import PROFILE, write_profile
from .sandbox import STORAGE
from .topology import HERE, PYTHON, Lab
from .waiting import PATIENCE, LabError, until

BUS_POLICIES = STORAGE / "bus.d"
"""Policy files of other services on the laptop's bus; to be put there before it starts."""
_LIFE = ("started", "ready", "ended")
_PROJECT = HERE.parent.parent
_FOLDERS = {
    "STATE_DIRECTORY": Path("/var/lib/killswitch"),
    "RUNTIME_DIRECTORY": Path("/run/killswitch"),
    "CONFIGURATION_DIRECTORY": Path("/etc/killswitch"),
}


class Daemon:
    """killswitchd below the laboratory's service manager."""

    def __init__(self, lab: Lab, binary: Path, restart: bool, store: int) -> None:
        self.events: list[dict[str, object]] = []
        self.log_file = STORAGE / "log" / "laptop-killswitchd.log"
        command = [*PYTHON, str(HERE / "lab" / "supervisor.py"), str(STORAGE / "notify"), "--store", str(store)]
        command += [] if restart else ["--no-restart"]
        environment = {**os.environ, **{name: str(folder) for name, folder in _FOLDERS.items()}}
        Path(STORAGE / "notify").unlink(missing_ok=True)
        with lab.laptop.entered(), self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--", str(binary)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        threading.Thread(target=self._listen, daemon=True, name="killswitchd events").start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def count(self, event: str) -> int:
        """How often something has happened to the daemon."""
        return sum(1 for item in self.events if item["event"] == event)

    def wait_ready(self, times: int = 1, seconds: float = 15) -> None:
        """Until it has said READY=1 for the n-th time."""

        def ready() -> bool:
            if self._process.poll() is not None or (self.count("ended") >= times and self.count("ready") < times):
                raise LabError(f"killswitchd ended before it was ready:\n{self.log()}")
            return self.count("ready") >= times

        until(f"killswitchd ready ({times})", ready, seconds)

    def is_ready(self) -> bool:
        """Whether the newest daemon has said READY=1, and has not ended since."""
        return next(item["event"] for item in reversed(self.events) if item["event"] in _LIFE) == "ready"

    @property
    def pid(self) -> int:
        """Of the newest daemon."""
        return int(str(next(item["pid"] for item in reversed(self.events) if item["event"] == "started")))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kills the daemon, not its service manager; returns when it is dead."""
        deaths = self.count("ended")
        os.kill(self.pid, number)
        until("killswitchd is dead", lambda: self.count("ended") > deaths)

    def command(self, line: str) -> None:
        """Tells the service manager something ("start", "restart off")."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def stored(self) -> list[str]:
        """Names of the descriptors in the store."""
        names: list[str] = []
        for item in self.events:
            if item["event"] == "stored":
                names.append(str(item["name"]))
            elif item["event"] == "removed":
                names.remove(str(item["name"]))
        return names

    def log(self) -> str:
        """All it has logged."""
        return self.log_file.read_text(errors="replace")

    def stop(self) -> None:
        """An orderly stop of the daemon and its service manager (which forgets its store)."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(15 * PATIENCE)


class Laptop:
    """What can be done on the laptop."""

    def __init__(self, lab: Lab, binaries: Path) -> None:
        self.lab = lab
        self.node = lab.laptop
        self._binaries = binaries
        self.daemon: Daemon | None = None
        _write_system_files()
        write_profile()

    # -- the kill switch -----------------------------------------------------------------------------------------

    def start_bus(self, *policies: Path) -> Process:
        """A system bus of the laptop's own: with the kill switch's policy, and those of other services."""
        Path("/run/dbus/system_bus_socket").unlink(missing_ok=True)
        config = STORAGE / "bus.conf"
        BUS_POLICIES.mkdir(exist_ok=True)
        files = (_PROJECT / "packaging" / "dbus" / "org.killswitch1.conf", *policies)
        includes = "\n".join(f"  <include>{file}</include>" for file in files)
        config.write_text(_BUS.format(policies=includes, others=BUS_POLICIES))
        bus = self.node.start("dbus-daemon", ["dbus-daemon", f"--config-file={config}", "--nofork"])
        until("the system bus is there", Path("/run/dbus/system_bus_socket").exists)
        return bus

    def start_daemon(self, restart: bool = False, store: int = 16) -> Daemon:
        """killswitchd, ready."""
        if not Path("/run/dbus/system_bus_socket").exists():
            self.start_bus()
        self.daemon = Daemon(self.lab, self.binary("killswitchd"), restart, store)
        self.daemon.wait_ready()
        return self.daemon

    def killswitch(self, *arguments: str, expect: Sequence[int] = (0,), seconds: float = 30) -> str:
        """Runs the command line tool; what it prints, on both streams."""
        done = self.node.attempt(str(self.binary("killswitch")), *arguments, seconds=seconds)
        output = done.stderr + done.stdout
        if done.returncode not in expect:
            raise LabError(f"'killswitch {' '.join(arguments)}' ended with {done.returncode}: {output.strip()}")
        return output

    def enable(self, *arguments: str, expect: Sequence[int] = (0,)) -> str:
        """killswitch enable --config PROFILE."""
        return self.killswitch("enable", "--config", str(PROFILE), *arguments, expect=expect)

    def status(self) -> dict[str, object]:
        """killswitch status --json."""
        done = self.node.attempt(str(self.binary("killswitch")), "status", "--json")
        if done.returncode not in (0, 3):
            raise LabError(f"'killswitch status' ended with {done.returncode}: {(done.stdout + done.stderr).strip()}")
        status: dict[str, object] = json.loads(done.stdout)
        return status

    def wait_state(self, *states: str, seconds: float = 30) -> dict[str, object]:
        """Until the status says one of these states."""

        def reached() -> dict[str, object] | None:
            status = self.status()
            last.append(f"{status['state']} {status.get('reasons')}")
            return status if status["state"] in states else None

        last: list[str] = []
        try:
            return until(f"status says {' or '.join(states)}", reached, seconds, step=0.1)
        except LabError as error:
            raise LabError(f"{error}; status said: {last[-1] if last else 'nothing'}") from None

    def program(self, name: str) -> str:
        """Where one of the project's programs is."""
        return str(self.binary(name))

    def binary(self, name: str) -> Path:
        """Where a program of ours is."""
        path = self._binaries / name
        if not path.exists():
            raise LabError(f"{path} is not there: build the project first (cmake --build)")
        return path

    # -- OpenVPN -------------------------------------------------------------------------------------------------

    def openvpn(self, *options: str) -> Process:
        """A plain OpenVPN client, as the profile says and no more; connected."""
        client = self.node.start("openvpn", ["openvpn", "--config", str(PROFILE), *options])
        client.wait_for("Initialization Sequence Completed", 30)
        return client

    def connect(self, *options: str, wait: bool = True) -> Process:
        """killswitch connect PROFILE; protected when it returns."""
        extra = ["--", *options] if options else []
        client = self.node.start("openvpn", [str(self.binary("killswitch")), "connect", str(PROFILE), *extra])
        if wait:
            client.wait_for("Initialization Sequence Completed", 40)
            self.wait_state("protected")
        return client

    # -- facts ---------------------------------------------------------------------------------------------------

    def resolve(self, name: str) -> set[str]:
        """What programs of the laptop get for a name, through /etc/resolv.conf; nothing if it does not resolve."""
        answer = self.node.attempt("getent", "ahostsv4", name, seconds=60).stdout
        return {line.split()[0] for line in answer.splitlines()}

    def ask(self, resolver: str, name: str) -> set[str]:
        """What one resolver says to a question for an IPv4 address; nothing if it does not answer."""
        with self.node.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        question = dns_question(name)
        with sender:
            sender.settimeout(2)
            try:
                sender.sendto(question, (resolver, 53))
                answer = sender.recv(512)
            except OSError:
                return set()
        # one answer record: pointer to the name, type, class, time to live, length, and the address at the end
        return {socket.inet_ntoa(answer[-4:])} if answer[6:8] == b"\0\1" else set()

    def tables(self) -> list[str]:
        """nft list tables."""
        return self.node.run("nft", "list", "tables").split("\n")[:-1]

    def has_tunnel(self, name: str = "tun0") -> bool:
        """Whether the interface is there."""
        return Path("/sys/class/net", name).exists()


def _write_system_files() -> None:
    """Files of the laptop's system: how names are resolved, who exists, and what an installation would bring."""
    for folder in _FOLDERS.values():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    Path("/etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    Path("/etc/hosts").write_text("127.0.0.1 localhost laptop\n::1 localhost\n")
    for prefix in (Path("/usr"), Path("/usr/local")):  # wherever this build would be installed
        _install_data(prefix / "share" / "killswitch")


def _install_data(shared: Path) -> None:
    """The policies and the options for OpenVPN."""
    (shared / "policies").mkdir(parents=True, exist_ok=True)
    for source in _PROJECT.glob("policies/*.json"):
        (shared / "policies" / source.name).write_bytes(source.read_bytes())
    snippet = _PROJECT / "packaging" / "openvpn" / "killswitch.conf"
    (shared / "openvpn.conf").write_bytes(snippet.read_bytes())


_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
{policies}
  <includedir>{others}</includedir>
</busconfig>
"""
"""As Debian's system bus: nothing is allowed but what the kill switch's own policy file says, and those of the services
that a case brings along."""
