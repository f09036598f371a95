"""The owning socket in systemd's store: a dead daemon and a foreign flush at the same time open nothing."""

import time

from lab.waiting import until
from nspawn.machine import Machine
from nspawn.trial import Trial, case

from .boots import enable

_DROP_IN = "etc/systemd/system/killswitchd.service.d/laboratory.conf"
_SLOW = "[Service]\nRestartSec=300ms\nWatchdogSec=0\n"
_STORELESS = _SLOW + "FileDescriptorStoreMax=0\n"


@case("ownership")
def ownership(trial: Trial) -> None:
    """SIGKILL of the daemon and `nft flush ruleset` while it is dead, under a flood, again and again."""
    machine = trial.machine()
    machine.write(_DROP_IN, _STORELESS)
    enable(machine)
    machine.boot()
    machine.wait_address()
    machine.wait_state("blocked", "connecting")
    window = trial.wire.window()
    _kill_and_flush(machine)
    until("without the store the flush opens the machine", lambda: window.leaks > 50)
    trial.wire.settle()
    trial.say(f"control, daemon killed and flushed without the store: {window.leaks} frames leaked")

    machine.write(_DROP_IN, _SLOW)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "killswitchd")
    machine.wait_state("blocked", "connecting")
    rounds = trial.times(20, 1000)
    began = time.monotonic()
    with trial.no_leaks(f"daemon killed and the ruleset flushed while it is dead, {rounds} times"):
        for _ in range(rounds):
            _kill_and_flush(machine)
    restarts = machine.show("killswitchd", "NRestarts")
    trial.say(f"{rounds} rounds in {time.monotonic() - began:.0f} s, {restarts} restarts")
    with trial.no_leaks("killswitchd stopped"):
        machine.run("systemctl", "stop", "killswitchd")
        trial.expect("inet killswitch" in machine.run("nft", "list", "tables"), "the table stays when it is stopped")
    machine.power_off()


def _kill_and_flush(machine: Machine) -> None:
    """Kills the daemon, flushes before it is back, and waits until it is back."""
    restarts = int(machine.show("killswitchd", "NRestarts"))
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "killswitchd")
    until("the daemon is dead", lambda: machine.show("killswitchd", "SubState") != "running")
    machine.run("nft", "flush", "ruleset")
    until(
        "the daemon is back",
        lambda: int(machine.show("killswitchd", "NRestarts")) > restarts
        and machine.show("killswitchd", "SubState") == "running",
        30,
    )
