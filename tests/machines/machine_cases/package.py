"""The Debian package in a running machine: install, authority, OpenVPN's unit, upgrade, remove, purge."""

from lab import addresses as a
from lab.sandbox import STORAGE
from lab.waiting import until
from nspawn import roots
from nspawn.machine import Machine
from nspawn.trial import SERVER, Trial, case

_VERSION = "0.1.0+laboratory"
_RULES = "usr/share/polkit-1/rules.d/10-laboratory.rules"
_RULE = """\
polkit.addRule(function(action, subject) {
    if (action.id == "org.killswitch1.enable" && subject.user == "nobody") return polkit.Result.YES;
});
"""
_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
_ECHO = ("ping", "-n", "-q", "-i", "0.02", "-c", "100", "-W", "1", a.HOST)


@case("package")
def package(trial: Trial) -> None:
    """Installed, enabled, OpenVPN by its unit, upgraded under traffic, removed, purged: 0 leaks, nothing left."""
    machine = trial.machine(installed=False)
    trial.start_vpn_server(machine)
    (machine.root / "root/newer.deb").write_bytes(
        roots.newer(trial.materials.package, _VERSION, STORAGE).read_bytes()
    )
    before = _files(machine)
    window = trial.wire.window()
    machine.boot()
    machine.wait_address()
    machine.run("dpkg", "-i", "/root/killswitch.deb")
    until("without the lock everything is seen on the wire", lambda: window.leaks > 300)
    _check_authority(trial, machine)
    _enable_as_user(trial, machine)
    with trial.no_leaks("enabled, OpenVPN started by its unit"):
        _connect(trial, machine)
        _ask_password(trial, machine)
        _hook(trial, machine)
    _upgrade(trial, machine)
    _remove(trial, machine, before)
    machine.power_off()


def _check_authority(trial: Trial, machine: Machine) -> None:
    """Anybody may ask, asking starts the daemon, nobody but root may change."""
    machine.run("killswitch", "status", expect=(3,))
    trial.say("installed, it is disabled")
    machine.run("systemctl", "stop", "killswitchd")
    ask = ["busctl", "--timeout=20", "call", "org.killswitch1", "/org/killswitch1", "org.killswitch1.Manager"]
    machine.run(*ask, "GetStatus")
    trial.expect(machine.show("killswitchd", "ActiveState") == "active", "a question on the bus starts the daemon")
    machine.run(*_NOBODY, *ask, "GetStatus")
    trial.expect(True, "another user may ask for the status")
    refused = machine.attempt(*_NOBODY, *ask, "Disable")
    trial.expect(refused.returncode != 0, f"another user may not disable it ({refused.stderr.strip()[:90]})")


def _enable_as_user(trial: Trial, machine: Machine) -> None:
    """polkit decides about other users: one action is allowed to one of them, the others are not."""
    enable = [*_NOBODY, "killswitch", "enable", "--server", SERVER]
    trial.expect(machine.attempt(*enable).returncode == 4, "another user may not enable it")
    machine.write(_RULES, _RULE)
    until("polkit has read its new rule", lambda: machine.attempt(*enable).returncode == 0, 30, step=0.5)
    trial.expect(machine.status()["state"] != "disabled", "a user whom polkit lets has enabled it")
    refused = machine.attempt(*_NOBODY, "killswitch", "disable")
    trial.expect(refused.returncode == 4, "but may not disable it")
    (machine.root / _RULES).unlink()


def _connect(trial: Trial, machine: Machine) -> None:
    """openvpn-client@lab does not start without the daemon, and is protected with it."""
    machine.run("systemctl", "mask", "--runtime", "--now", "killswitchd")
    machine.attempt("systemctl", "start", "openvpn-client@lab")
    until("OpenVPN has given up", lambda: machine.show("openvpn-client@lab", "ActiveState") == "failed", 30)
    trial.say("openvpn-client@lab does not start without the kill switch")
    machine.run("systemctl", "unmask", "--runtime", "killswitchd")
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "start", "openvpn-client@lab")
    machine.wait_state("protected")
    until("a host answers through the tunnel", lambda: machine.attempt("ping", "-c1", "-W1", a.HOST).returncode == 0)
    trial.expect(machine.show("killswitchd", "ActiveState") == "active", "it started the daemon, and is protected")


def _ask_password(trial: Trial, machine: Machine) -> None:
    """Another profile wants a password: the daemon, in its sandbox, can have it asked for."""
    profile = (machine.root / "etc/openvpn/client/lab.conf").read_text()
    machine.write("etc/openvpn/client/asks.conf", f"auth-user-pass\nmanagement-query-passwords\n{profile}", 0o600)
    machine.attempt("systemctl", "start", "--no-block", "openvpn-client@asks")
    until("the question is asked", lambda: "ask." in machine.run("ls", "/run/systemd/ask-password"), 30)
    machine.run("systemctl", "stop", "openvpn-client@asks")
    machine.wait_state("protected")
    trial.say("a profile that wants a password gets its question asked by systemd-ask-password")


def _hook(trial: Trial, machine: Machine) -> None:
    """What NetworkManager calls before it uses a link starts the daemon, and returns when the lock was seen."""
    machine.run("systemctl", "stop", "killswitchd")
    machine.run("killswitch", "hook", "networkmanager", "host0", "pre-up")
    trial.expect(machine.show("killswitchd", "ActiveState") == "active", "the hook has started the daemon")
    trial.expect(machine.status()["enforced"], "and the lock was verified")
    machine.run("systemctl", "restart", "openvpn-client@lab")  # it ended when the daemon was stopped
    machine.wait_state("protected")


def _upgrade(trial: Trial, machine: Machine) -> None:
    """A newer package while the tunnel carries packets."""
    main = machine.show("openvpn-client@lab", "MainPID")
    old = machine.show("killswitchd", "MainPID")
    machine.run("systemd-run", "--unit=echo", "--property=Type=exec", "--remain-after-exit", *_ECHO)
    with trial.no_leaks("upgraded under traffic"):
        machine.run("dpkg", "-i", "/root/newer.deb")
        until("the new daemon runs", lambda: machine.show("killswitchd", "MainPID") not in ("0", old), 30)
        machine.wait_state("protected")
        until("the echo requests are done", lambda: machine.show("echo", "SubState") == "exited", 30)
    trial.expect(machine.show("openvpn-client@lab", "MainPID") == main, "OpenVPN never noticed")
    counted = [line for line in machine.journal("echo") if "packets transmitted" in line]
    trial.expect(counted and " 0% packet loss" in counted[0], f"the tunnel lost nothing ({counted})")


def _remove(trial: Trial, machine: Machine, before: set[str]) -> None:
    """Refused while enabled; afterwards complete."""
    with trial.no_leaks("removing it while enabled is refused"):
        for action in ("--remove", "--purge"):
            refused = machine.attempt("dpkg", action, "killswitch")
            said = refused.stdout + refused.stderr
            trial.expect(refused.returncode != 0 and "killswitch disable" in said, f"dpkg {action} is refused")
        machine.wait_state("protected")
    machine.run("systemctl", "stop", "openvpn-client@lab")
    machine.run("killswitch", "disable")
    machine.run("dpkg", "--remove", "killswitch")
    machine.run("dpkg", "--purge", "killswitch")
    trial.expect("killswitch" not in machine.run("nft", "list", "tables"), "no table is left")
    left = {name for name in _files(machine) - before if "killswitch" in name}
    trial.expect(not left, f"no file is left {sorted(left) or ''}")
    until("an unguarded OpenVPN starts as before", lambda: _plain_openvpn(machine), 60)


def _plain_openvpn(machine: Machine) -> bool:
    machine.attempt("systemctl", "start", "openvpn-client@lab")
    return machine.show("openvpn-client@lab", "ActiveState") == "active"


def _files(machine: Machine) -> set[str]:
    """What lies in the directories that a package or its daemon may write to."""
    found: set[str] = set()
    for folder in ("etc", "var/lib", "usr", "run"):
        found |= {str(path.relative_to(machine.root)) for path in (machine.root / folder).rglob("*killswitch*")}
    return {name for name in found if "var/lib/dpkg" not in name}
