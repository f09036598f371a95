"""The hosts of the internet: answer UDP and TCP on the ports that the probes use (ICMP is the kernel's work)."""

import selectors
import socket

_UDP_PORTS = (7, 9, 53, 443)
_TCP_PORTS = (53, 80, 443, 853)


def _listen(kind: socket.SocketKind, port: int) -> socket.socket:
    """A dual-stack socket on `port`; UDP answers come from the address that was asked."""
    listener = socket.socket(socket.AF_INET6, kind)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    listener.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        listener.listen(512)
    return listener


def _echo(datagrams: socket.socket) -> None:
    data, control, _, sender = datagrams.recvmsg(65536, 256)
    answer_from = [item for item in control if item[:2] == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)]
    # the interface index is cleared: routing decides, the address stays
    answer_from = [(level, kind, value[:16] + bytes(4)) for level, kind, value in answer_from]
    try:
        datagrams.sendmsg([data], answer_from, 0, sender)
    except OSError:
        pass  # an answer that cannot be sent is lost, as on the real internet


def _greet(listener: socket.socket) -> None:
    """Tells the caller which address it is seen with."""
    connection, caller = listener.accept()
    try:
        connection.send(f"hello {caller[0].removeprefix('::ffff:')}\n".encode())
    except OSError:
        pass  # the caller has gone already
    connection.close()


def main() -> None:
    """Serves until it is killed."""
    selector = selectors.DefaultSelector()
    for port in _UDP_PORTS:
        selector.register(_listen(socket.SOCK_DGRAM, port), selectors.EVENT_READ, _echo)
    for port in _TCP_PORTS:
        selector.register(_listen(socket.SOCK_STREAM, port), selectors.EVENT_READ, _greet)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            key.data(key.fileobj)


if __name__ == "__main__":
    main()
