"""From power-on to power-off: the lock is there first and goes last, also when something of ours is broken."""

from lab.waiting import LabError, until
from nspawn.machine import Machine
from nspawn.trial import SERVER, WAYS, Trial, case

_LIBEXEC = "usr/libexec/killswitch/killswitch-lock"
_DAEMON = "usr/sbin/killswitchd"
_STATE = "var/lib/killswitch/state.json"
_NFTABLES = "#!/usr/sbin/nft -f\nflush ruleset\n"


def enable(machine: Machine) -> None:
    """Enables the kill switch in the files of a machine that is off."""
    machine.change_root("killswitch", "enable", "--offline", "--server", SERVER)


def exposure(machine: Machine, unit: str) -> float:
    """What `systemd-analyze security` thinks of a unit (0 best, 10 worst)."""
    text = machine.run("systemd-analyze", "security", "--no-pager", unit)
    line = next(line for line in text.splitlines() if "Overall exposure level" in line)
    return float(line.split(":")[1].split()[0])


@case("boot")
def boot(trial: Trial) -> None:
    """A leaker from the first moment of the boot to the last of the shutdown: 0 with the lock, thousands without."""
    machine = trial.machine()
    trial.control(machine)
    enable(machine)
    with trial.no_leaks("enabled, from before the boot until after the power-off") as window:
        seconds = machine.boot()
        machine.wait_address()
        machine.wait_state("blocked", "connecting")
        said = [line for line in machine.journal("killswitch-lock") if line.startswith("locked")]
        trial.say(f"boot {seconds:.1f} s; {' '.join(said)}")
        trial.expect(machine.status()["boot_lock"], "status says that this boot was locked before the network")
        _check_units(trial, machine)
        trial.say(f"shutdown {machine.power_off():.1f} s")
    trial.expect(window.allowed["dhcp"], "it asked for an address")


def _check_units(trial: Trial, machine: Machine) -> None:
    """What systemd says of our units, in the running machine."""
    lines = machine.journal("killswitch-lock", "killswitchd")
    ours = [line for line in lines if line.startswith("locked before the network")]
    trial.expect(len(ours) == 1, "one line in the journal says that the machine was locked before the network")
    for unit, most in (("killswitchd.service", 2.4), ("killswitch-lock.service", 2.0)):
        trial.expect(machine.show(unit, "ActiveState") == "active", f"{unit} is active")
        level = exposure(machine, unit)
        trial.expect(level <= most, f"{unit}: systemd-analyze security gives {level}, at most {most}")
        verified = machine.attempt("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{unit}")
        said = [line for line in verified.stderr.splitlines() if "killswitch" in line]
        trial.expect(not said, f"{unit}: systemd-analyze verify has no complaint {said or ''}")
    entered = [int(machine.show(unit, "ActiveEnterTimestampMonotonic")) for unit in ("killswitch-lock", "killswitchd")]
    network = int(machine.show("systemd-networkd", "ExecMainStartTimestampMonotonic"))
    trial.expect(max(entered) < network, "the lock and the daemon are there before systemd-networkd starts")


@case("trial-boot")
def trial_boot(trial: Trial) -> None:
    """A lock on trial is there again after a reboot, and reverts when its time is over."""
    machine = trial.machine()
    machine.boot()
    machine.wait_address()
    machine.run("killswitch", "enable", "--try", "40s", "--server", SERVER)
    with trial.no_leaks("on trial, powered off and booted"):
        machine.power_off()
        machine.boot()
        machine.wait_state("blocked", "connecting")
        machine.wait_address()
        status = machine.status()
        trial.expect(status["boot_lock"], "it was locked before the network")
        trial.expect(status["trial"], f"it is still on trial ({status['trial']})")
    window = trial.wire.window()
    machine.wait_state("disabled")
    until("reverted: everything is seen on the wire again", lambda: set(window.probes) >= WAYS, 30)
    trial.say("nobody confirmed: the machine is open again")
    machine.power_off()


@case("broken-boot")
def broken_boot(trial: Trial) -> None:
    """State damaged or lost, daemon missing or crashing, lock missing, nftables.service that flushes: locked."""
    machine = trial.machine()
    trial.control(machine)
    enable(machine)
    state = (machine.root / _STATE).read_text()
    daemon, lock = ((machine.root / name).read_bytes() for name in (_DAEMON, _LIBEXEC))

    machine.write(_STATE, state[: len(state) // 2], 0o600)
    lines = _locked_boot(trial, machine, "state file torn", upkeep=False)
    said = [line for line in lines if _STATE in line and "Way back" in line]
    trial.expect(said, "the journal names the file and the way back")

    (machine.root / _STATE).unlink()
    lines = _locked_boot(trial, machine, "state file lost", upkeep=False)
    trial.expect([line for line in lines if "/etc/killswitch/enabled" in line], "the journal names the witness")
    machine.write(_STATE, state, 0o600)

    (machine.root / _DAEMON).unlink()
    _locked_boot(trial, machine, "daemon missing", daemon=False)
    machine.write(_DAEMON, "#!/bin/sh\nkill -SEGV $$\n", 0o755)
    _locked_boot(trial, machine, "daemon crashing at its start", daemon=False)
    machine.write(_DAEMON, "", 0o755).write_bytes(daemon)

    (machine.root / _LIBEXEC).unlink()
    for number in range(trial.times(3, 20)):  # the daemon's sandbox has to be there in time, too
        _locked_boot(trial, machine, f"lock program missing ({number + 1})", boot_lock=False)
    machine.write(_LIBEXEC, "", 0o755).write_bytes(lock)

    machine.write("etc/nftables.conf", _NFTABLES, 0o755)
    machine.enable_unit("/usr/lib/systemd/system/nftables.service", "sysinit.target")
    _locked_boot(trial, machine, "nftables.service, which flushes at boot and at shutdown")


def _locked_boot(
    trial: Trial, machine: Machine, what: str, daemon: bool = True, upkeep: bool = True, boot_lock: bool = True
) -> list[str]:
    """A boot to its end in which nothing gets out; what our units have logged.

    @param upkeep whether the state could be read: else not even DHCP is let out
    @param boot_lock whether the early lock did its work
    """
    with trial.no_leaks(what) as window:
        machine.boot()
        if upkeep:
            machine.wait_address()
        else:
            until("the link is up", lambda: "LOWER_UP" in machine.run("ip", "link", "show", "host0"), 30)
            trial.for_seconds(1)
        if daemon:
            machine.wait_state("blocked", "connecting")
            trial.expect(machine.status()["boot_lock"] == boot_lock, f"{what}: status says whether the early lock stood")
        else:
            restarts = until("systemd tries again", lambda: int(machine.show("killswitchd", "NRestarts")) >= 2, 30)
            trial.expect(restarts, f"{what}: systemd goes on trying")
        tables = machine.run("nft", "list", "tables")
        if "inet killswitch" not in tables or "netdev killswitch" not in tables:
            raise LabError(f"{what}: the kernel holds only: {tables}")
        lines = machine.journal("killswitch-lock", "killswitchd")
        machine.power_off()
    if not upkeep:
        trial.expect(not window.allowed["dhcp"], f"{what}: not even DHCP")
    return lines
