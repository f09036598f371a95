"""The pinhole: the VPN server's own name may be asked for on the link, and nothing else."""

import json
import socket
import struct
from pathlib import Path

from probe import dns_question

from lab import addresses as a
from lab.trial import Trial, case
from lab.waiting import until

_STATE = Path("/var/lib/killswitch/state.json")
_OTHERS = (
    f"www.{a.SERVER_NAME}",
    f"x{a.SERVER_NAME}",
    f"{a.SERVER_NAME}x",
    f"{a.SERVER_NAME}.example.test",
    a.SERVER_NAME.partition(".")[2],
    a.WHO,
)


def forget_addresses() -> None:
    """A state file as after a boot with a profile whose names have never been resolved."""
    state = json.loads(_STATE.read_text())
    for remote in state["settings"]["remotes"]:
        remote["addresses"] = []
        remote["failure"] = "never resolved"
        remote.pop("expires", None)
    _STATE.write_text(json.dumps(state))


def pinned_addresses() -> set[str]:
    """The addresses of all remotes in the state file."""
    remotes = json.loads(_STATE.read_text())["settings"]["remotes"]
    return {address for remote in remotes for address in remote["addresses"]}


def _send(trial: Trial, question: bytes) -> bool:
    """One datagram to the access point's resolver. @return whether the kernel took it"""
    with trial.laptop.node.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(question, (a.AP, 53))
        except OSError:
            return False
    return True


def _smuggling() -> dict[str, bytes]:
    """Questions for the right name that carry something else along."""
    plain = dns_question(a.SERVER_NAME)
    counts = struct.Struct("!4H")
    record = b"\0" + struct.pack("!HHIH", 16, 1, 0, 8) + b"\7secrets"
    other = dns_question(a.WHO)[12:]
    return {
        "an additional record": plain[:4] + counts.pack(1, 0, 0, 1) + plain[12:] + record,
        "a second question": plain[:4] + counts.pack(2, 0, 0, 0) + plain[12:] + other,
        "bytes behind the question": plain + b"secrets",
        "another type": plain[:-4] + struct.pack("!HH", 16, 1),
    }


@case("server-name")
def server_name(trial: Trial) -> None:
    """Plain OpenVPN with a name, no management and no known address connects from a locked boot; no other question leaves."""
    trial.control()
    window = trial.capture.window()
    questions = [*(dns_question(name) for name in _OTHERS), *_smuggling().values()]
    sent = sum(_send(trial, question) for question in questions)
    trial.capture.settle()
    trial.expect(sent == len(questions) <= window.leaks, f"control, no kill switch: {window.leaks} questions seen")
    trial.lock()
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.stop()
    forget_addresses()
    with trial.no_leaks("the daemon starts and knows no address"):
        trial.laptop.start_daemon()
        trial.laptop.wait_state("blocked", "connecting")
    with trial.no_leaks("other questions"):
        for name in _OTHERS:
            trial.expect(not trial.laptop.ask(a.AP, name), f"a question for {name} has no answer")
        for what, question in _smuggling().items():
            trial.expect(not _send(trial, question), f"a question with {what} is refused")
    with trial.no_leaks("the server's name"):
        trial.expect(trial.laptop.ask(a.AP, a.SERVER_NAME) == {a.SERVER}, f"{a.SERVER_NAME} can be asked for")
    with trial.no_leaks("while plain OpenVPN connects by name"), trial.storm(words=("udp", "dns")):
        trial.laptop.openvpn()
        trial.laptop.wait_state("protected")
    known = json.loads(_STATE.read_text())["settings"]["remotes"]
    trial.expect(all(remote["addresses"] for remote in known), "the addresses are kept for the next boot")
    trial.tunnel_works(resolver=False)
    with trial.no_leaks("protected: the name is not needed any more"):
        until("the pinhole is closed", lambda: not trial.laptop.ask(a.AP, a.SERVER_NAME), 10)
    trial.every_probe_refused("protected")
