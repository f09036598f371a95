"""Conditions with a deadline, instead of sleeps that hope."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


PATIENCE = float(os.environ.get("LAB_PATIENCE", "1"))
"""Deadlines are that many times as long: an emulated machine is slower than any real one."""


class LabError(Exception):
    """Something in the laboratory did not happen; says what was expected."""


def until(what: str, condition: Callable[[], T], seconds: float = 10.0, step: float = 0.02) -> T:
    """Polls `condition` until it is true and returns its value; raises LabError naming `what` at the deadline."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabError(f"{what}: did not happen within {seconds * PATIENCE:g} s (last seen: {value!r})")
        time.sleep(step)
