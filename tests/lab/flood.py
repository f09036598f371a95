"""Floods an endpoint with datagrams until standard input ends: flood.py ADDRESS PORT [OPTIONS].

From ever-new sockets, of which the last HOLD are kept open; or (--reuse) from HOLD sockets in turn. Prints "ready" when
that many are open, and a JSON object at the end: the attempts, and the CPU time that they took.
"""

import argparse
import collections
import json
import os
import resource
import select
import socket
import time


def _next_socket(kept: collections.deque[socket.socket], hold: int, reuse: bool, family: int) -> socket.socket:
    if reuse and len(kept) >= hold:
        kept.rotate(1)
        return kept[0]
    kept.appendleft(socket.socket(family, socket.SOCK_DGRAM))
    if len(kept) > hold + 1:
        kept.pop().close()
    return kept[0]


def flood(target: tuple[str, int], hold: int, reuse: bool, rate: float) -> int:
    """Sends until standard input ends. @return how many"""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    kept: collections.deque[socket.socket] = collections.deque()
    began, attempts = time.monotonic(), 0
    while True:
        try:
            _next_socket(kept, hold, reuse, family).sendto(b"ksprobe-flood;", target)
        except OSError:
            pass  # refused at once
        attempts += 1
        if attempts == hold + 1:
            print("ready", flush=True)
        ahead = attempts / rate - (time.monotonic() - began)
        if (ahead > 0.001 or attempts % 64 == 0) and select.select([0], [], [], max(ahead, 0))[0]:
            return attempts
        if ahead < -0.1:  # held up by a busy machine: do not make up for it in one burst
            began = time.monotonic() - attempts / rate


def main() -> None:
    """Reads the command line and sends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--rate", type=float, default=2000)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (arguments.hold + 64, arguments.hold + 64))
    if arguments.uid:
        os.setgroups([])
        os.setresgid(arguments.uid, arguments.uid, arguments.uid)
        os.setresuid(arguments.uid, arguments.uid, arguments.uid)
    attempts = flood((arguments.address, arguments.port), arguments.hold, arguments.reuse, arguments.rate)
    spent = os.times()
    print(json.dumps({"attempts": attempts, "cpu": spent.user + spent.system}), flush=True)


if __name__ == "__main__":
    main()
