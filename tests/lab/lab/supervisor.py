"""A small service manager: starts one daemon again whenever it ends, and keeps the file descriptors it hands over.

It speaks the part of sd_notify(3) that the kill switch uses (READY, FDSTORE, FDNAME, FDSTOREREMOVE) and passes the kept
descriptors on as LISTEN_FDS, as systemd does with FileDescriptorStoreMax=; so restarts can be tried without systemd.

Run as a program of its own: `supervisor.py SOCKET [--store N] [--no-restart] -- COMMAND…`. Writes one JSON object a
line: {"event": "started" | "ready" | "stored" | "removed" | "ended", …}. Standard input: "start" starts the daemon if
it does not run; "restart on" and "restart off" say what to do when it ends; end of file ends both.
"""

import argparse
import array
import json
import os
import select
import signal
import socket
import sys

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START
_FAR_AWAY = 100  # where descriptors are parked while they are put in order


class Supervisor:
    """One daemon and its file descriptor store."""

    def __init__(self, notify_path: str, command: list[str], capacity: int, restart: bool) -> None:
        self._command = command
        self._capacity = capacity
        self._restart = restart
        self._notify_path = notify_path
        self._store: list[tuple[str, int]] = []
        self._daemon = 0
        self._buffer = b""
        self._poll = select.epoll()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.bind(notify_path)
        self._wake, wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serves until standard input closes."""
        for descriptor in (0, self._wake, self._notify.fileno()):
            self._poll.register(descriptor, select.EPOLLIN)
        self._start()
        try:
            self._serve()
        finally:
            self._stop()

    def _serve(self) -> None:
        open_input = True
        while open_input:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            # what the daemon said before it ended comes first: its descriptors must not be missed
            if self._notify.fileno() in ready:
                self._hear()
            for name, descriptor in list(self._store):
                if descriptor in ready:
                    self._forget(name, descriptor)
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if 0 in ready:
                open_input = self._obey()

    def _start(self) -> None:
        child = os.fork()
        if child == 0:
            self._become_daemon()
        self._daemon = child
        _say("started", pid=child, passed=[name for name, _ in self._store])

    def _become_daemon(self) -> None:
        """In the child: puts the kept descriptors where sd_listen_fds(3) expects them and executes the daemon."""
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(2, 1)
        environment = {**os.environ, "NOTIFY_SOCKET": self._notify_path}
        if self._store:
            parked = [os.dup2(descriptor, _FAR_AWAY + number) for number, (_, descriptor) in enumerate(self._store)]
            for number, descriptor in enumerate(parked):
                os.dup2(descriptor, _FIRST_PASSED + number)  # inheritable
                os.close(descriptor)
            environment |= {
                "LISTEN_FDS": str(len(self._store)),
                "LISTEN_FDNAMES": ":".join(name for name, _ in self._store),
                "LISTEN_PID": str(os.getpid()),
            }
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            os.execvpe(self._command[0], self._command, environment)
        except OSError as error:
            os.write(2, f"cannot execute {self._command[0]}: {error.strerror}\n".encode())
            os._exit(127)

    def _hear(self) -> None:
        """One message of the daemon, with the descriptors that came along."""
        size = array.array("i").itemsize
        data, control, _, _ = self._notify.recvmsg(4096, socket.CMSG_SPACE(64 * size))
        descriptors = array.array("i")
        for level, kind, payload in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(payload[: len(payload) - len(payload) % size])
        fields = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
        if fields.get("FDSTORE") == "1":
            self._keep(fields.get("FDNAME", "stored"), list(descriptors), watch=fields.get("FDPOLL") != "0")
        else:
            for descriptor in descriptors:  # e.g. BARRIER=1: closing it is the answer
                os.close(descriptor)
        if fields.get("FDSTOREREMOVE") == "1":
            self._remove(fields.get("FDNAME", "stored"))
        if fields.get("READY") == "1":
            _say("ready", status=fields.get("STATUS", ""))

    def _keep(self, name: str, descriptors: list[int], watch: bool) -> None:
        for descriptor in descriptors:
            if len(self._store) >= self._capacity or any(_same_file(descriptor, kept) for _, kept in self._store):
                os.close(descriptor)
                continue
            os.set_inheritable(descriptor, False)
            self._store.append((name, descriptor))
            if watch:
                self._watch(descriptor)
            _say("stored", name=name)

    def _watch(self, descriptor: int) -> None:
        """As systemd does: an error or hang-up on a kept descriptor removes it, unless it came with FDPOLL=0."""
        try:
            self._poll.register(descriptor, 0)
        except PermissionError:
            pass  # files cannot be watched, and have neither errors nor hang-ups

    def _remove(self, name: str) -> None:
        for kept_name, descriptor in list(self._store):
            if kept_name == name:
                self._forget(kept_name, descriptor)

    def _forget(self, name: str, descriptor: int) -> None:
        self._store.remove((name, descriptor))
        os.close(descriptor)
        _say("removed", name=name)

    def _reap(self) -> None:
        if not self._daemon:
            return
        child, status = os.waitpid(self._daemon, os.WNOHANG)
        if child == 0:
            return
        self._daemon = 0
        _say("ended", status=os.waitstatus_to_exitcode(status))
        if self._restart:
            self._start()

    def _obey(self) -> bool:
        """Commands from standard input; False at its end."""
        data = os.read(0, 4096)
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if line == b"start" and not self._daemon:
                self._start()
            elif line.startswith(b"restart "):
                self._restart = line == b"restart on"
        return bool(data)

    def _stop(self) -> None:
        if self._daemon:
            os.kill(self._daemon, signal.SIGTERM)
            os.waitpid(self._daemon, 0)


def _same_file(one: int, other: int) -> bool:
    """systemd drops duplicates in the same way (fstat)."""
    left, right = os.fstat(one), os.fstat(other)
    return (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino)


def _say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("socket")
    parser.add_argument("--store", type=int, default=16)
    parser.add_argument("--no-restart", action="store_true")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    Supervisor(arguments.socket, arguments.command, arguments.store, not arguments.no_restart).run()


if __name__ == "__main__":
    sys.exit(main())
