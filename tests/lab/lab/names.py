"""Which server is asked for names: questions with names of their own, looked for in the logs of both servers."""

import itertools
from collections.abc import Callable

from .topology import Lab
from .waiting import LabError, until

_numbers = itertools.count(1)


class Names:
    """Asks for names and looks who was asked."""

    def __init__(self, lab: Lab, ask: Callable[[str], object]) -> None:
        """@param ask has the laptop resolve a name, as a program does, and comes back when it did or could not"""
        self._lab = lab
        self._ask = ask

    def asked(self, suffix: str = "example.test") -> set[str]:
        """One new question; who saw it: "access point", "tunnel"."""
        name = f"question-{next(_numbers)}.{suffix}"
        self._ask(name)
        return self.seen(name)

    def seen(self, name: str) -> set[str]:
        """Which servers have seen a question for `name` so far."""
        servers = {"access point": self._lab.ap_dns, "tunnel": self._lab.tunnel_dns}
        return {where for where, server in servers.items() if server and f"] {name} from" in server.log()}

    def expect(self, servers: set[str], what: str, suffix: str = "example.test", times: int = 3) -> str:
        """Several new questions, each seen by exactly these servers."""
        for _ in range(times):
            found = self.asked(suffix)
            if found != servers:
                raise LabError(f"{what}: the question was seen by {found or 'nobody'}, not by {servers or 'nobody'}")
        return f"{what}: {times} questions, all seen by {' and '.join(sorted(servers)) or 'nobody'} alone"

    def wait(self, servers: set[str], what: str, suffix: str = "example.test") -> None:
        """Until a new question is seen by exactly these servers; none may reach the access point meanwhile."""

        def arrived() -> bool:
            found = self.asked(suffix)
            if "access point" in found - servers:
                raise LabError(f"{what}: a question was seen by the access point")
            return found == servers

        until(f"{what}: a question is seen by {servers or 'nobody'}", arrived, 60)
