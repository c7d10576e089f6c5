"""Who comes through the door."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pocketface.cli import main
from pocketface.errors import InputError
from pocketface.types import Face
from pocketface.video import Frame, Tracker, VideoReader, Watcher
from pocketface.video.tracker import iou

cv2 = pytest.importorskip("cv2")


def face(x, y, side=40):
    return Face(np.array([x, y, x + side, y + side], np.float32), np.zeros((5, 2), np.float32), 0.9)


def test_overlap_of_boxes():
    values = iou([face(0, 0), face(100, 100)], [face(20, 0), face(100, 100)])
    np.testing.assert_allclose(values, [[20 * 40 / (2 * 1600 - 800), 0], [0, 1]])


def test_tracks_follow_faces_that_pass_each_other():
    tracker = Tracker()
    for i in range(20):
        (a, b), _ = tracker.update([face(10 * i, 0), face(200 - 10 * i, 60)], i)
        assert (a.number, b.number) == (1, 2)


def test_a_track_survives_a_gap_and_ends_after_its_patience():
    tracker = Tracker(patience=5)
    tracker.update([face(0, 0)], 0)
    assert tracker.update([], 3) == ([], [])
    (track,), _ = tracker.update([face(5, 0)], 5)
    assert track.number == 1
    _, ended = tracker.update([], 11)
    assert [track.number for track in ended] == [1]
    (track,), _ = tracker.update([face(5, 0)], 12)
    assert track.number == 2


def test_a_face_that_jumped_is_known_by_its_embedding():
    tracker = Tracker()
    rows = np.eye(4, dtype=np.float32)
    (old,), _ = tracker.update([face(0, 0)], 0)
    old.add(rows[0], 0.8)
    (new,), _ = tracker.update([face(300, 300)], 3)
    new.add(rows[1], 0.8)
    assert tracker.rejoin(new, 0.5) is new
    (again,), _ = tracker.update([face(600, 0)], 6)
    again.add(rows[0], 0.5)
    assert tracker.rejoin(again, 0.5) is old
    assert len(tracker.tracks) == 2


def test_votes_are_weighted_by_quality():
    tracker = Tracker()
    rows = np.eye(4, dtype=np.float32)
    (track,), _ = tracker.update([face(0, 0)], 0)
    track.add(rows[0], 0.9)
    track.add(rows[1], 0.1)
    np.testing.assert_allclose(
        track.embedding, [0.9 / np.hypot(0.9, 0.1), 0.1 / np.hypot(0.9, 0.1), 0, 0], rtol=1e-6
    )


def test_each_person_arrives_once_and_the_stranger_stays_unknown(gallery, frames):
    watcher = Watcher(gallery, patience=12)
    arrivals = []
    for i, pixels in enumerate(frames):
        frame = Frame(i, i / 10, np.ascontiguousarray(pixels[..., ::-1]))
        arrivals += watcher.look(frame).arrivals
    arrivals += watcher.finish(frame)
    assert [arrival.match and arrival.match.person for arrival in arrivals] == [
        "Serena_Williams",
        "George_W_Bush",
        None,
    ]
    assert arrivals[0].seconds < 0.5
    assert all(arrival.votes == 3 for arrival in arrivals)
    # Recognition runs when a track is new or better, not on each of the 96 faces.
    assert watcher.embedded < 30


def test_the_shell(gallery, shared, video, tmp_path, capfd):
    out = tmp_path / "named.mp4"
    status = main(
        ["watch", gallery.store.url, "--video", video, "--save", str(out), "--threshold", "0.416",
         "--detector", str(shared / "models" / "yunet_n_dynamic.onnx"),
         "--embedder", str(shared / "models" / "mobilefacenet_foamliu.onnx"),
         "--every", "2", "--threads", "1"]
    )  # fmt: skip
    assert status == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["person"] for event in events] == ["Serena_Williams", "George_W_Bush", None]
    assert events[0]["match"]["similarity"] > 0.416
    frames = list(VideoReader(str(out)))
    assert len(frames) == 30
    # A green box is drawn around a known face.
    green = frames[10].pixels.astype(int)
    assert ((green[..., 1] - green[..., 0] > 60) & (green[..., 1] - green[..., 2] > 60)).sum() > 200


def test_what_is_no_video(tmp_path):
    text = tmp_path / "a.mp4"
    text.write_text("no video")
    with pytest.raises(InputError, match=r"a\.mp4"):
        list(VideoReader(str(text)))
    with pytest.raises(InputError, match="no such video"):
        VideoReader(str(tmp_path / "none.mp4"))


def test_a_lost_camera_is_opened_again(video, tmp_path):
    """The stream stops and is gone for three attempts; reading goes on where it comes back."""
    stream = tmp_path / "stream.mp4"
    shutil.copy(video, stream)
    said, pauses = [], []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 1:
            stream.rename(tmp_path / "away.mp4")
        if len(pauses) == 4:
            (tmp_path / "away.mp4").rename(stream)

    reader = VideoReader(str(stream), live=True, say=said.append, sleep=sleep)
    frames = iter(reader)
    indices = [next(frames).index for _ in range(90)]
    assert indices == list(range(90))
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    assert said[-1].endswith("back")
    assert "trying again" in said[0]


def test_a_camera_that_never_comes_back_is_given_up(capfd):
    reader = VideoReader(99, attempts=2, sleep=lambda seconds: None)
    with pytest.raises(InputError, match="no picture after 2 attempts"):
        next(iter(reader))
