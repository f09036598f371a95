"""System calls that fail: each one of an apply and of saving the state, in turn, and all of them for a while.
Nothing gets out, status does not say more than is so, and it is put right without help when the fault is gone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.faults import failing
from lab.profile import PROFILE
from lab.trial import Trial, case
from lab.waiting import LabError, until

_STATE = Path("/var/lib/killswitch/state.json")


@dataclass(frozen=True)
class Kind:
    """Calls that fail, and with what."""

    calls: str
    error: str
    last: int  # more of them are not made; the next one is tried, too, to be sure


_KERNEL = (Kind("sendto", "ENOBUFS", 60), Kind("recvmsg", "ENOMEM", 120))
_FILES = (
    Kind("openat", "ENOSPC", 20),
    Kind("write", "ENOSPC", 10),
    Kind("fchmod", "EROFS", 3),
    Kind("fsync", "EIO", 5),
    Kind("rename", "EROFS", 3),
)


def state_is_whole() -> None:
    """The state file can be read, and says that the machine is locked."""
    try:
        saved = json.loads(_STATE.read_text())
    except (OSError, ValueError) as error:
        raise LabError(f"the state file is torn: {error}") from None
    if saved["enabled"] is not True:
        raise LabError(f"the state file does not say that the machine is locked: {saved}")


def recovered(trial: Trial) -> None:
    """Everything is as it should be again, by itself."""

    def good() -> bool:
        status = trial.laptop.status()
        warnings = status["warnings"]
        assert isinstance(warnings, list)
        return bool(status["enforced"]) and not any("present setting" in text for text in warnings)

    until("the status is verified and the state saved", good, 30, step=0.1)
    state_is_whole()


def _other_policy(trial: Trial) -> str:
    """The one that is not in force, so that there is something to apply and to save."""
    return "strict" if trial.laptop.status()["policy"] == "laptop" else "laptop"


def _enable(trial: Trial, policy: str, expect: Sequence[int]) -> str:
    arguments = ("enable", "--config", str(PROFILE), "--policy", policy)
    return trial.laptop.killswitch(*arguments, expect=expect, seconds=60)


def each_call_fails_once(trial: Trial, kind: Kind, step: int) -> int:
    """`killswitch enable` with the n-th call failing, for n = 1, 1 + step, … until there are no more."""
    daemon = trial.laptop.daemon
    assert daemon is not None
    hit = 0
    for number in range(1, kind.last + 1, step):
        policy = _other_policy(trial)
        with failing(trial.laptop.node, daemon.pid, kind.calls, kind.error, str(number)) as fault:
            # 4: it was the question who is calling that failed, and nobody is let in for that
            said = _enable(trial, policy, (0, 1, 4))
            status = trial.laptop.status()
            if not status["enforced"] and not status["reasons"]:
                raise LabError(f"{kind.calls} {number}: not enforced, and no reason is given: {said}")
            failed = fault.times
        recovered(trial)
        if not failed:
            break
        hit += failed
    return hit


@case("fault-kernel")
def fault_kernel(trial: Trial) -> None:
    """Each message to and from the kernel fails once, in turn, under the storm."""
    trial.control()
    trial.lock()
    for kind in _KERNEL:
        with trial.no_leaks(f"{kind.calls} fails with {kind.error}"), trial.storm():
            hit = each_call_fails_once(trial, kind, trial.times(9, 1))
        trial.expect(hit, f"{hit} calls of {kind.calls} failed")
    _kernel_does_not_listen(trial)
    trial.laptop.connect()
    trial.tunnel_works()


def _kernel_does_not_listen(trial: Trial) -> None:
    """No message gets through for a while: what is in force stays, and nobody calls it verified."""
    daemon = trial.laptop.daemon
    assert daemon is not None
    with trial.no_leaks("the kernel does not listen for a while"), trial.storm():
        with failing(trial.laptop.node, daemon.pid, "sendto", "ENOBUFS", "1+") as fault:
            status = trial.laptop.status()
            trial.expect(not status["enforced"] and status["reasons"], f"not verified, because {status['reasons']}")
            trial.expect(fault.times, "messages were lost")
        recovered(trial)
    trial.say("verified again without help")


@case("fault-files")
def fault_files(trial: Trial) -> None:
    """Each call that saves the state fails once, in turn; then the disk is full for a while."""
    trial.control()
    trial.lock()
    daemon = trial.laptop.daemon
    assert daemon is not None
    for kind in _FILES:
        with trial.no_leaks(f"{kind.calls} fails with {kind.error}"), trial.storm():
            hit = each_call_fails_once(trial, kind, 1)
        trial.expect(hit, f"{hit} calls of {kind.calls} failed")
    with trial.no_leaks("the disk is broken for a while"), trial.storm():
        policy = _other_policy(trial)
        with failing(trial.laptop.node, daemon.pid, "fsync", "EIO", "1+"):
            said = _enable(trial, policy, (1,))
            trial.expect("the machine is locked, but" in said, "enable says that it could not save")
            warnings = trial.laptop.status()["warnings"]
            trial.expect("present setting" in str(warnings), "and so does status")
        recovered(trial)
    trial.say("saved again without help")
