"""Opening and closing: only on request, and then completely."""

from pathlib import Path

from lab import addresses as a
from lab.profile import PROFILE
from lab.trial import Trial, case


@case("disable")
def disable(trial: Trial) -> None:
    """`killswitch disable` gives the network back: traffic, names, resolv.conf, and no table is left."""
    trial.control()
    resolv_conf = Path("/etc/resolv.conf").read_bytes()
    trial.lock()
    client = trial.laptop.connect()
    trial.tunnel_works()
    trial.laptop.killswitch("disable")
    if client.alive():
        client.kill()
    _given_back(trial)
    trial.expect(Path("/etc/resolv.conf").read_bytes() == resolv_conf, "resolv.conf is what it was, byte for byte")
    trial.expect(trial.laptop.status()["state"] == "disabled", "status says disabled")


@case("offline")
def offline(trial: Trial) -> None:
    """Locking and unlocking with no daemon and no system bus; unlocking after the daemon and the bus have died."""
    trial.control()
    trial.laptop.enable("--offline")
    with trial.no_leaks("locked offline"), trial.storm():
        trial.for_seconds(trial.times(2, 10))
    trial.laptop.killswitch("disable", "--offline")
    _given_back(trial)

    bus = trial.laptop.start_bus()
    trial.lock(store=0)
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    bus.kill()
    trial.every_probe_refused("daemon and bus dead")
    status = trial.laptop.status()
    trial.expect(status["state"] == "blocked" and not status["enforced"], "status says locked, and not verified: nobody computed anything to compare with")
    trial.laptop.killswitch("disable", "--offline")
    _given_back(trial)


def _given_back(trial: Trial) -> None:
    trial.expect(trial.laptop.tables() == [], "no table is left")
    trial.lab.wait_for_internet()
    trial.control("given back")
    trial.expect(trial.laptop.resolve(a.WHO) == {a.WHO_AP}, "names are resolved by the access point again")


@case("flush-ruleset")
def flush_ruleset(trial: Trial) -> None:
    """Another program flushes the firewall, and deletes the tables by name, under the storm: nothing opens."""
    trial.control()
    trial.lock(restart=False)
    trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    with trial.no_leaks("flushed by another program"), trial.storm():
        _tamper(trial, trial.times(10, 100))
    with trial.no_leaks("flushed while the daemon is dead and the service manager keeps its socket"), trial.storm():
        daemon.kill()
        _tamper(trial, trial.times(10, 100))
    daemon.command("start")
    daemon.wait_ready(times=2)
    trial.laptop.wait_state("blocked", "connecting", "protected")


def _tamper(trial: Trial, times: int) -> None:
    for _ in range(times):
        trial.laptop.node.attempt("nft", "flush", "ruleset")
        trial.laptop.node.attempt("nft", "delete", "table", "inet", "killswitch")
        trial.laptop.node.attempt("nft", "delete", "table", "netdev", "killswitch")


@case("oracle-self-test")
def oracle_self_test(trial: Trial) -> None:
    """The oracle can fail: with the lock broken on purpose, the same probes are seen again."""
    trial.control()
    trial.lock(restart=False, store=0)
    trial.every_probe_refused("locked")
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    trial.laptop.node.run("nft", "flush", "ruleset")
    trial.control("lock broken on purpose")
    trial.expect(PROFILE.exists(), "the profile is untouched")
