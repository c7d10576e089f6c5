from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training.detector.graph import NAMES, export  # noqa: E402
from training.networks.detector import STRIDES, Detector, fused, parameters  # noqa: E402

CLEAN = {"Conv", "Relu", "Add", "MaxPool", "Resize", "Constant", "Identity"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = Detector()
    for module in made.modules():  # as after training: no two batch norms alike
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module")
def graph(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "facedet.onnx"
    export(network, path)
    return path


def test_parameters_are_within_the_budget(network):
    assert 60_000 < parameters(network) <= 150_000


def test_graph_holds_only_operators_that_quantise_well(graph):
    kinds = Counter(node.op_type for node in onnx.load(graph).graph.node)
    assert set(kinds) <= CLEAN
    assert kinds["Conv"] > 30
    assert kinds["Resize"] == 2


def test_opset_is_old_enough(graph):
    assert max(entry.version for entry in onnx.load(graph).opset_import) <= 17


@pytest.mark.parametrize(("n", "high", "wide"), [(1, 64, 96), (2, 160, 32), (3, 96, 224)])
def test_graph_keeps_its_contract_and_equals_the_network(network, graph, n, high, wide):
    image = np.random.default_rng(0).uniform(0, 255, (n, 3, high, wide)).astype(np.float32)
    values = dict(zip(NAMES, ort.InferenceSession(str(graph)).run(NAMES, {"image": image}), strict=True))
    with torch.no_grad():
        maps = network(torch.from_numpy(image))
    for kind, depth, expected in zip(("score", "bbox", "kps"), (1, 4, 10), maps, strict=True):
        for stride, value in zip(STRIDES, expected, strict=True):
            given = values[f"{kind}_{stride}"]
            assert given.shape == (n, depth, high // stride, wide // stride)
            np.testing.assert_allclose(given, value.numpy(), rtol=1e-3, atol=1e-3)


def test_fusing_changes_nothing_and_leaves_no_batch_norm(network):
    image = torch.rand(1, 3, 64, 64) * 255
    made = fused(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in made.modules())
    with torch.no_grad():
        for before, after in zip(network(image), made(image), strict=True):
            for one, other in zip(before, after, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
