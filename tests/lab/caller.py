"""A foreign program uses an endpoint: caller.py NAME udp|tcp ADDRESS PORT SOURCE-PORT UID [--times N].

UDP: sends datagrams that carry its name and waits for an answer to each. TCP: connects, with enough time for a second
connection request. Prints "answered" for each answer and "done" at the end; a refusal by the kernel is no error.
"""

import argparse
import os
import socket

_SECONDS = {"udp": 0.1, "tcp": 1.3}


def call(kind: str, name: str, target: tuple[str, int], source: int) -> None:
    """One call, from a socket of its own."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as caller:
        if family == socket.AF_INET6:
            caller.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        caller.settimeout(_SECONDS[kind])
        try:
            caller.bind(("", source))
            caller.connect(target)
            caller.send(f"ksprobe-{name};".encode())
            if caller.recv(512):
                print("answered", flush=True)
        except OSError:
            pass  # refused, or nothing came back


def main() -> None:
    """Reads the command line and calls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("kind", choices=("udp", "tcp"))
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("source", type=int)
    parser.add_argument("uid", type=int)
    parser.add_argument("--times", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.uid:
        os.setgroups([])
        os.setresgid(arguments.uid, arguments.uid, arguments.uid)
        os.setresuid(arguments.uid, arguments.uid, arguments.uid)
    for _ in range(arguments.times):
        call(arguments.kind, arguments.name, (arguments.address, arguments.port), arguments.source)
    print("done", flush=True)


if __name__ == "__main__":
    main()
