"""Who comes through the door."""

from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest

from pocketface.cli import main
from pocketface.errors import InputError
from pocketface.types import Face
from pocketface.video import Frame, Tracker, VideoReader, Watcher
from pocketface.video.tracker import iou
from pocketface.video.writer import VideoWriter

cv2 = pytest.importorskip("cv2")

KNOWN = "Serena_Williams"


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


@pytest.mark.parametrize("gap", [0, 12])
def test_who_takes_the_place_of_a_known_person_does_not_inherit_the_name(gallery, still, gap):
    known, stranger, empty = still
    watcher = Watcher(gallery)
    pictures = [known] * 5 + [empty] * gap + [stranger] * 25
    seen = [watcher.look(Frame(i, i / 25, pixels)) for i, pixels in enumerate(pictures)]
    assert [a.match and a.match.person for s in seen for a in s.arrivals] == [KNOWN, None]
    assert seen[-1].names == [""]
    # After a gap the name is not shown before somebody has looked again.
    assert not gap or KNOWN not in [name for s in seen[5:] for name in s.names]


@pytest.mark.parametrize("every", [3, 30])
def test_who_stays_arrives_once_however_seldom_one_looks(gallery, still, every):
    watcher = Watcher(gallery, every=every)
    looks = [watcher.look(Frame(i, i / 25, still[0])) for i in range(0, 8 * every, every)]
    (arrival,) = [arrival for seen in looks for arrival in seen.arrivals]
    assert (arrival.match.person, arrival.votes) == (KNOWN, 3)


def test_one_strange_frame_does_not_end_a_track(gallery, still):
    known, stranger, empty = still
    watcher = Watcher(gallery)
    pictures = [known] * 5 + [empty, stranger] + [known] * 15
    seen = [watcher.look(Frame(i, i / 25, pixels)) for i, pixels in enumerate(pictures)]
    assert [a.match.person for s in seen for a in s.arrivals] == [KNOWN]
    assert seen[6].names == [None]
    assert seen[-1].names == [KNOWN]


def test_nobody_is_followed_across_a_lost_camera(gallery, still):
    known = still[0]
    watcher = Watcher(gallery)
    frames = [Frame(i, i / 25, known, connection=i // 5) for i in range(10)]
    arrivals = [arrival for frame in frames for arrival in watcher.look(frame).arrivals]
    assert [(arrival.match.person, arrival.track) for arrival in arrivals] == [(KNOWN, 1), (KNOWN, 2)]


@pytest.fixture
def watch(gallery, shared):
    """`pocketface watch` with the gallery's models."""
    folder = shared / "models"
    models = ["--detector", str(folder / "yunet_n_dynamic.onnx"), "--threads", "1"]
    models += ["--embedder", str(folder / "mobilefacenet_foamliu.onnx")]
    return lambda *options: main(["watch", gallery.store.url, "--threshold", "0.416", *options, *models])


def test_a_video_is_not_saved_onto_itself(watch, video, tmp_path, capsys):
    own, link = tmp_path / "door.mp4", tmp_path / "same.mp4"
    shutil.copy(video, own)
    link.symlink_to(own)
    before = own.read_bytes()
    for target in (own, link):
        assert watch("--video", str(own), "--save", str(target)) == 2
        assert "save to another file" in capsys.readouterr().err
    assert own.read_bytes() == before
    for target in ("x.avi", str(tmp_path / "none" / "x.mp4")):
        assert watch("--video", str(own), "--save", target) == 2
        output = capsys.readouterr()
        assert output.out == "", "nothing is read before the target is checked"
        assert output.err.startswith(f"pocketface: {target}: ")


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(
            signal.SIGTERM, marks=pytest.mark.skipif(os.name == "nt", reason="Windows ends it at once")
        ),
    ],
)
def test_what_was_recorded_is_kept_when_interrupted(watch, video, tmp_path, monkeypatch, request, number):
    out = tmp_path / "named.mp4"
    out.write_bytes(b"an older video")

    def interrupted(reader, frames=VideoReader.__iter__):
        for frame in frames(reader):
            if frame.index == 7:
                assert out.read_bytes() == b"an older video"
                signal.raise_signal(number)
            yield frame

    monkeypatch.setattr(VideoReader, "__iter__", interrupted)
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells' background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, inherited))
    if number == signal.SIGINT:
        assert watch("--video", video, "--save", str(out)) == 130
    else:
        with pytest.raises(SystemExit, match="143"):
            watch("--video", video, "--save", str(out))
    monkeypatch.undo()
    assert len(list(VideoReader(str(out)))) == 7
    assert list(tmp_path.iterdir()) == [out]


def test_a_camera_that_comes_back_with_another_size_is_still_saved(tmp_path):
    out = tmp_path / "o.mp4"
    with VideoWriter(str(out)) as writer:
        for side in (64, 128, 32):
            writer.write(np.full((side, 2 * side, 3), 200, np.uint8), 10)
    frames = list(VideoReader(str(out)))
    assert [frame.pixels.shape for frame in frames] == [(64, 128, 3)] * 3
    assert all(abs(frame.pixels.mean() - 200) < 5 for frame in frames)


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
    read = [next(frames) for _ in range(90)]
    assert [frame.index for frame in read] == list(range(90))
    assert read[59].connection == read[0].connection != read[60].connection
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    assert said[-1].endswith("back")
    assert "trying again" in said[0]


def test_a_camera_that_never_comes_back_is_given_up(capfd):
    reader = VideoReader(99, attempts=2, sleep=lambda seconds: None)
    with pytest.raises(InputError, match="no picture after 2 attempts"):
        next(iter(reader))


def test_who_was_unknown_from_afar_is_announced_by_name_when_seen_better(recognizer, still, lfw, tmp_path):
    _, stranger, empty = still
    far = empty.copy()
    small = cv2.resize(stranger, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    far[36:204, 36:204] = small
    with recognizer.gallery(tmp_path / "people.db", threshold=0.416) as gallery:
        watcher = Watcher(gallery)
        seen = [watcher.look(Frame(i, i / 25, far)) for i in range(5)]
        assert [a.match for s in seen for a in s.arrivals] == [None]
        gallery.enroll("abdullah", [str(sorted((lfw / "Abdullah_Gul").glob("*.jpg"))[0])])
        seen = [watcher.look(Frame(i, i / 25, stranger)) for i in range(5, 12)]
    assert [a.match and a.match.person for s in seen for a in s.arrivals] == ["abdullah"]
