"""Traffic that is not of this computer's own sockets: containers, and devices stacked on the link."""

from collections.abc import Iterator
from contextlib import contextmanager

import probe

from lab import addresses as a
from lab.node import Node
from lab.topology import PYTHON
from lab.trial import Trial, case
from lab.waiting import LabError

_ROUTED = ("udp4-route", "udp6-route", "tcp4-route", "tcp6-route", "icmp4-route", "icmp6-route", "dns4-public-route")


@contextmanager
def _container(trial: Trial) -> Iterator[Node]:
    """A container behind the laptop, on a bridge of its own, that the laptop forwards for."""
    node = Node("container")
    trial.laptop.node.ip(
        "link add br0 type bridge",
        "address add 172.20.0.1/24 dev br0",
        "address add 2001:db8:20::1/64 dev br0",
        "link set br0 up",
        "link add veth0 type veth peer name eth0 netns container",
        "link set veth0 master br0 up",
    )
    node.ip(
        "link set eth0 up",
        "address add 172.20.0.2/24 dev eth0",
        "address add 2001:db8:20::2/64 dev eth0 nodad",
        "route add default via 172.20.0.1",
        "route add default via 2001:db8:20::1",
    )
    trial.laptop.node.sysctl("ipv4/ip_forward", 1)
    # accept_ra 2: a router that still listens to the access point's advertisements
    trial.laptop.node.sysctl(f"ipv6/conf/{a.LINK}/accept_ra", 2)
    trial.laptop.node.sysctl("ipv6/conf/all/forwarding", 1)
    yield node


def _probe_from(node: Node) -> None:
    """The routed probes, from another computer."""
    node.run(*PYTHON, probe.__file__, "once", *_ROUTED)


@case("forwarded")
def forwarded(trial: Trial) -> None:
    """A container behind the laptop gets out through the tunnel or not at all."""
    trial.control()
    with _container(trial) as container:
        window = trial.capture.window()
        _probe_from(container)
        trial.capture.settle()
        missing = set(_ROUTED) - set(window.probes)
        if missing:
            raise LabError(f"control: these probes of the container were not seen: {', '.join(sorted(missing))}")
        trial.say(f"control: the laptop forwards for its container: {window.summary()}")
        trial.lock()
        with trial.no_leaks("container, locked"):
            _probe_from(container)
        client = trial.laptop.connect()
        with trial.no_leaks("container, protected"):
            _probe_from(container)
        with trial.no_leaks("container, OpenVPN killed"):
            client.kill()
            _probe_from(container)
            trial.laptop.wait_state("blocked", "connecting")
            _probe_from(container)
