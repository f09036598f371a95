"""Conditions with a deadline, instead of sleeps that hope."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LabError(Exception):
    """Something in the laboratory did not happen; says what was expected."""


def until(what: str, condition: Callable[[], T], seconds: float = 10.0, step: float = 0.02) -> T:
    """Polls `condition` until it is true and returns its value; raises LabError naming `what` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabError(f"{what}: did not happen within {seconds:g} s (last seen: {value!r})")
        time.sleep(step)
