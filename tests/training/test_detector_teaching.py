import copy

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from pocketface.errors import InputError  # noqa: E402
from training import kernels  # noqa: E402
from training.detector import quick  # noqa: E402
from training.detector.losses import Batch  # noqa: E402
from training.detector.teaching import Inner, hints, paired  # noqa: E402
from training.detector.train import Recipe, Run  # noqa: E402
from training.networks.detector import STRIDES, Detector  # noqa: E402


def pictures(n, high, wide):
    image = torch.rand(n, 3, high, wide, generator=torch.Generator().manual_seed(3)) * 255
    return image.contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def inner(shared):
    return Inner(shared / "models" / "yunet_n_dynamic.onnx")


def test_logits_are_the_published_graphs_scores(inner, shared):
    image = pictures(2, 64, 96)
    maps = inner(image)
    session = ort.InferenceSession(str(shared / "models" / "yunet_n_dynamic.onnx"))
    bgr = np.ascontiguousarray(image.flip(1).numpy())
    for stride, logits in zip(STRIDES, maps[10:], strict=True):
        expected = session.run([f"cls_{stride}", f"obj_{stride}"], {"input": bgr})
        given = logits.sigmoid().flatten(2).numpy()
        for number, scores in enumerate(expected):
            np.testing.assert_allclose(given[:, number], scores[:, :, 0], atol=1e-5)


def test_every_map_meets_one_of_the_students(inner):
    image = pictures(2, 64, 96)
    torch.manual_seed(0)
    network, layers = Detector().train(), hints()
    maps, ours = inner(image), paired(network.features(image))
    assert [m.shape[2:] for m in maps] == [m.shape[2:] for m in ours]
    layers.calibrate(maps)
    left = [float(term.detach()) for term in layers(ours, maps)]
    assert all(term > 0.9 for term in left), left


@pytest.mark.parametrize("bf16", [False, True])
def test_a_students_maps_come_nearer(inner, tmp_path, bf16):
    if bf16 and not kernels.available():
        pytest.skip("needs g++ on Linux")
    torch.set_num_threads(1)
    run = Run(tmp_path, Recipe(minutes=1000, bf16=bf16), inner)
    none = torch.zeros(0)
    batch = Batch(
        pictures(4, 64, 64),
        none.long(),
        none.reshape(0, 4),
        none.reshape(0, 5, 2),
        none.bool(),
        none,
    )
    run.hints.calibrate(inner(batch.images))
    terms = [run.step(batch, inner(batch.images)) for _ in range(40)]
    assert terms[-1]["levels"] < 0.7 * terms[0]["levels"]
    assert terms[-1]["logits"] < 0.7 * terms[0]["logits"]
    run.save()
    again = Run(tmp_path, Recipe(minutes=1000), inner)
    for one, other in zip(run.hints.parameters(), again.hints.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(InputError, match="begun with --teacher"):
        Run(tmp_path, Recipe(minutes=1000))


def test_another_graph_is_refused(shared):
    with pytest.raises(InputError, match="not the YuNet whose maps are known"):
        Inner(shared / "models" / "mobilefacenet_foamliu.onnx")


@pytest.mark.skipif(not kernels.available(), reason="needs g++ on Linux")
def test_the_quick_step_is_the_networks_own():
    torch.manual_seed(0)
    slow = Detector().train().to(memory_format=torch.channels_last)
    fast = copy.deepcopy(slow)
    image = pictures(3, 64, 96)
    expected = slow.answers(slow.features(image))
    given = quick.answers(fast, quick.features(fast, image))
    for ours, theirs in zip(expected, given, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    for answers in (expected, given):
        sum(m.square().mean() for maps in answers for m in maps).backward()
    for (name, one), (_, other) in zip(slow.named_parameters(), fast.named_parameters(), strict=True):
        scale = float(one.grad.abs().max()) + 1e-6
        torch.testing.assert_close(one.grad / scale, other.grad / scale, rtol=0, atol=2e-3, msg=name)
    for (name, one), (_, other) in zip(slow.named_buffers(), fast.named_buffers(), strict=True):
        if "num_batches" not in name:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, msg=name)
