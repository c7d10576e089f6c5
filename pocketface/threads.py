"""How many threads an inference may use on this device."""

from __future__ import annotations

import os
from pathlib import Path

from pocketface.errors import InputError

LIMIT = 256
"""More are refused: starting a hundred thousand takes minutes and gigabytes, and cannot be interrupted."""

MAX_THREADS = 4
"""More than four threads do not pay for graphs of a few hundred million multiply-adds."""


def usable_cpus(root: Path = Path("/")) -> int:
    """Processors this process may really use: its affinity, limited by the cgroup's CPU quota.

    `os.cpu_count` counts the machine's; in a container of half a CPU that starts far too many threads.

    Args:
        root: where `proc` and `sys` are mounted.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(root)
    if quota is not None:
        count = min(count, max(1, int(quota)))
    return count


def default_threads(cpus: int | None = None) -> int:
    """Threads for one inference: from three processors on one stays free for everything else.

    Args:
        cpus: usable processors; found out when None.
    """
    if cpus is None:
        cpus = usable_cpus()
    if cpus <= 2:
        return max(cpus, 1)
    return min(cpus - 1, MAX_THREADS)


def checked_threads(threads: int) -> int:
    """`threads` as they were asked for.

    Raises:
        InputError: there are less than 1 or more than `LIMIT` of them.
    """
    if not 1 <= threads <= LIMIT:
        raise InputError(f"threads must be 1 to {LIMIT}, not {threads}")
    return threads


def _cgroup_quota(root: Path) -> float | None:
    """Processors granted by the tightest cgroup above this process (version 2, then 1), or None."""
    quotas = [quota for folder in _cgroup_folders(root) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: Path) -> list[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    mount = root / "sys/fs/cgroup"
    folders = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = mount / "cpu" if controllers else mount
        folder = base / path.lstrip("/")
        # Inside a container the path is often the host's and does not exist: the mount itself counts.
        folders += [base, folder, *(parent for parent in folder.parents if base in parent.parents)]
    return folders


def _quota_of(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        granted, of = int(quota), int(period)
    except ValueError:  # "max": no limit
        return None
    return granted / of if granted > 0 and of > 0 else None
