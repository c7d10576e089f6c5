"""Times calls: wall clock, and processor time, which a busy machine does not falsify."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_CALLS = 10
_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of one call, in milliseconds.

    Attributes:
        calls: how many were timed.
        p50: median of the wall time.
        p95: 95th percentile.
        p99: 99th percentile.
        cpu: median of the processor time of all the process's threads.
    """

    calls: int
    p50: float
    p95: float
    p99: float
    cpu: float


def time_calls(call: Callable[[], object], *, seconds: float) -> Timing:
    """Time a call, warm, for about so many seconds."""
    return time_interleaved({"": call}, seconds=seconds)[""]


def time_interleaved(calls: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, Timing]:
    """Time several calls in turn, so that whatever disturbs the machine disturbs all alike.

    Args:
        calls: by name.
        seconds: for each; every call is made at least `LEAST_CALLS` times.
    """
    for _ in range(_WARM_UP):
        for call in calls.values():
            call()
    wall: dict[str, list[int]] = {name: [] for name in calls}
    cpu: dict[str, list[int]] = {name: [] for name in calls}
    end = time.monotonic() + seconds * len(calls)
    rounds = 0
    while rounds < LEAST_CALLS or time.monotonic() < end:
        for name, call in calls.items():
            cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
            call()
            wall[name].append(time.perf_counter_ns() - start)
            cpu[name].append(time.process_time_ns() - cpu_start)
        rounds += 1
    return {name: _summary(wall[name], cpu[name]) for name in calls}


def crowding(rows: Sequence[Mapping[str, float]]) -> float:
    """Median of wall over processor time of the rows with one thread; well above 1 on a busy machine."""
    shares = [row["p50"] / row["cpu"] for row in rows if row["threads"] == 1 and row.get("cpu")]
    return float(np.median(shares)) if shares else 1.0


def _summary(wall: list[int], cpu: list[int]) -> Timing:
    p50, p95, p99 = (float(value) / 1e6 for value in np.percentile(wall, [50, 95, 99]))
    return Timing(len(wall), p50, p95, p99, float(np.median(cpu)) / 1e6)
