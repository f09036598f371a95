"""What the benchmarks of the daemon print: a figure a line, and one JSON object."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass


@dataclass
class Figure:
    """One line of the table. A single value has no p99; a figure that is not aimed at anything has no target."""

    name: str
    unit: str
    p50: float
    p99: float | None = None
    target: float | None = None

    @property
    def missed(self) -> bool:
        """Whether there is a target, and it is not reached."""
        return self.target is not None and self.p50 > self.target


def quantiles(name: str, unit: str, values: list[float], target: float | None = None) -> Figure:
    """The figure that many values make."""
    values = sorted(values)
    return Figure(name, unit, round(values[len(values) // 2], 1), round(values[len(values) * 99 // 100], 1), target)


def timed(action: Callable[[], object]) -> float:
    """How long it took, in µs."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e6


def print_table(figures: Sequence[Figure], rounds: int, *notes: str) -> None:
    """For people."""
    width = max([41, *(len(figure.name) for figure in figures)]) + 1
    print(f"{'':{width}}{'p50':>10}{'p99':>10}  {'':5}{'target':>8}")
    for figure in figures:
        p99 = "" if figure.p99 is None else f"{figure.p99:,.0f}"
        target = "" if figure.target is None else f"≤ {figure.target:,.0f}"
        value = f"{figure.p50:,.0f}" if figure.unit != "1/s" else f"{figure.p50:.2f}"
        missed = "  MISSED" if figure.missed else ""
        print(f"{figure.name:{width}}{value:>10}{p99:>10}  {figure.unit:5}{target:>8}{missed}")
    for note in notes:
        print(f"\n{note}")
    load = os.getloadavg()[0]
    print(f"{rounds} rounds each; a single value stands below p50; {os.cpu_count()} processors, load {load:.1f}")


def print_json(figures: Sequence[Figure], rounds: int, **more: object) -> None:
    """For programs."""
    lines = [asdict(figure) | {"missed": figure.missed} for figure in figures]
    print(json.dumps({"version": 1, "rounds": rounds, "figures": lines, **more}))
