"""The machine moves: other networks, further links, sleep. Nothing gets out, and protection comes back without help."""

import os
import signal
import time

from lab import addresses as a
from lab import logind
from lab.capture import Capture
from lab.node import Node, Process
from lab.trial import Trial, case
from lab.waiting import LabError, until

_PATIENCE = 90.0
"""Seconds until OpenVPN has noticed (its keepalive: five) and has found its server again."""


def _roam(trial: Trial) -> None:
    """To another access point: other prefixes, another router, a new lease."""
    trial.lab.take_link_down()
    trial.lab.become_other_network()
    trial.lab.bring_link_up()
    trial.expect(trial.lab.link_address().startswith("192.168.44."), "a lease of the other network")


@case("roaming-locked")
def roaming_locked(trial: Trial) -> None:
    """The locked laptop moves to another network under the storm, and connects from there."""
    trial.control()
    trial.lock()
    with trial.no_leaks("roaming while locked"), trial.storm():
        _roam(trial)
        trial.for_seconds(trial.times(1, 10))
    with trial.no_leaks("connecting from the other network"):
        trial.laptop.connect()
    trial.tunnel_works()


@case("roaming")
def roaming(trial: Trial) -> None:
    """The protected laptop moves to another network under the storm; the tunnel comes back by itself."""
    trial.control()
    trial.lock()
    trial.laptop.connect()
    with trial.no_leaks("roaming while protected"), trial.storm():
        _roam(trial)
        _back_again(trial)
    trial.tunnel_works()


def _back_again(trial: Trial) -> None:
    """The tunnel carries packets again without anybody's help: OpenVPN has connected anew, or its way to the server was
    put right and it did not have to."""
    ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", "-I", "tun0", a.HOST)
    node = trial.laptop.node
    until("a host answers through the tunnel", lambda: node.attempt(*ping).returncode == 0, _PATIENCE, step=0.2)
    trial.laptop.wait_state("protected", seconds=_PATIENCE)


def _found_back(trial: Trial, client: Process, times: int) -> None:
    """OpenVPN has connected once more, and the status says so, without anybody's help."""
    done = "Initialization Sequence Completed"
    until("OpenVPN has connected again", lambda: client.log().count(done) > times, _PATIENCE, step=0.2)
    trial.laptop.wait_state("protected", seconds=_PATIENCE)


@case("tether")
def tether(trial: Trial) -> None:
    """The Wi-Fi loses the internet, a USB tether appears as a second link and the default route moves there: nothing on
    either link, and back to protected without help; then it is pulled out again."""
    trial.control()
    trial.lock()
    trial.laptop.connect()
    phone = _plug_in(trial)
    window = phone.window(settle=False)
    with trial.no_leaks("tether plugged in and pulled out, on the Wi-Fi"), trial.storm():
        _internet_behind_wifi(trial, False)
        trial.laptop.node.ip("link set usb0 up")
        trial.laptop.node.ip(
            "address add 192.168.44.2/24 dev usb0",
            "address add 2001:db8:44::2/64 dev usb0 nodad",
            f"route replace default via {a.OTHER_AP} dev usb0 metric 100",
            f"route replace default via {a.OTHER_AP6} dev usb0 metric 10",
        )
        _back_again(trial)
        trial.for_seconds(trial.times(1, 10))
        phone.settle()
        if window.leaks:
            raise LabError(f"on the tether: {window.summary()}: {window.samples}")
        trial.expect(window.allowed["transport"], "the tunnel's packets take the tether")
        trial.say(f"on the tether: 0 leaks in {sum(window.allowed.values())} frames ({window.summary()})")
        _internet_behind_wifi(trial, True)
        trial.laptop.node.ip("link delete usb0")
        _back_again(trial)
    trial.tunnel_works()


def _plug_in(trial: Trial) -> Capture:
    """A phone with a tether's link that is not up yet, and a capture at its far end."""
    phone = Node("phone")
    trial.lab.internet.ip("link add phone0 type veth peer name wan0 netns phone")
    for node, device, number in ((trial.lab.internet, "phone0", 5), (phone, "wan0", 6)):
        node.ip(
            f"address add 192.0.2.{number}/30 dev {device}",
            f"address add 2001:db8:e::{number}/64 dev {device} nodad",
            f"link set {device} up",
        )
    phone.ip(
        "link add tether0 type veth peer name usb0 netns laptop",
        f"address add {a.OTHER_AP}/24 dev tether0",
        f"address add {a.OTHER_AP6}/64 dev tether0 nodad",
        "link set tether0 up",
        "route add default via 192.0.2.5",
        "route add default via 2001:db8:e::5",
    )
    phone.sysctl("ipv4/ip_forward", 1)
    phone.sysctl("ipv6/conf/all/forwarding", 1)
    trial.lab.internet.ip(
        f"route add {a.OTHER_AP_PREFIX} via 192.0.2.6", f"route add {a.OTHER_AP6_PREFIX} via 2001:db8:e::6"
    )
    return Capture(phone, "tether0", trial.lab.laptop, trial.oracle, "usb0")


def _internet_behind_wifi(trial: Trial, there: bool) -> None:
    """Whether the access point forwards."""
    chain = "chain forward { type filter hook forward priority 0; policy drop; }"
    trial.lab.ap.run("nft", "flush ruleset" if there else f"table inet cut {{ {chain}; }}")


@case("suspend")
def suspend(trial: Trial) -> None:
    """The machine sleeps while it is protected and wakes up elsewhere: nothing gets out, everything is verified anew,
    and protection comes back without help. Meanwhile others flush the firewall."""
    trial.control()
    logind.allow()
    trial.lock()
    client = trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    sleeping = logind.Logind(trial.laptop.node)
    with trial.no_leaks("asleep, and awake elsewhere"), trial.storm():
        sleeping.prepare_for_sleep(True)
        for pid in (daemon.pid, client.pid):
            os.kill(pid, signal.SIGSTOP)
        trial.lab.take_link_down()
        _until_forgotten(trial)
        trial.lab.become_other_network()
        trial.laptop.node.attempt("nft", "flush", "ruleset")
        trial.lab.bring_link_up()
        trial.for_seconds(0.5)
        for pid in (daemon.pid, client.pid):
            os.kill(pid, signal.SIGCONT)
        sleeping.prepare_for_sleep(False)
        until("the daemon heard that the machine woke up", lambda: "the machine slept" in daemon.log())
        _found_back(trial, client, 1)
    trial.expect(trial.laptop.status()["enforced"], "the status is verified")
    trial.tunnel_works()


def _until_forgotten(trial: Trial) -> None:
    """Until the server has given the silent laptop up, as after a night."""
    server = trial.lab.vpn_server
    assert server is not None
    before = server.log().count("Inactivity timeout")
    until("the server gives up", lambda: server.log().count("Inactivity timeout") > before, 40, step=0.2)


@case("hung-daemon")
def hung_daemon(trial: Trial) -> None:
    """The daemon hangs: the lock and the tunnel do not notice, and status does not say what nobody verified."""
    trial.control()
    trial.lock()
    trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    with trial.no_leaks("the daemon hangs"), trial.storm():
        os.kill(daemon.pid, signal.SIGSTOP)
        began = time.monotonic()
        status = trial.laptop.status()
        trial.say(f"status answers after {time.monotonic() - began:.1f} s: {status['state']}, {status['reasons']}")
        trial.expect(not status["enforced"] and status["state"] != "protected", "a hung daemon verifies nothing")
        os.kill(daemon.pid, signal.SIGCONT)
        trial.laptop.wait_state("protected")
    trial.tunnel_works()
