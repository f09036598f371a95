"""Proof under the real sandbox: a plain OpenVPN is marked and stays proven when killswitchd dies; nothing else is."""

from lab import addresses as a
from lab.capture import Window
from lab.waiting import until
from nspawn.machine import Machine
from nspawn.trial import Trial, case

from .boots import enable

_OPENVPN = "/usr/sbin/openvpn"
_PROFILE = "/etc/openvpn/client/lab.conf"
_READABLE = "/usr/local/share/readable.ovpn"
_NOBODY = "user nobody\ngroup nogroup\n"
_AS_NOBODY = ("-p", "User=nobody", "-p", "Group=nogroup")
_DROP_IN = "etc/systemd/system/killswitchd.service.d/laboratory.conf"
_ECHO = ("ping", "-n", "-q", "-i", "0.02", "-c", "150", "-W", "1", a.HOST)

_CALLS = "usr/local/sbin/calls"
_CALLS_UNIT = "etc/systemd/system/calls.service"
_REFUSED = {"ptrace", "process_vm_readv", "process_vm_writev", "kcmp"}
_NOT_SANDBOX = ("Type=", "NotifyAccess=", "ExecStart=", "Restart", "Watchdog", "Timeout", "FileDescriptorStore")
_NOT_SANDBOX += ("RemainAfterExit=", "StateDirectory", "RuntimeDirectory", "ConfigurationDirectory")


@case("proof")
def proof(trial: Trial) -> None:
    """A plain OpenVPN is protected, also over SIGKILL of killswitchd; ptrace(2) is refused; without CAP_SYS_PTRACE."""
    machine = trial.machine()
    trial.start_vpn_server(machine)
    profile = (machine.root / _PROFILE[1:]).read_text()
    machine.write("etc/openvpn/client/nobody.conf", _NOBODY + profile, 0o600)
    machine.write(_READABLE[1:], profile)
    machine.write(_CALLS, "", 0o755).write_bytes(trial.materials.calls.read_bytes())
    machine.write("etc/systemd/system/openvpn-client@.service.d/killswitch.conf", "")  # without our drop-in
    enable(machine)
    with trial.no_leaks("from the boot to the power-off") as window:
        machine.boot()
        machine.wait_address()
        machine.wait_state("blocked", "connecting")
        _check_calls(trial, machine)
        _refuse_unprivileged(trial, machine, window)
        machine.write("etc/openvpn/daemon.conf", profile, 0o600)  # before the boot it would be started there
        _start(trial, machine, "openvpn@daemon", "systemctl", "start", "openvpn@daemon")
        _stop(trial, machine, "openvpn@daemon")
        _start(trial, machine, "openvpn-client@nobody", "systemctl", "start", "openvpn-client@nobody")
        _kill_daemon(trial, machine, "openvpn-client@nobody")
        _stop(trial, machine, "openvpn-client@nobody")
        machine.run("chmod", "0666", "/dev/net/tun")  # as udev does on hardware
        capable = (*_AS_NOBODY, "-p", "AmbientCapabilities=CAP_NET_ADMIN")
        _start(trial, machine, "capable", "systemd-run", "--unit=capable", *capable, _OPENVPN, "--config", _READABLE)
        _stop(trial, machine, "capable")
        _without_capabilities(trial, machine)
        _without_ptrace(trial, machine, window)
        machine.power_off()


def _check_calls(trial: Trial, machine: Machine) -> None:
    """The same program without a sandbox, and in the sandbox of each unit."""
    free = _calls(machine, "")
    failed = {name: result for name, result in free.items() if result != "ok"}
    trial.expect(not failed, f"control: outside of the sandbox {', '.join(free)} succeed {failed or ''}")
    for unit, refused in (("killswitchd", _REFUSED), ("killswitch-lock", _REFUSED | {"pidfd_getfd"})):
        text = (machine.root / f"usr/lib/systemd/system/{unit}.service").read_text()
        lines = text.split("[Service]")[1].split("[Install]")[0].splitlines()
        found = _calls(machine, "\n".join(line for line in lines if not line.startswith(_NOT_SANDBOX)))
        expected = {name: "Operation not permitted" if name in refused else "ok" for name in free}
        others = {name: result for name, result in found.items() if result != expected[name]}
        said = f"only {', '.join(sorted(refused))} fail with EPERM {others or ''}"
        trial.expect(found == expected, f"in the sandbox of {unit}.service {said}")


def _calls(machine: Machine, sandbox: str) -> dict[str, str]:
    """Which system calls are allowed to a unit with these settings."""
    output = "run/calls"
    program = f"Type=oneshot\nExecStart=/{_CALLS}\nStandardOutput=file:/{output}\n"
    machine.write(_CALLS_UNIT, f"[Service]\n{program}{sandbox}\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "calls")
    return dict(line.split(": ", 1) for line in machine.run("cat", f"/{output}").splitlines())


def _refuse_unprivileged(trial: Trial, machine: Machine, window: Window) -> None:
    """The same program, run by a user who is not root."""
    sent = window.allowed["transport"]
    machine.run("systemd-run", "--unit=impostor", *_AS_NOBODY, _OPENVPN, "--config", _READABLE, "--dev", "null")
    pid = machine.show("impostor", "MainPID")

    def refusals() -> list[str]:
        return [line for line in machine.journal("killswitchd") if f"pid {pid}," in line and "is not trusted" in line]

    until("the log says that an unprivileged user's OpenVPN is refused", refusals, 15, step=0.2)
    trial.for_seconds(7)  # longer than a refusal is remembered
    trial.expect(len(refusals()) == 1, f"an unprivileged user's OpenVPN is refused: {refusals()}, once")
    trial.expect(machine.show("impostor", "ActiveState") == "active", "it still tries")
    trial.wire.settle()
    trial.expect(window.allowed["transport"] == sent, "none of its packets leaves")
    machine.run("systemctl", "stop", "impostor")


def _start(trial: Trial, machine: Machine, unit: str, *command: str) -> str:
    """Starts an OpenVPN that knows nothing of the kill switch; its process ID."""
    machine.run(*command)
    machine.wait_state("protected")
    pid = machine.show(unit, "MainPID")
    transport = str(machine.status()["transport"])
    trial.expect(f"pid {pid}," in transport, f"{unit} is protected; status says: {transport}")
    until("a host answers through the tunnel", lambda: machine.attempt("ping", "-c1", "-W1", a.HOST).returncode == 0)
    return pid


def _stop(trial: Trial, machine: Machine, unit: str) -> None:
    """Ends an OpenVPN: nothing of it is kept."""
    stored = _stored(machine)
    machine.run("systemctl", "stop", unit)
    machine.wait_state("blocked", "connecting")
    until("the pidfd is taken out of the store", lambda: _stored(machine) == stored - 1)
    trial.say(f"{unit} has ended: its pidfd is no longer stored")


def _stored(machine: Machine) -> int:
    """How many descriptors the service manager keeps for the daemon."""
    return int(machine.show("killswitchd", "NFileDescriptorStore"))


def _kill_daemon(trial: Trial, machine: Machine, unit: str) -> None:
    """SIGKILL of the daemon while echo requests go through the tunnel."""
    pid, stored = machine.show(unit, "MainPID"), _stored(machine)
    old, proven = machine.show("killswitchd", "MainPID"), _proven(machine, pid)
    echo = f"echo-{pid}"
    machine.run("systemd-run", f"--unit={echo}", "--property=Type=exec", "--remain-after-exit", *_ECHO)
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "killswitchd")
    until("the daemon is back", lambda: machine.show("killswitchd", "MainPID") not in ("0", old), 30)
    machine.wait_state("protected")
    transport = str(machine.status()["transport"])
    trial.expect(f"pid {pid}," in transport, f"killed and started again, it is protected; status says: {transport}")
    trial.expect(_proven(machine, pid) == proven + 1, f"the new daemon took over the pidfd of {pid}")
    trial.expect(_stored(machine) == stored, f"as many descriptors are stored as before ({stored})")
    until("the echo requests are done", lambda: machine.show(echo, "SubState") == "exited", 30)
    counted = [line for line in machine.journal(echo) if "packets transmitted" in line]
    trial.expect(counted and " 0% packet loss" in counted[0], f"the tunnel lost nothing ({counted})")


def _proven(machine: Machine, pid: str) -> int:
    """How often the log says that a process was proven."""
    return sum(line.endswith(f"pid {pid}") and "proven" in line for line in machine.journal("killswitchd"))


def _without_capabilities(trial: Trial, machine: Machine) -> None:
    """An OpenVPN that, once connected, has no privilege left: only the stored pidfd can prove it to a new daemon."""
    # It wants to keep CAP_NET_ADMIN; where it cannot, it does without.
    refused = ("-p", "SystemCallFilter=~capset", "-p", "SystemCallErrorNumber=EPERM")
    command = ("systemd-run", "--unit=bare", *refused, _OPENVPN, "--config", _PROFILE)
    pid = _start(trial, machine, "bare", *command, "--user", "nobody", "--group", "nogroup")
    status = machine.run("cat", f"/proc/{pid}/status")
    wanted = ("Uid:\t65534\t65534", "CapEff:\t0000000000000000")
    trial.expect(all(one in status for one in wanted), "it runs as nobody and has no capability left")
    _kill_daemon(trial, machine, "bare")
    _stop(trial, machine, "bare")


def _without_ptrace(trial: Trial, machine: Machine, window: Window) -> None:
    """An administrator takes the capability away: still locked, and a guided OpenVPN connects."""
    machine.write(_DROP_IN, "[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_ADMIN\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "killswitchd")
    machine.wait_state("blocked", "connecting")
    trial.expect(machine.status()["enforced"], "without CAP_SYS_PTRACE the lock is in the kernel, and verified")
    said = [line for line in machine.run("killswitch", "status").splitlines() if "CAP_SYS_PTRACE" in line]
    trial.expect(said, f"status says what is missing: {' '.join(said).strip()}")
    sent = window.allowed["transport"]
    machine.run("systemd-run", "--unit=plain", _OPENVPN, "--config", _PROFILE)
    trial.for_seconds(3)
    trial.wire.settle()
    trial.expect(window.allowed["transport"] == sent, "without it no packet of a plain OpenVPN leaves")
    machine.run("systemctl", "stop", "plain")
    machine.run("systemd-run", "--unit=guided", "killswitch", "connect", _PROFILE)
    machine.wait_state("protected")
    trial.say(f"`killswitch connect` is protected; status says: {machine.status()['transport']}")
