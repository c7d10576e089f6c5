"""Thread counts from the affinity and the cgroup's quota."""

from __future__ import annotations

import os

import pytest

from pocketface.threads import default_threads, usable_cpus


@pytest.mark.parametrize(("cpus", "threads"), [(1, 1), (2, 2), (3, 2), (4, 3), (8, 4), (128, 4)])
def test_a_core_stays_free_from_three_on(cpus, threads):
    assert default_threads(cpus) == threads


def tree(tmp_path, cgroup: str, files: dict[str, str]):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def eight(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("cgroup", "files", "cpus"),
    [
        ("0::/app\n", {"app/cpu.max": "150000 100000"}, 1),
        ("0::/app\n", {"app/cpu.max": "50000 100000"}, 1),
        ("0::/app\n", {"app/cpu.max": "max 100000"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("0::/hidden\n", {"cpu.max": "200000 100000"}, 2),
        (
            "4:memory:/d\n3:cpu,cpuacct:/d\n",
            {"cpu/d/cpu.cfs_quota_us": "200000", "cpu/d/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("3:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1", "cpu/d/cpu.cfs_period_us": "100000"}, 8),
        ("nonsense\n", {"cpu.max": "what"}, 8),
    ],
)
def test_the_tightest_quota_counts(tmp_path, cgroup, files, cpus):
    assert usable_cpus(tree(tmp_path, cgroup, files)) == cpus


@pytest.mark.usefixtures("eight")
def test_without_cgroups_the_affinity_counts(tmp_path):
    assert usable_cpus(tmp_path) == 8
