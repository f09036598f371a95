"""resolv.conf without any service: who is asked for names, and what is given back."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import addresses as a
from lab import kernel
from lab.names import Names
from lab.trial import Trial, case
from lab.waiting import LabError, until

RESOLV_CONF = Path("/etc/resolv.conf")
_TARGET = Path("/run/target/resolv.conf")
TUNNEL = {"tunnel"}
ACCESS_POINT = {"access point"}


@dataclass(frozen=True)
class Found:
    """resolv.conf to the last bit: what kind of thing, where it leads, what is in it, whose it is."""

    link: str | None
    content: bytes | None
    mode: int

    @classmethod
    def now(cls) -> "Found":
        """As it is."""
        link = os.readlink(RESOLV_CONF) if RESOLV_CONF.is_symlink() else None
        if not RESOLV_CONF.exists():
            return cls(link, None, 0)
        return cls(link, RESOLV_CONF.read_bytes(), RESOLV_CONF.stat().st_mode)


def names_of(text: str) -> list[str]:
    """The resolvers in a resolv.conf."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("nameserver")]


def tunnel_named() -> bool:
    """Whether resolv.conf names the tunnel's resolver and nobody else."""
    try:
        return names_of(RESOLV_CONF.read_text()) == [a.TUNNEL_DNS]
    except OSError:
        return False


def dns_of(trial: Trial) -> dict[str, object]:
    """status --json, the part about names."""
    dns = trial.laptop.status()["dns"]
    assert isinstance(dns, dict)
    return dns


def _as_plain_file(content: bytes) -> None:
    RESOLV_CONF.unlink()
    RESOLV_CONF.write_bytes(content + b"# \xff\xfe not UTF-8, and no newline at the end")
    RESOLV_CONF.chmod(0o640)


def _as_link(content: bytes) -> None:
    _TARGET.parent.mkdir(exist_ok=True)
    _TARGET.write_bytes(content)
    RESOLV_CONF.unlink()
    RESOLV_CONF.symlink_to("../run/target/resolv.conf")


def _as_mount(content: bytes) -> None:
    RESOLV_CONF.unlink()
    RESOLV_CONF.write_bytes(b"")
    below = Path("/run/mounted-resolv.conf")
    below.write_bytes(content)
    kernel.mount(str(below), str(RESOLV_CONF), None, kernel.MS_BIND)


_FORMS: dict[str, Callable[[bytes], None]] = {
    "plain file": _as_plain_file,
    "link": _as_link,
    "mount point": _as_mount,
}


def _overwrite_in_place() -> None:
    RESOLV_CONF.write_text(f"nameserver {a.AP}\n")


def _overwrite_by_rename() -> None:
    beside = Path("/etc/resolv.conf.other")
    beside.write_text(f"nameserver {a.AP}\n")
    beside.rename(RESOLV_CONF)


def _remove() -> None:
    RESOLV_CONF.unlink()


def _link_elsewhere() -> None:
    other = Path("/run/elsewhere.conf")
    other.write_text(f"nameserver {a.AP}\n")
    beside = Path("/etc/resolv.conf.link")
    beside.symlink_to(other)
    beside.rename(RESOLV_CONF)  # in one step: a name that is missing for a moment is put back at once


_FOREIGN = (_overwrite_in_place, _overwrite_by_rename, _remove, _link_elsewhere)


def defend(trial: Trial, names: Names, writers: tuple[Callable[[], None], ...]) -> None:
    """What other programs do to resolv.conf is undone and counted."""
    for write in writers:
        before = int(str(dns_of(trial)["foreign_writes"]))
        write()
        until(f"{write.__name__.strip('_')} is undone", tunnel_named)
        until("it is counted", lambda before=before: int(str(dns_of(trial)["foreign_writes"])) > before)
    trial.laptop.wait_state("protected")
    trial.say(names.expect(TUNNEL, f"after {len(writers)} foreign writes"))


def _one_form(trial: Trial, names: Names, form: str, content: bytes) -> None:
    _FORMS[form](content)
    original = Found.now()
    trial.say(names.expect(ACCESS_POINT, f"control, {form}, no kill switch", times=1))
    trial.laptop.enable()
    client = trial.laptop.connect()
    dns = dns_of(trial)
    trial.expect(dns["applied"] and dns["backend"] == "file", f"{form}: status says that names are set ({dns['reasons']})")
    trial.say(names.expect(TUNNEL, f"{form}, protected"))
    defend(trial, names, (_overwrite_in_place,) if form == "mount point" else _FOREIGN)
    trial.lab.renew_lease()
    client.kill()
    trial.laptop.wait_state("blocked", "connecting")
    trial.expect(tunnel_named(), f"{form}: tunnel down, names stay as they were")
    trial.laptop.killswitch("disable")
    trial.expect(Found.now() == original, f"{form}: resolv.conf is what it was, byte for byte, when disable returns")
    trial.expect(not Path("/var/lib/killswitch/dns.json").exists(), f"{form}: given back byte for byte, no journal left")
    trial.say(names.expect(ACCESS_POINT, f"{form}, disabled", times=1))


@case("names-file")
def names_file(trial: Trial) -> None:
    """resolv.conf as a plain file, a link and a mount point: set, defended, and given back byte for byte."""
    names = Names(trial.lab, trial.laptop.resolve)
    content = RESOLV_CONF.read_bytes()
    trial.laptop.start_daemon()
    for form in _FORMS:
        _one_form(trial, names, form, content)


@case("names-crash")
def names_crash(trial: Trial) -> None:
    """The daemon is killed and resolv.conf overwritten meanwhile; `disable --offline` gives everything back."""
    names = Names(trial.lab, trial.laptop.resolve)
    original = Found.now()
    trial.say(names.expect(ACCESS_POINT, "control, no kill switch", times=1))
    trial.lock(store=0)  # or the tables stay owned by what the service manager keeps
    trial.laptop.connect()
    trial.say(names.expect(TUNNEL, "protected"))
    daemon = trial.laptop.daemon
    if daemon is None:
        raise LabError("no daemon")
    daemon.kill(signal.SIGKILL)
    _overwrite_by_rename()
    trial.say(names.expect(set(), "daemon dead, resolv.conf overwritten", times=1))
    daemon.command("start")
    daemon.wait_ready(times=2)
    until("the write is undone after the restart", tunnel_named)
    trial.expect(int(str(dns_of(trial)["foreign_writes"])) > 0, "it is counted")
    daemon.kill(signal.SIGKILL)
    trial.laptop.killswitch("disable", "--offline")
    trial.expect(Found.now() == original, "without a daemon: resolv.conf is what it was, byte for byte")
    trial.say(names.expect(ACCESS_POINT, "disabled", times=1))


@case("names-pushed")
def names_pushed(trial: Trial) -> None:
    """The server pushes several resolvers of both families with OpenVPN 2.6's `dns`: they are set in its order."""
    trial.lab.stop_vpn_server()
    pushed = (f"dns server 1 address {a.TUNNEL_DNS6} {a.TUNNEL_DNS}", "dns search-domains inside.test")
    trial.lab.start_vpn_server(resolvers=pushed)
    names = Names(trial.lab, trial.laptop.resolve)
    original = Found.now()
    trial.say(names.expect(ACCESS_POINT, "control, no kill switch", times=1))
    trial.lock()
    trial.laptop.connect()
    text = RESOLV_CONF.read_text()
    trial.expect(names_of(text) == [a.TUNNEL_DNS6, a.TUNNEL_DNS], f"both are named, in the server's order ({text!r})")
    trial.expect("search inside.test" in text, "and its search domain")
    with trial.no_leaks("names through both"):
        trial.say(names.expect(TUNNEL, "protected"))
        for resolver in (a.TUNNEL_DNS6, a.TUNNEL_DNS):
            answer = trial.laptop.node.attempt("busybox", "nslookup", a.WHO, resolver, seconds=20).stdout
            trial.expect(a.WHO_TUNNEL in answer, f"{resolver} is asked and answers")
    trial.laptop.killswitch("disable")
    until("resolv.conf is what it was, byte for byte", lambda: Found.now() == original)
