"""Makes system calls of a running program fail, with strace(1): no line of the program knows of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from .node import Node
from .sandbox import STORAGE
from .waiting import until


class Fault:
    """One kind of failure, while it lasts."""

    def __init__(self, calls: str) -> None:
        self.log = STORAGE / "log" / f"strace-{calls.replace(',', '-')}.log"

    @property
    def times(self) -> int:
        """How many calls have failed by it."""
        return self.log.read_text(errors="replace").count("(INJECTED)")


@contextmanager
def failing(node: Node, pid: int, calls: str, error: str, when: str) -> Iterator[Fault]:
    """Inside the block the `when`-th of these calls of process `pid` fails with `error` (3: the third, 1+: all)."""
    fault = Fault(calls)
    fault.log.write_text("")
    inject = f"{calls}:error={error}:when={when}"
    with node.entered():
        tracer = subprocess.Popen(
            ["strace", "-qq", "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={inject}", "-o", str(fault.log)],
            stderr=subprocess.DEVNULL,
        )
    until("strace has got hold of it", lambda: _traced(pid))
    try:
        yield fault
    finally:
        tracer.terminate()
        tracer.wait(10)


def _traced(pid: int) -> bool:
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)
