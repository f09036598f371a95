"""What keeps the lock where a table cannot outlive the socket that owns it (before Linux 6.9). Run in a virtual machine."""

from lab.trial import Trial, case
from lab.waiting import until


@case("no-persist", vm=True)
def no_persist(trial: Trial) -> None:
    """Flushed by another program, killed with the store lost, and both in turn, under the storm: nothing opens."""
    trial.control()
    trial.lock(restart=False, store=0)
    trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    whole = set(trial.laptop.tables())
    kernel = trial.laptop.status()["kernel"]
    assert isinstance(kernel, dict)
    trial.expect(kernel["ownership"] == "owner+twin", f"held twice: {', '.join(sorted(whole))}")

    def flush() -> None:
        trial.laptop.node.run("nft", "flush", "ruleset")

    def is_whole() -> bool:
        return set(trial.laptop.tables()) == whole

    def kill_and_restart() -> None:
        starts = daemon.count("ready")
        daemon.kill()
        trial.for_seconds(0.5)
        daemon.command("start")
        daemon.wait_ready(times=starts + 1)
        trial.laptop.wait_state("blocked", "connecting", "protected")
        until("all tables are there again", is_whole)

    rounds = trial.times(3, 25)
    with trial.no_leaks(f"flushed {rounds} times by another program"), trial.storm():
        for _ in range(rounds):
            flush()
            until("what was flushed is there again", is_whole)
    with trial.no_leaks(f"killed {rounds} times with no store"), trial.storm():
        for _ in range(rounds):
            kill_and_restart()
    with trial.no_leaks(f"flushed and killed in turn, {rounds} times"), trial.storm():
        for _ in range(rounds):
            flush()
            until("what was flushed is there again", is_whole)
            kill_and_restart()
