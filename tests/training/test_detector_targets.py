import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training.detector.losses import Batch, losses  # noqa: E402
from training.detector.targets import assign, decode, encode, overlap  # noqa: E402
from training.networks.detector import STRIDES  # noqa: E402


def maps(n, size, score=-5.0, reach=2.0):
    shapes = [(size // stride, size // stride) for stride in STRIDES]
    return (
        [torch.full((n, 1, *shape), score) for shape in shapes],
        [torch.full((n, 4, *shape), reach) for shape in shapes],
        [torch.zeros(n, 10, *shape) for shape in shapes],
    )


def face(cx, cy, side):
    box = torch.tensor([cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2])
    shifts = torch.tensor([[-0.2, -0.15], [0.2, -0.15], [0.0, 0.05], [-0.15, 0.25], [0.15, 0.25]])
    return box, torch.tensor([cx, cy]) + shifts * side


def test_decode_undoes_encode():
    cells = decode(maps(1, 96))
    box, points = face(40.0, 50.0, 30.0)
    k = len(cells.centres)
    reach, marks = encode(box.expand(k, 4), points.expand(k, 5, 2), cells.centres, cells.strides)
    outputs, start = maps(1, 96), 0
    for level, stride in enumerate(STRIDES):
        side = 96 // stride
        part = slice(start, start + side * side)
        outputs[1][level][:] = reach[part].T.reshape(1, 4, side, side)
        outputs[2][level][:] = marks[part].T.reshape(1, 10, side, side)
        start += side * side
    again = decode(outputs)
    torch.testing.assert_close(again.boxes[0], box.expand(k, 4), rtol=0, atol=1e-4)
    torch.testing.assert_close(again.points[0], points.expand(k, 5, 2), rtol=0, atol=1e-4)


def test_overlap():
    one = torch.tensor([0.0, 0.0, 10.0, 10.0])
    assert overlap(one, one).item() == pytest.approx(1, abs=1e-6)
    assert overlap(one, torch.tensor([5.0, 0.0, 15.0, 10.0])).item() == pytest.approx(1 / 3, abs=1e-6)
    far = torch.tensor([30.0, 0.0, 40.0, 10.0])
    assert overlap(one, far).item() == 0
    assert overlap(one, far, generalized=True).item() == pytest.approx(-0.5, abs=1e-5)


@pytest.mark.parametrize("side", [9.0, 20.0, 60.0, 180.0, 400.0])
def test_every_face_gets_cells_near_its_centre(side):
    box, _ = face(100.0, 90.0, side)
    cells = decode(maps(2, 192))
    image, cell, which, _ = assign(cells, (192, 192), torch.tensor([1]), box[None])
    assert 1 <= len(cell) <= 10
    assert set(image.tolist()) == {1}
    assert set(which.tolist()) == {0}
    apart = (cells.centres[cell] - torch.tensor([100.0, 90.0])).abs().max(1).values
    assert (apart <= 3 * cells.strides[cell]).all()


def test_cells_that_a_small_face_left_cost_nothing():
    box = torch.tensor([[90.0, 82.0, 110.0, 98.0]])
    cells = decode(maps(1, 192))
    _, taken, _, (image, spare) = assign(cells, (192, 192), torch.zeros(1, dtype=torch.int64), box)
    assert set(taken.tolist()) < set(spare.tolist())
    assert set(image.tolist()) == {0}
    apart = (cells.centres[spare] - torch.tensor([100.0, 90.0])).abs().max(1).values
    assert (apart <= cells.strides[spare]).all()
    large = box + torch.tensor([[-20.0, -20.0, 20.0, 20.0]])
    assert not len(assign(cells, (192, 192), torch.zeros(1, dtype=torch.int64), large).spare[1])


def test_no_cell_answers_for_two_faces():
    boxes = torch.stack([face(60.0 + 3 * i, 60.0, 30.0)[0] for i in range(6)])
    image, cell, _, _ = assign(decode(maps(1, 128)), (128, 128), torch.zeros(6, dtype=torch.int64), boxes)
    assert len(set(zip(image.tolist(), cell.tolist(), strict=True))) == len(cell)


def test_a_doubtful_face_costs_nothing_and_a_missed_one_does():
    box, points = face(48.0, 48.0, 24.0)
    outputs = maps(1, 96, score=-9.0)
    loud = [score.clone() for score in outputs[0]]
    loud[0][0, 0, 5, 5] = 9.0  # the cell at (44, 44), inside the face

    def score(sure, scores, clear=1.0):
        image, owner = torch.zeros(1, 3, 96, 96), torch.tensor([0])
        known = torch.tensor([sure]), torch.tensor([clear])
        batch = Batch(image, owner, box[None], points[None], *known)
        return losses((scores, outputs[1], outputs[2]), batch)["score"].item()

    assert score(False, loud) < 0.01
    assert score(False, outputs[0]) < 0.01
    assert score(True, outputs[0]) > 1
    assert score(True, outputs[0], clear=0.4) < 0.5 * score(True, outputs[0])


def test_pictures_without_faces_have_a_loss():
    none = Batch(
        torch.zeros(2, 3, 64, 64),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 4),
        torch.zeros(0, 5, 2),
        torch.zeros(0, dtype=torch.bool),
        torch.zeros(0),
    )
    terms = losses(maps(2, 64, score=0.0), none)
    assert terms["score"] > 0
    assert terms["box"] == 0
