"""Other programs that change the firewall, on purpose or by being reloaded: nothing opens, and status says what was
seen (G5). Each kind is shown first against a lock as others make it, which it opens."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import addresses as a
from lab.node import Node
from lab.trial import Trial, case
from lab.waiting import LabError, until

from .leak_classes_common import shown_closed, shown_open
from .leak_classes_inbound import answers_into_tunnel, arp_question, told_addresses

_WORDS = ("udp4-", "icmp4-")
"""Probes of the controls: such as a lock in netfilter's IPv4 hooks can hold."""

_LOCK = f"""\
table inet lock {{
  chain out {{
    type filter hook postrouting priority 500; policy drop;
    oifname != "{a.LINK}" accept
    drop
  }}
}}
"""
"""A lock as other programs make it: a table that nobody owns."""


@dataclass(frozen=True)
class Attack:
    """A way to change the firewall; `act` goes at both locks, of which the one does not know the other."""

    name: str
    act: Callable[[Node], object]
    lock: Callable[[Node], object] = lambda node: node.run("nft", "-f", "-", text=_LOCK)
    unlock: Callable[[Node], object] = lambda node: node.attempt("nft", "delete table inet lock")


def nft(*lines: str) -> Callable[[Node], None]:
    """Each line to an nft(8) of its own, whatever comes of it; in a line, {table} is the lock and {chain} its chain."""

    def act(node: Node) -> None:
        for line in lines:
            names = {"{table}": ("inet lock", "inet killswitch"), "{chain}": ("out", "output")}
            for number in range(2):
                text = line
                for place, both in names.items():
                    text = text.replace(place, both[number])
                node.attempt("nft", text)
                if text == line:
                    break

    return act


NFT_ATTACKS = (
    Attack("nft flush ruleset", nft("flush ruleset")),
    Attack("nft delete table", nft("delete table {table}", "delete table netdev killswitch")),
    Attack("nft insert rule", nft("insert rule {table} {chain} accept")),
    Attack("nft delete chain", nft("delete chain {table} {chain}", "delete chain netdev killswitch egress")),
    Attack("nft policy, flush chain", nft("chain {table} {chain} { policy accept; }", "flush chain {table} {chain}")),
    Attack("table dormant", nft("add table {table} { flags dormant ; }")),
    Attack("nftables.service restarted", lambda node: node.attempt("nft", "-f", "/etc/nftables.conf")),
)

_NFTABLES_CONF = """\
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  chain input { type filter hook input priority filter; }
  chain forward { type filter hook forward priority filter; }
  chain output { type filter hook output priority filter; }
}
"""
"""As Debian's package brings it."""


def withstands(trial: Trial, attack: Attack, times: int) -> None:
    """Nothing of the storm gets out while the attack is repeated; afterwards everything is as it was, and said so."""
    with trial.no_leaks(f"{attack.name}, {times} times"):
        for number in range(1, times + 1):
            attack.act(trial.laptop.node)
            if number % 100 == 0:
                trial.say(f"{attack.name}: {number} of {times}")
    truthful(trial)


def truthful(trial: Trial) -> None:
    """The status has read the kernel and found everything; what others could not do it has not seen."""
    status = trial.laptop.status()
    kernel, tampering = status["kernel"], status["tampering"]
    assert isinstance(kernel, dict) and isinstance(tampering, dict)
    if not status["enforced"] or status["state"] != "protected":
        raise LabError(f"status says {status['state']}, enforced {status['enforced']}: {status['reasons']}")
    if tampering["repaired"] != tampering["attempts"]:
        raise LabError(f"not everything is repaired: {tampering}")
    if kernel["ownership"] == "owner+persist" and tampering["attempts"]:
        raise LabError(f"an owned table was changed: {tampering}")


def opens_others(trial: Trial, attack: Attack) -> None:
    """The control: under the same storm the same attack opens a lock that is not ours."""
    node = trial.laptop.node
    attack.lock(node)
    window = trial.capture.window()
    trial.for_seconds(0.2)
    trial.capture.settle()
    if window.leaked_probes:
        raise LabError(f"control, {attack.name}: the other lock does not even hold: {window.summary()}")
    attack.act(node)
    until(f"control, {attack.name}: the other lock is open", lambda: window.leaked_probes)
    attack.unlock(node)
    trial.say(f"control, {attack.name}: the other lock leaks")


def run_attacks(trial: Trial, attacks: Sequence[Attack], short: int, long: int) -> None:
    """All of them: controls, then ours."""
    with trial.storm(words=_WORDS):
        for attack in attacks:
            opens_others(trial, attack)
    trial.lock()
    trial.laptop.connect()
    with trial.storm():
        for attack in attacks:
            withstands(trial, attack, trial.times(short, long))
    trial.tunnel_works()


@case("tamper-nft")
def tamper_nft(trial: Trial) -> None:
    """nft(8) flushes, deletes, inserts, sets policies and flags, and reloads nftables.conf, under the storm."""
    Path("/etc/nftables.conf").write_text(_NFTABLES_CONF)
    run_attacks(trial, NFT_ATTACKS, 20, 1000)


_RESTORED = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j ACCEPT\nCOMMIT\n"


def _restore(*programs: str) -> Callable[[Node], None]:
    def act(node: Node) -> None:
        for program in programs:
            node.run(program, text=_RESTORED)

    return act


@case("tamper-iptables")
def tamper_iptables(trial: Trial) -> None:
    """iptables-restore of both kinds and families puts back what accepts everything, under the storm."""
    kinds = []
    for kind in ("nft", "legacy"):
        if trial.laptop.node.attempt(f"iptables-{kind}", "-S").returncode == 0:
            kinds.append(_iptables(kind))
        else:
            trial.say(f"this kernel has no iptables-{kind}")
    run_attacks(trial, kinds, 20, 1000)


def _iptables(kind: str) -> Attack:
    program = f"iptables-{kind}"
    return Attack(
        f"{program}-restore",
        _restore(f"{program}-restore", f"ip6tables-{kind}-restore"),
        lambda node: node.run(program, "-I", "OUTPUT", "-o", a.LINK, "-j", "DROP"),
        lambda node: node.run(program, "-F"),
    )


# -- a program that changes its own tables all the time -------------------------------------------------------------

_CHURN = """\
add table ip churn
add chain ip churn nat { type nat hook output priority -100 ; policy accept ; }
add chain ip churn c%d
add rule ip churn nat ip daddr 10.%d.0.0/16 counter jump c%d
delete table ip churn
"""


class Churn:
    """As container engines do at their worst: one nft(8) that makes and deletes tables and chains all the time."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __enter__(self) -> "Churn":
        with self._node.entered():
            self._process = subprocess.Popen(
                ["nft", "--interactive"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def turns(self, count: int) -> None:
        """Five transactions each; returns when they are done."""
        assert self._process.stdin is not None
        for number in range(count):
            self._process.stdin.write(_CHURN % ((number % 250,) * 3))
        self._process.stdin.write("add table ip churned\n")
        self._process.stdin.flush()
        done = ("nft", "list", "table", "ip", "churned")
        until("the churn is done", lambda: self._node.attempt(*done).returncode == 0, 600, step=0.2)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@case("tamper-churn")
def tamper_churn(trial: Trial) -> None:
    """A program changes its own tables hundreds of times a second: nothing opens, nothing is called tampering, the
    daemon stays calm and answers."""
    node = trial.laptop.node
    trial.lock()
    trial.laptop.connect()
    daemon = trial.laptop.daemon
    assert daemon is not None
    with trial.no_leaks("docker-like churn"), trial.storm(), Churn(node) as churn:
        used, began = _processor_seconds(daemon.pid), time.monotonic()
        rounds = trial.times(400, 20000)
        churn.turns(rounds)
        seconds = time.monotonic() - began
        used = _processor_seconds(daemon.pid) - used
        truthful(trial)
    share = 100 * used / seconds
    trial.say(f"{5 * rounds} foreign transactions in {seconds:.1f} s; killswitchd used {share:.1f} % of a processor")
    trial.expect("changed our rules" not in daemon.log(), "other programs' own tables are no tampering")
    trial.tunnel_works()


# -- around the tables ----------------------------------------------------------------------------------------------

_SYSCTLS = {
    "ipv4/ip_forward": 1,
    **{
        f"ipv4/conf/{place}/{name}": value
        for place in ("all", "default", a.LINK)
        for name, value in {
            "arp_ignore": 0, "arp_announce": 0, "arp_accept": 1, "proxy_arp": 1, "rp_filter": 0, "accept_local": 1,
            "route_localnet": 1, "accept_redirects": 1, "secure_redirects": 0, "send_redirects": 1, "forwarding": 1,
            "accept_source_route": 1, "src_valid_mark": 0,
        }.items()
    },
    **{
        f"ipv6/conf/{place}/{name}": value
        for place in ("all", "default", a.LINK)
        for name, value in {
            "forwarding": 1, "accept_ra": 2, "accept_redirects": 1, "autoconf": 1, "proxy_ndp": 1, "ndisc_notify": 1,
            "accept_source_route": 0,
        }.items()
    },
    "ipv4/icmp_echo_ignore_all": 0,
    "ipv4/fwmark_reflect": 1,
    "ipv4/tcp_fwmark_accept": 1,
}  # fmt: skip
"""Everything that others can set against us, as badly as can be."""


@contextmanager
def _hostile_sysctls(trial: Trial) -> Iterator[None]:
    for name, value in _SYSCTLS.items():
        trial.laptop.node.sysctl(name, value)
    yield


@case("tamper-sysctl")
def tamper_sysctl(trial: Trial) -> None:
    """Every sysctl that could matter is set against us: no guarantee depends on one."""
    questions = [arp_question(trial), *(way for way in told_addresses(trial) if way.name != "nd-tunnel")]
    with _hostile_sysctls(trial):
        client = trial.laptop.openvpn()
        said = answers_into_tunnel(trial)
        trial.expect(all(said.values()), f"control, plain OpenVPN: forged packets are answered ({said})")
        shown_open(trial, questions, "control, plain OpenVPN, hostile sysctls")
        client.kill()
        trial.lock()
        trial.every_probe_refused("locked, hostile sysctls")
        trial.laptop.connect()
        shown_closed(trial, [arp_question(trial), *told_addresses(trial)], "questions for the tunnel's addresses")
        said = answers_into_tunnel(trial)
        trial.expect(not any(said.values()), f"forged packets for the tunnel's addresses are not answered ({said})")
        with trial.no_leaks("sysctls turned back and forth"), trial.storm():
            for _ in range(trial.times(3, 50)):
                for name, value in _SYSCTLS.items():
                    trial.laptop.node.sysctl(name, 0)
                    trial.laptop.node.sysctl(name, value)
    truthful(trial)


@case("tamper-links")
def tamper_links(trial: Trial) -> None:
    """Devices under our egress hook are renamed, deleted and made anew, also with the hook that goes with them."""
    node = trial.laptop.node
    trial.lock()
    trial.laptop.connect()
    for number in range(trial.times(10, 200)):
        node.ip(f"link add spare{number % 3} type veth peer name far{number % 3}", f"link set spare{number % 3} up")
        node.ip(f"link set far{number % 3} name other{number % 3}", f"link delete spare{number % 3}")
    trial.laptop.wait_state("protected")
    truthful(trial)
    status = trial.laptop.status()
    tampering = status["tampering"]
    assert isinstance(tampering, dict)
    trial.expect(tampering["attempts"] == 0, "hooks that went with their devices are no tampering")
    trial.every_probe_refused("devices came and went")
