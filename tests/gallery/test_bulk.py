"""Many people at once, on one process and on Ray's workers."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys

import pytest

from pocketface.gallery.bulk import enroll_folder


@pytest.fixture(scope="module")
def people(lfw, photos, tmp_path_factory):
    """Sixteen people with one to three photos, and one photo without a face."""
    root = tmp_path_factory.mktemp("photos")
    people = {}
    for source in sorted(lfw.iterdir())[:64:4]:
        if source.is_dir():
            (root / source.name).mkdir()
            people[source.name] = [
                shutil.copy(photo, root / source.name) for photo in sorted(source.glob("*.jpg"))[:3]
            ]
    (root / "nobody").mkdir()
    shutil.copy(photos / "no-face.jpg", root / "nobody")
    return people | {"nobody": [str(root / "nobody" / "no-face.jpg")]}


@pytest.fixture(scope="module")
def expected(recognizer, people, tmp_path_factory):
    """Photos a person that can be enrolled."""
    with recognizer.gallery(tmp_path_factory.mktemp("expected") / "people.db") as gallery:
        _, refused = enroll_folder(gallery, people)
        assert any("no-face.jpg: no face found" in reason for reason in refused.values())
        counts = {person.name: person.templates for person in gallery.people()}
    assert len(counts) >= 9, refused
    assert "nobody" not in counts
    return counts


def stored(gallery):
    ids = [template.id for _, template in gallery.store.templates()]
    assert len(ids) == len(set(ids)), "somebody is there twice"
    return {person.name: person.templates for person in gallery.people()}


def test_an_interrupted_enrolment_is_continued(recognizer, people, expected, tmp_path):
    with recognizer.gallery(tmp_path / "people.db") as gallery:

        def interrupt(done, total):
            if done == 8:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            enroll_folder(gallery, people, progress=interrupt)
        assert 0 < len(stored(gallery)) < len(expected)
        enrolled, _ = enroll_folder(gallery, people)
        assert sum(one.known for one in enrolled) >= 3
        assert stored(gallery) == expected


def test_what_cannot_be_enrolled_is_passed_over(recognizer, people, tmp_path, monkeypatch):
    """A HEIC photo without the extra, a folder whose name is no text, a name written in two ways."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic = tmp_path / "a.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (good, *_), (other, *_) = (people[name] for name in sorted(people)[:2])
    given = {
        "\udcff": [good],
        "Jos\u00e9": [str(heic), good],
        "Jose\u0301": [other],
    }
    with recognizer.gallery(tmp_path / "people.db") as gallery:
        for known in (0, 2):
            enrolled, refused = enroll_folder(gallery, given, check_quality=False)
            assert [(one.person, one.added, one.known) for one in enrolled] == [
                ("Jos\u00e9", 2 - known, known)
            ]
            assert refused.keys() == {good, str(heic)}
            assert "heic" in refused[str(heic)]
            assert "name" in refused[good]


def start_ray(ray):
    """Ray's processes must start within 15 s, which a busy machine may not manage at once."""
    for _ in range(3):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    pytest.skip("this machine is too busy to start Ray")


# Ray leaves sockets and processes to its own shutdown.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_ray_with_a_worker_killed_and_an_interruption(recognizer, people, expected, tmp_path, monkeypatch):
    """About half a minute: Ray starts, a worker is killed, the driver stops, and a second call goes on."""
    ray = pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    start_ray(ray)
    killed = []
    try:
        with recognizer.gallery(tmp_path / "people.db") as gallery:

            def kill_one(done, total):
                workers = []
                for process in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
                        if "ray::_Worker" in "".join(process.cmdline()):
                            workers.append(process)
                if workers and not killed:
                    killed.append(workers[0].pid)
                    os.kill(workers[0].pid, signal.SIGKILL)
                if done == 9:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                enroll_folder(gallery, people, workers=2, progress=kill_one)
            assert killed
            before = stored(gallery)
            assert 0 < len(before) < len(expected)
            enroll_folder(gallery, people, workers=2)
            assert stored(gallery) == expected
    finally:
        ray.shutdown()
