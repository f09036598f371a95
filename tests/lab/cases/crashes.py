"""Things that die: OpenVPN, the daemon, the tunnel."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab import addresses as a
from lab.node import Process
from lab.traffic import Stream
from lab.trial import Trial, case
from lab.waiting import LabError, until

from .faults import state_is_whole


def _control_kill(trial: Trial) -> None:
    """Without the kill switch the death of OpenVPN lets everything out."""
    client = trial.laptop.openvpn()
    window = trial.capture.window()
    with trial.storm():
        client.kill()
        until("the tunnel is gone", lambda: not trial.laptop.has_tunnel())
        before = trial.capture.window()
        until("the storm reaches the access point", lambda: before.leaks > 50)
    trial.capture.settle()
    trial.say(f"control, OpenVPN killed without a kill switch: {window.leaks + before.leaks} frames leaked")


@case("kill-openvpn")
def kill_openvpn(trial: Trial) -> None:
    """OpenVPN is killed with SIGKILL under the storm, several times: nothing gets out."""
    _control_kill(trial)
    trial.lock()
    for number in range(trial.times(3, 25)):
        client = trial.laptop.connect()
        with trial.no_leaks(f"OpenVPN killed ({number + 1})"), trial.storm():
            client.kill()
            trial.laptop.wait_state("blocked", "connecting")
            trial.for_seconds(0.5)
    trial.laptop.connect()
    trial.tunnel_works()


@case("kill-daemon")
def kill_daemon(trial: Trial) -> None:
    """The daemon is killed with SIGKILL under the storm and stays dead for a while: the lock stays."""
    trial.control()
    trial.lock(restart=False, store=0)
    client = trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    with trial.no_leaks("daemon killed, dead, and started again"), trial.storm():
        daemon.kill()
        trial.for_seconds(trial.times(2, 10))
        trial.expect(trial.laptop.tables(), "the tables outlived their daemon")
        daemon.command("start")
        daemon.wait_ready(times=2)
        trial.laptop.wait_state("blocked", "connecting", "protected")
    _reconnect(trial, client)


def _reconnect(trial: Trial, client: Process) -> None:
    """OpenVPN ends when its management peer is gone; connects anew."""
    if client.alive():
        client.kill()
    with trial.no_leaks("connecting again"):
        trial.laptop.connect()
    trial.tunnel_works()


@case("restart-daemon")
def restart_daemon(trial: Trial) -> None:
    """The daemon is killed and restarted again and again: the tunnel carries every packet, the lock never opens."""
    trial.control()
    trial.lock(restart=True)
    client = trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    trial.expect(daemon.stored(), f"the service manager keeps descriptors ({', '.join(daemon.stored())})")
    rounds = trial.times(5, 50)
    with trial.storm(), Stream(trial.lab) as undisturbed:
        trial.for_seconds(2)
    with trial.no_leaks(f"daemon killed and restarted {rounds} times"), trial.storm(), Stream(trial.lab) as disturbed:
        for number in range(rounds):
            daemon.kill()
            daemon.wait_ready(times=number + 2)
            trial.laptop.wait_state("protected")
    trial.say(f"echo requests through the tunnel, no restart: {undisturbed.result}")
    trial.say(f"echo requests through the tunnel, {rounds} restarts: {disturbed.result}")
    trial.expect(client.alive(), "OpenVPN never noticed")
    if disturbed.result.lost > undisturbed.result.lost:
        raise LabError(f"{disturbed.result.lost} echo requests were lost while the daemon restarted")


@contextmanager
def _unrest(trial: Trial, client: Process) -> Iterator[None]:
    """Links come and go all the time, so that there is always an apply to be killed in; the tunnel flaps."""
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.is_set():
            trial.laptop.node.attempt("ip", "link", "add", f"spare{number % 4}", "type", "veth")
            trial.laptop.node.attempt("ip", "link", "delete", f"spare{(number + 2) % 4}")
            number += 1
            if number % 100 == 0 and client.alive():
                os.kill(client.pid, signal.SIGUSR1)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()


@case("kill-any-moment")
def kill_any_moment(trial: Trial) -> None:
    """The daemon is killed at random moments, also while it starts and while it applies, under the storm, while links
    come and go and the tunnel flaps: nothing gets out, and the state file is never torn."""
    trial.control()
    trial.lock(restart=True)
    client = trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    rounds = trial.times(30, 1000)
    seed = random.randrange(1 << 32)
    trial.say(f"seed {seed}")
    moments = random.Random(seed)
    with trial.no_leaks(f"daemon killed at {rounds} random moments"), trial.storm(), _unrest(trial, client):
        for number in range(rounds):
            if number % 2:
                until("the daemon is ready", daemon.is_ready)
            trial.for_seconds(moments.uniform(0, 0.15))
            starts = daemon.count("started")
            daemon.kill()
            state_is_whole()
            until("the service manager starts it again", lambda: daemon.count("started") > starts)
    early = rounds - (daemon.count("ready") - 1)
    trial.say(f"{early} of these deaths came before the daemon was ready")
    trial.laptop.wait_state("protected", seconds=90)
    trial.expect(client.alive(), "OpenVPN lived through all of it")
    trial.tunnel_works()


@case("tun-deleted")
def tun_deleted(trial: Trial) -> None:
    """Somebody deletes the tunnel's interface while OpenVPN runs."""
    trial.control()
    trial.lock()
    client = trial.laptop.connect()
    with trial.no_leaks("tunnel interface deleted"), trial.storm():
        trial.laptop.node.ip("link delete tun0")
        trial.laptop.wait_state("blocked", "connecting")
        trial.for_seconds(1)
    _reconnect(trial, client)


@case("boot")
def boot(trial: Trial) -> None:
    """The daemon starts before the link comes up, as after a reboot: no address, and not one frame too many."""
    trial.lock()
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.stop()
    trial.lab.take_link_down()
    trial.laptop.node.run("nft", "flush", "ruleset")
    _control_link_up(trial)
    trial.lab.take_link_down()
    trial.laptop.start_daemon()
    trial.laptop.wait_state("blocked", "connecting")
    with trial.no_leaks("link comes up under the lock", link_up=False), trial.storm():
        trial.lab.bring_link_up()
        trial.for_seconds(1)
    trial.expect(trial.lab.link_address() and trial.lab.link_address6(), "addresses by DHCP and router advertisement")
    with trial.no_leaks("connecting"):
        trial.laptop.connect()
    trial.tunnel_works()


def _control_link_up(trial: Trial) -> None:
    """Without the lock the kernel alone says things (multicast membership) as soon as the link is up."""
    window = trial.capture.window(settle=False)
    trial.lab.bring_link_up()
    trial.capture.settle()
    until("frames of the kernel's own at the access point", lambda: window.leaks)
    trial.say(f"control, link up without the lock: {window.summary()} (towards {a.AP})")
