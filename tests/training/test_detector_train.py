from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from pocketface.errors import InputError  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.detector.collection import Item, held_out, read, write  # noqa: E402
from training.detector.drills import Drills, mine  # noqa: E402
from training.detector.labels import FACE, label, mirror  # noqa: E402
from training.detector.repeats import alone, unseen  # noqa: E402
from training.detector.scenes import Maker, Scene  # noqa: E402
from training.detector.supply import Supply, batch_of, loader  # noqa: E402
from training.detector.train import Recipe, Run, load, usable  # noqa: E402
from training.networks.detector import Detector  # noqa: E402
from training.yunet import Faces  # noqa: E402

MARKS = np.array([[-0.2, -0.15], [0.2, -0.15], [0.0, 0.05], [-0.15, 0.25], [0.15, 0.25]])


def drawn(rng, number, faces=1):
    """A grey picture with discs that have two dark eyes: a face that a tiny network can learn."""
    image = rng.integers(90, 130, (120, 160, 3)).astype(np.uint8)
    boxes, points = [], []
    for _ in range(faces):
        side = int(rng.integers(30, 70))
        x, y = rng.uniform(side / 2, 160 - side / 2), rng.uniform(side / 2, 120 - side / 2)
        cv2.circle(image, (int(x), int(y)), side // 2, (230, 190, 170), -1)
        marks = np.array([x, y]) + MARKS * side
        for mark in marks[:2]:
            cv2.circle(image, tuple(int(v) for v in mark), max(side // 12, 1), (20, 20, 20), -1)
        boxes.append([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
        points.append(marks)
    jpeg = np.asarray(cv2.imencode(".jpg", image[:, :, ::-1])[1], np.uint8)
    found = Faces(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(faces, 0.9, np.float32),
        np.array(points, np.float32).reshape(-1, 5, 2),
    )
    return Item(f"drawn/{number}", jpeg, found, faces == 0)


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    return [drawn(rng, i) for i in range(12)] + [drawn(rng, 100 + i, 0) for i in range(3)]


def test_packs_give_back_what_was_written(items, tmp_path):
    write(tmp_path / "pack-000.npz", items)
    again = read(tmp_path / "pack-000.npz")
    assert [item.name for item in again] == [item.name for item in items]
    assert [item.negative for item in again] == [item.negative for item in items]
    np.testing.assert_array_equal(again[3].faces.points, items[3].faces.points)
    np.testing.assert_array_equal(again[3].pixels(), items[3].pixels())


def test_one_picture_in_ten_is_held_out_and_never_used(items):
    share = np.mean([held_out(f"set/{i}") for i in range(4000)])
    assert 0.08 < share < 0.12
    assert not any(usable(item) for item in items if held_out(item.name))


def test_mirroring_twice_changes_nothing(items):
    faces = items[0].faces
    again = mirror(mirror(faces, 160), 160)
    np.testing.assert_allclose(again.boxes, faces.boxes, atol=1e-4)
    np.testing.assert_allclose(again.points, faces.points, atol=1e-4)
    assert mirror(faces, 160).points[0, 0, 0] < mirror(faces, 160).points[0, 1, 0]


@pytest.mark.parametrize("side", [200, 240, 300])
@pytest.mark.parametrize("lost", [None, 1])
def test_a_face_that_one_look_alone_shows_is_doubtful_whatever_the_pictures_size(side, lost):
    class Teacher:
        """Sees one large face in every look but one."""

        looks = 0

        def detect_at(self, picture, wanted, margin, score):
            self.looks += 1
            box = np.array([[0.3, 0.3, 0.6, 0.6]], np.float32) * side
            if self.looks == 2:
                box = np.array([[0.4, 0.3, 0.7, 0.6]], np.float32) * side  # the mirrored look
            found = Faces(box, np.array([0.9], np.float32), np.zeros((1, 5, 2), np.float32))
            return found.take(np.zeros(0, np.intp)) if self.looks - 1 == lost or self.looks == 3 else found

    (score,) = label(Teacher(), np.zeros((side, side, 3), np.uint8)).scores
    assert (score >= FACE) == (lost is None)


def test_scenes_move_faces_with_their_pixels(items):
    maker = Maker(items, 3)
    maker._photograph = lambda image: image
    maker._occlude = lambda scene: scene.image
    dark = []
    for scene in (maker.scene(192) for _ in range(40)):
        assert scene.image.shape == (192, 192, 3)
        assert len(scene.boxes) == len(scene.points) == len(scene.sure)
        for box, points, sure in zip(scene.boxes, scene.points, scene.sure, strict=True):
            if sure and box[2] - box[0] > 40:
                x, y = points[0]
                if 0 <= int(x) < 192 and 0 <= int(y) < 192:
                    dark.append(int(scene.image[int(y), int(x)].max()) < 90)
    assert len(dark) > 10
    assert np.mean(dark) > 0.9


def test_a_whole_picture_is_seen_as_it_is_but_for_its_size(items):
    maker = Maker([item for item in items if not item.negative], 3)
    for _ in range(12):
        canvas = np.full((240, 240, 3), 7, np.uint8)
        layer = maker._whole(canvas, 240)
        x1, y1, x2, y2 = layer.rect
        assert 240 >= x2 - x1 >= 0.85 * 240 - 1
        assert (x2 - x1) / (y2 - y1) == pytest.approx(160 / 120, rel=0.02)
        outside = np.ones((240, 240), bool)
        outside[y1:y2, x1:x2] = False
        assert not canvas[outside].any()
        (x, y) = layer.points[0, 0]
        assert canvas[int(y), int(x)].max() < 110  # an eye


class Blind:
    """A teacher that sees only the scene's first face, and that one badly."""

    def __init__(self):
        self.boxes = np.zeros((0, 4), np.float32)

    def detect(self, picture, score):
        scores = np.full(len(self.boxes), 0.3, np.float32)
        return Faces(self.boxes, scores, np.zeros((len(scores), 5, 2), np.float32))


def test_small_faces_that_the_teacher_does_not_see_are_not_asked_for(items):
    maker = Maker(items, 3, Blind())
    box = np.array([[10, 10, 30, 30], [50, 50, 70, 70], [0, 0, 90, 90]], np.float32)
    image, points = np.zeros((96, 96, 3), np.uint8), np.zeros((3, 5, 2), np.float32)
    scene = Scene(image, box, points, np.ones(3, bool), np.ones(3, np.float32))
    maker.teacher.boxes = box[:1]
    judged = maker._judge(scene)
    assert judged.sure.tolist() == [True, False, True]
    assert judged.clear[0] == pytest.approx(0.5)
    assert judged.clear[2] == 1


def test_drills_are_missed_faces_and_false_alarms(items, tmp_path):
    person = next(item for item in items if not item.negative)
    empty = next(item for item in items if item.negative)
    alarm = np.array([[5, 5, 45, 45]], np.float32)

    def detect(picture):
        """Blind to faces, startled by the corner of every picture."""
        return Faces(alarm, np.array([0.9], np.float32), np.zeros((1, 5, 2), np.float32))

    drills = mine(detect, [person, empty])
    drills.write(tmp_path / "drills.npz")
    drills = Drills.read(tmp_path / "drills.npz")
    assert drills.faces.tolist().count(True) == 1
    assert (empty.name, False) in zip(drills.names.tolist(), drills.faces.tolist(), strict=True)
    np.testing.assert_allclose(drills.boxes[drills.faces], person.faces.boxes)
    np.testing.assert_allclose(drills.boxes[drills.names == empty.name], alarm)
    maker = Maker([person, empty], 0, drills=drills)
    canvas = np.zeros((96, 96, 3), np.uint8)
    drawn_faces = [len(maker._drill(canvas, 96).boxes) for _ in range(20)]
    assert {0, 1} == set(drawn_faces)


def test_blocks_that_weights_do_not_have_begin_as_identities(tmp_path):
    torch.manual_seed(1)
    shallow = {
        name: value for name, value in Detector().state_dict().items() if not name.startswith("stages.1.4.")
    }
    torch.save(shallow, tmp_path / "shallow.pth")
    run = Run(tmp_path / "run", Recipe())
    run.start(tmp_path / "shallow.pth")
    x = torch.rand(1, 64, 8, 8)
    torch.testing.assert_close(run.network.eval().stages[1][4](x), x)


def test_a_patch_that_weights_do_not_have_begins_without_effect(tmp_path):
    torch.manual_seed(1)
    full = Detector().state_dict()
    torch.save({name: value for name, value in full.items() if ".patch." not in name}, tmp_path / "old.pth")
    run = Run(tmp_path / "run", Recipe())
    run.start(tmp_path / "old.pth")
    entry = run.network.eval().stages[0][0]
    x = torch.rand(1, 32, 8, 8)
    alone = torch.relu(entry.pointwise(entry.depthwise(x)))
    torch.testing.assert_close(entry(x), alone)
    torch.nn.init.ones_(entry.patch[1].weight)
    assert not torch.allclose(entry(x), alone)


@pytest.mark.parametrize(
    "change",
    [
        lambda known: {"something": torch.zeros(3)},
        lambda known: known | {"extra": torch.zeros(3)},
        lambda known: {name: value for name, value in known.items() if name != "stem.0.weight"},
        lambda known: {k: v for k, v in known.items() if k != "stages.1.4.pointwise.0.weight"},
        lambda known: known | {"stem.0.weight": torch.zeros(2, 2)},
        lambda known: [],
    ],
)
def test_a_run_begins_with_nothing_but_weights_of_the_detector(change, tmp_path):
    torch.save(change(Detector().state_dict()), tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth"):
        Run(tmp_path / "run", Recipe()).start(tmp_path / "other.pth")


def test_loss_falls_and_a_run_goes_on_where_it_stopped(items, tmp_path):
    torch.set_num_threads(1)
    run = Run(tmp_path, Recipe(minutes=1000, adam=5e-3))
    maker = Maker(items, 0)
    scenes = [maker.scene(96) for _ in range(4)]
    first = [run.step(batch_of(scenes)) for _ in range(120)]
    total = [terms["score"] + terms["box"] for terms in first]
    assert total[-1] < 0.8 * total[0]
    run.save()
    again = Run(tmp_path, Recipe(minutes=1000, adam=5e-3))
    assert again.state == run.state
    for one, other in zip(run.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    load(tmp_path / "facedet.pth")


def test_a_smaller_rate_moves_the_weights_less(items, tmp_path):
    torch.set_num_threads(1)
    scenes = [Maker(items, 0).scene(96) for _ in range(2)]
    moved = []
    for rate in (1.0, 0.2):
        run = Run(tmp_path / str(rate), Recipe(minutes=1000, rate=rate))
        before = [p.detach().clone() for p in run.network.parameters()]
        run.step(batch_of(scenes))
        after = (p.detach() for p in run.network.parameters())
        moved.append(sum(float((p - q).norm()) for p, q in zip(after, before, strict=True)))
    assert moved[1] == pytest.approx(0.2 * moved[0], rel=0.01)


@pytest.mark.parametrize("beside", [[], ["--workers", "2"]])
def test_the_command_trains_and_compares(beside, items, tmp_path, capsys):
    packs = tmp_path / "scenes"
    packs.mkdir()
    write(packs / "pack-000.npz", items)
    assert main(["train", str(packs), "--out", str(tmp_path / "run"), "--minutes", "0.01", *beside]) == 0
    with (tmp_path / "run" / "run.json").open() as file:
        assert '"steps"' in file.read()
    assert (tmp_path / "run" / "facedet.onnx").stat().st_size > 200_000
    assert "steps" in capsys.readouterr().out


def test_processes_beside_the_step_draw_scenes_of_their_own(items):
    batches = zip(loader(Supply(Maker(items, 0), None, 0, 0), 2), range(2), strict=False)
    first, second = (batch.images for (batch, _), _ in batches)
    assert not torch.equal(first, second)


def test_the_mean_of_weights_is_weights_of_the_detector(tmp_path, capsys):
    torch.manual_seed(0)
    networks = [Detector(), Detector()]
    for name, network in zip("ab", networks, strict=True):
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
    out = tmp_path / "mean.pth"
    a, b = (str(tmp_path / f"{name}.pth") for name in "ab")
    assert main(["average", a, b, b, "--out", str(out)]) == 0
    first, second = (network.stem[0].weight for network in networks)
    torch.testing.assert_close(load(out).stem[0].weight, (first + 2 * second) / 3)
    old = {name: value for name, value in networks[0].state_dict().items() if ".patch." not in name}
    torch.save(old, tmp_path / "old.pth")  # of before there was a patch: as if it had a silent one
    for order in ([b, str(tmp_path / "old.pth")], [str(tmp_path / "old.pth"), b]):
        assert main(["average", *order, "--out", str(out)]) == 0
        ours, theirs = (network.stages[0][0].patch for network in (load(out), networks[1]))
        torch.testing.assert_close(ours[0].weight, theirs[0].weight)
        torch.testing.assert_close(ours[1].weight, theirs[1].weight / 2)
    torch.save({"network": {}, "state": {"steps": 3}}, tmp_path / "state.pt")
    for bad in ("c.pth", "state.pt"):
        assert main(["average", a, str(tmp_path / bad), "--out", str(out)]) == 2
        assert bad in capsys.readouterr().err


def test_pictures_like_a_held_out_one_are_not_trained_on():
    rng = np.random.default_rng(2)
    kept = next(f"drawn/{i}" for i in range(100) if held_out(f"drawn/{i}"))
    free = [f"drawn/{i}" for i in range(100) if not held_out(f"drawn/{i}")]
    shown, other = drawn(rng, 0), drawn(rng, 1)
    copy, mirrored = (replace(shown, name=name) for name in free[:2])
    flipped = np.ascontiguousarray(shown.pixels()[:, ::-1, ::-1])
    mirrored = replace(mirrored, jpeg=np.asarray(cv2.imencode(".jpg", flipped)[1], np.uint8))
    items = [replace(shown, name=kept), copy, mirrored, replace(other, name=free[2])]
    assert [item.name for item in unseen(items)] == [free[2]]
    assert alone(items) == []
    assert [item.name for item in alone([items[0], items[3]])] == [kept]


@pytest.mark.parametrize(
    "arguments", [["train", "nowhere", "--out", "x", "--rate", "0.5"], ["export", "nowhere.pth", "x.onnx"]]
)
def test_bad_input_is_one_line(arguments, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("training.detector: no such file or folder: nowhere")
    assert error.count("\n") == 1


def test_damaged_packs_and_empty_folders_are_one_line(shared, items, tmp_path, capsys):
    packs, none, yunet = tmp_path / "packs", tmp_path / "none", shared / "models/yunet_n_dynamic.onnx"
    for folder in (packs, none):
        folder.mkdir()
    write(packs / "pack-000.npz", items)
    shown = sum(held_out(item.name) for item in items)
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, names=np.zeros(3))
    out = ["--out", str(tmp_path / "run"), "--minutes", "0.01"]
    people = [f"people={packs}", "--out", str(tmp_path / "scenes")]
    evaluate, teacher = ["evaluate", str(yunet)], ["--teacher", str(yunet)]
    commands = [
        (["train", str(none), *out], "no pack-"),
        (["train", str(packs), *out, "--drills", str(wrong)], "wrong.npz"),
        ([*evaluate, str(none), *teacher], "no pack-"),
        ([*evaluate, str(packs), *teacher, "--caltech", str(none)], "none" if shown else "no held-out"),
        (["collect", *people, *teacher, "--protected", str(tmp_path / "nowhere")], "--protected"),
    ]
    for arguments, word in commands:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert word in error
        assert error.count("\n") == 1
    (packs / "pack-001.npz").write_bytes((packs / "pack-000.npz").read_bytes()[:2000])
    assert main(["train", str(packs), *out]) == 2
    assert "pack-001.npz: damaged" in capsys.readouterr().err
