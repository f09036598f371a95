"""`killswitch test`: what it says about this laptop is what the access point sees."""

import json

from lab import addresses as a
from lab.capture import Window
from lab.trial import Trial, case
from lab.waiting import LabError

_FRAMES = {"packet", "packet-dgram", "packet-bypass", "packet-unknown", "packet-vlan"}
_WITHOUT_LOCK = _FRAMES | {
    *("udp", "tcp", "icmp", "device-udp", "device-tcp", "unicast-if", "pktinfo", "mark", "lan"),
    *("dns-gateway", "dns-gateway-tcp", "dns-public", "dns-public-tcp", "dot", "mdns", "llmnr", "netbios", "ssdp"),
    *("broadcast", "header", "sctp", "protocol", "fragments"),
}
_SERVER = {"server-port", "server-protocol", "server-icmp", "server-user", "server-packet"}


class _Answer:
    """What one run of the command said."""

    def __init__(self, trial: Trial, expect: int) -> None:
        output = trial.laptop.killswitch("test", "--json", expect=(expect,))
        document = json.loads(output)
        self.state = document["state"]
        self.links = document["links"]
        self.results = document["results"]
        if document["leaked"] != len(self.having("leaked", count=True)) or document["lost_frames"]:
            raise LabError(f"the answer does not add up: {output}")

    def having(self, verdict: str, count: bool = False) -> list[str]:
        """Classes with this verdict; each once, unless every result is to be counted."""
        found = [result["class"] for result in self.results if result["verdict"] == verdict]
        return found if count else sorted(set(found))

    def tried(self) -> set[str]:
        """Classes that were tried in every family in which they exist."""
        return {result["class"] for result in self.results} - set(self.having("not_applicable"))


def _seen(window: Window) -> str:
    return f"the access point saw {window.leaks} frames: {window.summary()}"


def _without_lock(trial: Trial) -> None:
    window = trial.capture.window()
    answer = _Answer(trial, expect=1)
    trial.capture.settle()
    trial.expect(answer.state == "disabled" and answer.links == [a.LINK], "it knows the state and the link")
    missing = _WITHOUT_LOCK - set(answer.having("leaked"))
    if missing or answer.having("stopped"):
        raise LabError(f"not reported: {sorted(missing)}; stopped: {answer.having('stopped')}; {answer.results}")
    leaked = len(answer.having("leaked", count=True))
    trial.expect(window.leaks >= leaked, f"no kill switch: {leaked} ways out leak, and {_seen(window)}")
    kinds = {"dns IPv4", "dns IPv6", "multicast IPv4", "multicast IPv6", "link layer", "sctp IPv4", "icmp IPv4"}
    trial.expect(kinds <= set(window.leaked), f"each of {', '.join(sorted(kinds))} reached the access point")


def _nothing_leaves(trial: Trial, what: str, states: tuple[str, ...], tried: set[str]) -> None:
    with trial.no_leaks(what):
        answer = _Answer(trial, expect=0)
    trial.expect(answer.state in states, f"{what}: it says '{answer.state}'")
    missing = tried - answer.tried()
    if missing:
        reasons = [result for result in answer.results if result["class"] in missing]
        raise LabError(f"{what}: these classes were not tried everywhere: {sorted(missing)}: {reasons}")
    trial.say(f"{what}: {len(answer.results)} ways out, none leaks")


def _table_broken(trial: Trial) -> None:
    """Without an owner the tables are anybody's: the one below all sockets is deleted."""
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    trial.laptop.node.run("nft", "delete", "table", "netdev", "killswitch")
    window = trial.capture.window()
    answer = _Answer(trial, expect=1)
    trial.capture.settle()
    leaked = set(answer.having("leaked"))
    trial.expect(leaked >= _FRAMES, f"netdev table deleted: packet sockets are reported ({', '.join(sorted(leaked))})")
    trial.expect(leaked <= _FRAMES | {"server-packet"}, "and nothing else is")
    trial.expect(window.leaks >= len(answer.having("leaked", count=True)), _seen(window))


@case("self-test")
def self_test(trial: Trial) -> None:
    """`killswitch test` says "leaked" without the lock and with a broken one, "stopped" with it; as is seen outside."""
    _without_lock(trial)
    trial.lock(restart=False, store=0)
    # without OpenVPN there is no mark to tell root's own frames from its frames by
    _nothing_leaves(trial, "locked, no tunnel", ("blocked", "connecting"), _WITHOUT_LOCK | _SERVER - {"server-packet"})
    client = trial.laptop.connect()
    _nothing_leaves(trial, "tunnel up", ("protected",), _WITHOUT_LOCK | _SERVER)
    client.kill()
    trial.laptop.wait_state("blocked", "connecting")
    _table_broken(trial)
