"""Where the kernel cannot keep others out: what they do is seen, put back within milliseconds, counted and told (G5)."""

import os

from lab.sandbox import STORAGE
from lab.topology import HERE
from lab.trial import Trial, case
from lab.waiting import LabError, until


def _without_ownership(trial: Trial) -> None:
    """Starts the daemon on a kernel that cannot keep tables owned, as far as it can see, and locks."""
    library = STORAGE / "unowned.so"
    trial.laptop.node.run("g++", "-shared", "-fPIC", "-std=c++20", "-o", str(library), str(HERE / "unowned.cpp"))
    os.environ["LD_PRELOAD"] = str(library)
    try:
        trial.lock()
    finally:
        del os.environ["LD_PRELOAD"]


def _tampering(trial: Trial) -> dict[str, object]:
    told = trial.laptop.status()["tampering"]
    assert isinstance(told, dict)
    return told


def _attack(trial: Trial, number: int, *command: str) -> None:
    """One change, and what status says of it."""
    node = trial.laptop.node
    node.attempt("nft", *command)

    def repaired() -> bool:
        told = _tampering(trial)
        return told["attempts"] == told["repaired"] and int(str(told["attempts"])) >= number

    until(f"'nft {' '.join(command)}' is seen and put back", repaired)


@case("tamper-seen")
def tamper_seen(trial: Trial) -> None:
    """On a kernel without owned tables another program's changes are seen, put back, counted and told with its name."""
    trial.control()
    _without_ownership(trial)
    trial.laptop.connect()
    status = trial.laptop.status()
    trial.expect(status["kernel"] == {**_kernel(status), "ownership": "plain"}, "nobody owns the tables")
    attacks: tuple[tuple[str, ...], ...] = (
        ("flush", "ruleset"),
        ("delete", "table", "inet", "killswitch"),
        ("insert", "rule", "inet", "killswitch", "output", "accept"),
        ("flush", "chain", "inet", "killswitch", "postrouting"),
        ("add table inet killswitch { flags dormant; }",),
        ("delete", "table", "netdev", "killswitch"),
    )
    window = trial.capture.window()
    rounds = trial.times(3, 100)
    with trial.storm():
        for number in range(rounds):
            for place, attack in enumerate(attacks):
                _attack(trial, number * len(attacks) + place + 1, *attack)
    trial.capture.settle()
    told = _tampering(trial)
    trial.say(f"{told['attempts']} changes, all put back; {window.leaks} frames got out meanwhile: {window.summary()}")
    last = told["last"]
    assert isinstance(last, dict)
    trial.expect(last["program"] == "nft" and last["pid"], f"the program is named: {last}")
    _told_once_in_a_while(trial)
    trial.every_probe_refused("after all of it")
    trial.laptop.wait_state("protected")
    trial.tunnel_works()


def _kernel(status: dict[str, object]) -> dict[str, object]:
    kernel = status["kernel"]
    assert isinstance(kernel, dict)
    return kernel


def _told_once_in_a_while(trial: Trial) -> None:
    daemon = trial.laptop.daemon
    assert daemon is not None
    lines = daemon.log().count("changed our rules in the kernel")
    attempts = int(str(_tampering(trial)["attempts"]))
    if not 0 < lines <= max(2, attempts // 2):
        raise LabError(f"{lines} lines in the journal about {attempts} changes")
    trial.say(f"the journal has {lines} line{'s' if lines > 1 else ''} about it")
