from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic_faces import write_shards

from pocketface.errors import InputError
from training.__main__ import main
from training.augment import Augmentation
from training.batches import Batch, Batches
from training.networks import Genotype
from training.networks.layout import VARIANTS, Variant
from training.own_teacher import OwnTeacher
from training.recipes import RECIPES, Recipe
from training.release import evaluate
from training.shards import Face, read_faces
from training.teachers import TeacherSpec
from training.trainer import Trainer


class FakeTeacher:
    """A teacher of fixed random projections: four maps by pooling, and an embedding."""

    spec = TeacherSpec("fake", "", "", (0, 0, 0), (1, 1, 1), (5, 11, 16), (3, 3, 3, 3))

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        x = crops.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
        maps = [x.reshape(len(x), 3, s, 112 // s, s, 112 // s).mean((3, 5)) for s in (56, 28, 14, 7)]
        mix = np.random.default_rng(0).normal(size=(147, 128)).astype(np.float32)
        return [*maps, maps[-1].reshape(len(x), -1) @ mix]

    head = torch.zeros(0)
    fingerprint = b"fixed"

    def select(self, progress: float) -> None:
        pass

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self(crops)[-1]


RECIPE = replace(
    RECIPES["pocketnet-s128-r"],
    name="tiny",
    minutes=0,
    samples=64,
    batches=((0, 4), (16, 8)),
    cell_by_cell=0,
    augmentation=Augmentation(),
    late=Augmentation(harden=0.5),
    late_from=0.5,
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Face]:
    folder = tmp_path_factory.mktemp("faces")
    write_shards(folder, train=24, heldout=0)
    return read_faces([folder], "train")


def trainer(recipe: Recipe, faces: list[Face], out: Path) -> Trainer:
    return Trainer(Batches(recipe, faces, FakeTeacher()), out)


def test_the_loss_falls(faces: list[Face], tmp_path: Path) -> None:
    rows = list(trainer(RECIPE, faces, tmp_path).run(1e9))
    assert np.mean([r["loss"] for r in rows[-3:]]) < 0.9 * np.mean([r["loss"] for r in rows[:3]])
    assert rows[-1]["samples"] == 64
    assert rows[-1]["rate"] < 0.05


def test_halves_give_the_gradient_of_both(faces: list[Face], tmp_path: Path) -> None:
    """Halves that are alike have the batch statistics of the whole, so the step must be its own."""
    whole = trainer(RECIPE, faces, tmp_path / "whole")
    halves = Trainer(Batches(RECIPE, faces, FakeTeacher()), tmp_path / "halves", halves=True)
    batch = whole.batches.make(0, 4)
    twice = Batch(
        torch.cat([batch.images] * 2),
        [torch.cat([m] * 2) for m in batch.maps],
        torch.cat([batch.embeddings] * 2),
        torch.cat([batch.labels] * 2),
        batch.head,
    )
    one, two = whole.step(twice), halves.step(twice)
    assert one.keys() == two.keys()
    assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-5)
    a, b = (
        torch.cat([p.grad.flatten() for p in t.network.parameters() if p.grad is not None])
        for t in (whole, halves)
    )
    assert len(a) == sum(p.numel() for p in whole.network.parameters())
    assert (a - b).norm() < 1e-3 * a.norm()


@pytest.mark.parametrize("network", ["rectified", "pocketnet"])
def test_the_loss_falls_in_bfloat16_as_in_float32(
    network: str, faces: list[Face], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Six cells, not eighteen: without instructions for it a CPU takes seconds for a picture.
    monkeypatch.setitem(VARIANTS, "short", Variant(16, 6, 128))
    recipe = replace(
        RECIPE, network=network, variant="short", student_hints=(1, 3, 4), batches=((0, 4),), samples=32
    )
    runs = [
        Trainer(Batches(recipe, faces, FakeTeacher()), tmp_path / str(bf16), bf16=bf16)
        for bf16 in (False, True)
    ]
    full, narrow = ([row["loss"] for row in run.run(1e9)] for run in runs)
    assert all(p.dtype is torch.float32 for p in runs[1].network.parameters())
    assert narrow[0] == pytest.approx(full[0], rel=0.1)
    assert narrow != full
    assert np.mean(narrow[-3:]) < 0.9 * np.mean(narrow[:3])


def test_bfloat16_on_a_cpu_is_for_pocketnet(faces: list[Face], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--halves and --bf16 are for PocketNet"):
        Trainer(
            Batches(replace(RECIPE, network="resnet18"), faces, FakeTeacher()),
            tmp_path,
            bf16=True,
        )


def test_a_killed_run_goes_on_exactly(faces: list[Face], tmp_path: Path) -> None:
    recipe = replace(RECIPE, samples=24)
    whole = trainer(recipe, faces, tmp_path / "whole")
    for _ in whole.run(1e9):
        pass
    first = trainer(recipe, faces, tmp_path / "parts")
    steps = first.run(1e9)
    while first.samples < 12:
        next(steps)
    first.save()
    # A step after the checkpoint is lost in the kill, and must not matter.
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    second = trainer(recipe, faces, tmp_path / "parts")
    assert second.samples == 12
    for _ in second.run(1e9):
        pass
    assert second.samples == whole.samples
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], value, msg=key)


def test_recipes_are_named_apart_and_hints_fit() -> None:
    assert len(RECIPES) > 5
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert (recipe.minutes > 0) != (recipe.samples > 0)
        assert recipe.batch_at(10**9) == recipe.batches[-1][1]
    assert isinstance(RECIPES["pocketnet-s128-r"], Recipe)
    assert Genotype


def test_a_teacher_of_our_own_teaches_stage_by_stage(faces: list[Face], tmp_path: Path) -> None:
    teaching = replace(RECIPES["arcface-resnet56"], name="own", samples=16, batches=((0, 2),), stages=2)
    run = Trainer(Batches(teaching, faces, None), tmp_path / "own")
    rows = list(run.run(1e9))
    assert np.isfinite(rows[-1]["arcface"])
    teacher = OwnTeacher(teaching, tmp_path / "own", in_turn=True)
    crops = np.zeros((1, 112, 112, 3), np.uint8)
    early = teacher.embed(crops)
    teacher.select(0.9)
    assert not np.array_equal(early, teacher.embed(crops))
    learning = replace(RECIPES["classification-resnet56"], samples=8, batches=((0, 4),), teacher="own")
    rows = list(Trainer(Batches(learning, faces, teacher), tmp_path / "student").run(1e9))
    assert all(np.isfinite(row["loss"]) for row in rows)


def test_a_checkpoint_of_another_recipe_is_refused_and_one_that_kept_none_goes_on(
    faces: list[Face], tmp_path: Path
) -> None:
    first = trainer(RECIPE, faces, tmp_path)
    first.save()
    longer = replace(RECIPE, samples=128, batches=((0, 8),))
    assert trainer(longer, faces, tmp_path).samples == first.samples
    with pytest.raises(InputError, match=r"checkpoint\.pt: begun with seed 17, not 18"):
        trainer(replace(RECIPE, seed=18), faces, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["recipe"]["agreed"]  # as runs before targets leant
    torch.save(state, tmp_path / "checkpoint.pt")
    assert trainer(longer, faces, tmp_path).samples == first.samples
    with pytest.raises(InputError, match=r"checkpoint\.pt: begun with agreed 0\.0, not 0\.5"):
        trainer(replace(RECIPE, agreed=0.5), faces, tmp_path)
    del state["recipe"]  # as runs before settings were kept
    torch.save(state, tmp_path / "checkpoint.pt")
    trainer(replace(RECIPE, seed=18), faces, tmp_path)
    with pytest.raises(InputError, match="another network"):
        trainer(replace(RECIPE, network="pocketnet"), faces, tmp_path)


def test_arcface_without_people_is_said_before_training(faces: list[Face], tmp_path: Path) -> None:
    nobody = [replace(face, identity="") for face in faces]
    with pytest.raises(InputError, match="at least two"):
        Trainer(Batches(RECIPES["arcface-resnet56"], nobody, None), tmp_path)


def test_a_continued_teacher_leaves_its_new_weights_as_the_last_stage(
    faces: list[Face], tmp_path: Path
) -> None:
    recipe = replace(RECIPES["arcface-resnet18"], samples=4, batches=((0, 2),))
    list(Trainer(Batches(recipe, faces, None), tmp_path).run(1e9))
    before = torch.load(tmp_path / "stage-001.pth", weights_only=True)
    run = Trainer(Batches(replace(recipe, samples=8), faces, None), tmp_path)
    list(run.run(1e9))
    after = torch.load(tmp_path / "stage-001.pth", weights_only=True)
    torch.testing.assert_close(after["arcface.weight"], run.arcface.weight.detach())
    assert not torch.equal(before["arcface.weight"], after["arcface.weight"])
    assert list(run.run(1e9)) == [], "a finished run takes no further step"


def test_a_priority_that_is_not_allowed_stops_nothing(
    faces: list[Face], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError("no right")

    monkeypatch.setattr("os.setpriority", refuse)
    stream = trainer(RECIPE, faces, tmp_path).batches.stream(0, -5)
    assert len(next(stream).images) == 4
    stream.close()  # type: ignore[attr-defined]


def test_weights_come_without_held_out_faces_and_figures_with_those_of_any_folder(
    faces: list[Face], tmp_path: Path
) -> None:
    first, second, out = (tmp_path / name for name in ("first", "second", "runs"))
    for folder, train, heldout in ((first, 24, 0), (second, 0, 40)):
        folder.mkdir()
        write_shards(folder, train, heldout)
    trainer(RECIPE, faces, out / "tiny").save()
    assert "heldout" not in evaluate(RECIPE, out / "tiny", [first], FakeTeacher())
    assert (out / "tiny" / "tiny.pth").is_file()
    figures = evaluate(RECIPE, out / "tiny", [first, second], FakeTeacher())
    assert figures["heldout"]["genuine"] == 20
    assert -1 <= figures["heldout_cosine"] <= 1
    (out / "tiny" / "checkpoint.pt").unlink()
    with pytest.raises(InputError, match="train first"):
        evaluate(RECIPE, out / "tiny", [first], FakeTeacher())


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces, out, damaged = tmp_path / "faces", tmp_path / "runs" / "r", tmp_path / "damaged"
    for folder in (faces, damaged):
        folder.mkdir()
    write_shards(faces, train=4, heldout=0)
    (damaged / "mobilefacenet_foamliu.onnx").write_bytes(b"no graph")
    common = ["--faces", str(faces), "--out", str(out)]
    for arguments, word in (
        (["pocketnet-s128-open", *common, "--models", str(tmp_path / "none")], "foamliu.onnx is missing"),
        (["pocketnet-s128-open", *common, "--models", str(damaged)], "foamliu.onnx: damaged"),
        (["template-s128", *common], "train arcface-iresnet100 first"),
        (["arcface-s128", *common, "--evaluate"], "train first"),
        (["arcface-s128", "--faces", str(faces), "--out", str(faces / "manifest.csv")], "manifest.csv"),
        (["arcface-s128", "--faces", str(tmp_path)], "manifest.csv"),
        (["arcface-s128", *common, "--start", str(tmp_path / "none.pth")], "none.pth: no such file"),
        (["arcface-s128", *common, "--start", str(faces / "manifest.csv")], "not a file of weights"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert word in error
        assert error.count("\n") == 1
    for option in ("--samples", "--budget-minutes", "--threads"):
        with pytest.raises(SystemExit):
            main(["arcface-s128", *common, option, "0"])
