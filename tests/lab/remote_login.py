"""A remote login without sshd: waits for one connection, and runs a command as its session.

remote_login.py ADDRESS PORT environment|socket COMMAND…

environment: the session's shell has SSH_CONNECTION, and the command runs below it with an empty environment, as sudo
leaves it. socket: nothing is in any environment, but the ancestor is called sshd-session and holds the connection. Ends
with the command's exit status.
"""

import ctypes
import ipaddress
import os
import socket
import subprocess
import sys

_PR_SET_NAME = 15


def main() -> int:
    """Serves one connection."""
    address, port, way, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"sshd-session", 0, 0, 0)
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, int(port)))
    listener.listen(1)
    print("ready", flush=True)
    connection, client = listener.accept()
    plain = {"PATH": os.environ["PATH"]}
    if way == "socket":
        return subprocess.run(command, stdin=subprocess.DEVNULL, env=plain, check=False).returncode
    connection.close()
    session = {**plain, "SSH_CONNECTION": f"{client[0]} {client[1]} {address} {port}"}
    shell = ["sh", "-c", '"$@"; exit $?', "sh", "env", "-i", f"PATH={plain['PATH']}"]
    return subprocess.run([*shell, *command], stdin=subprocess.DEVNULL, env=session, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
