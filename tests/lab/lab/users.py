"""System users of the laptop."""

from pathlib import Path


def add_user(name: str, number: int) -> None:
    """A system user and its group, unless they are there."""
    lines = {"passwd": f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n", "group": f"{name}:x:{number}:\n"}
    for file, line in lines.items():
        path = Path("/etc") / file
        if f"{name}:" not in path.read_text():
            path.write_text(path.read_text() + line)
