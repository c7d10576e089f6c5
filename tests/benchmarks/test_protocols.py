"""Each reader on a small copy of the data set's real layout."""

import json
import pickle

import numpy as np
import pytest
from scipy.io import savemat

from benchmarks.accuracy import metrics
from benchmarks.accuracy.protocols import agedb, cfp, cross_lfw, heldout, ijb, lfw, megaface, packs
from pocketface.errors import InputError


def lfw_copy(root, folds=2, size=2):
    rows = [f"{folds}\t{size}"]
    for fold in range(folds):
        rows += [f"Ann_Bee\t{fold * 2 + i + 1}\t{i + 7}" for i in range(size)]
        rows += [f"Ann_Bee\t{i + 1}\tCy_De_Eff\t{fold + 1}" for i in range(size)]
    (root / "pairs.txt").write_text("\n".join(rows) + "\n")
    return root


def test_lfw(tmp_path):
    pairs = lfw.load(lfw_copy(tmp_path))
    assert pairs.fold.tolist() == [0] * 4 + [1] * 4
    assert pairs.same.tolist() == [True, True, False, False] * 2
    first = pairs.pictures[pairs.left[0]]
    assert first.source == tmp_path / "Ann_Bee" / "Ann_Bee_0001.jpg"
    assert first.person == "Ann_Bee"
    assert len({p.name for p in pairs.pictures}) == len(pairs.pictures)
    assert pairs.person[pairs.right[2]] != pairs.person[pairs.left[2]]


def test_lfw_refuses_a_cut_list(tmp_path):
    lfw_copy(tmp_path)
    text = (tmp_path / "pairs.txt").read_text().splitlines()
    (tmp_path / "pairs.txt").write_text("\n".join(text[:-1]))
    with pytest.raises(InputError, match="7 pairs, but its first line says 8"):
        lfw.load(tmp_path)
    with pytest.raises(InputError, match="root folder"):
        lfw.load(tmp_path / "elsewhere")
    for first in ("", "<html>"):
        (tmp_path / "pairs.txt").write_text(first)
        with pytest.raises(InputError, match=r"pairs\.txt: its first line"):
            lfw.load(tmp_path)


def test_lfw_refuses_other_rows(tmp_path):
    for first, row, message in (
        ("2\t1", "Ann x 2", "pair 1 is not of pairs.txt's form"),
        ("1\t2", "Ann 1 2", "1 folds; at least two"),
    ):
        (tmp_path / "pairs.txt").write_text("\n".join([first, row, *["Ann 1 Cy 1"] * 3]))
        with pytest.raises(InputError, match=message):
            lfw.load(tmp_path)
    (tmp_path / "pairs.txt").write_bytes(b"2\t1\nJos\xe9 1 2\n")
    with pytest.raises(InputError, match=r"pairs\.txt: not UTF-8"):
        lfw.load(tmp_path)


def test_official_lfw(lfw):
    from benchmarks.accuracy.protocols.lfw import load

    pairs = load(lfw)
    assert (len(pairs.same), pairs.same.sum(), len(pairs.pictures)) == (6000, 3000, 7701)
    assert all(p.source.is_file() for p in pairs.pictures)
    assert (pairs.same == (pairs.person[pairs.left] == pairs.person[pairs.right])).all()


@pytest.mark.parametrize(("view", "second"), [("FF", "frontal"), ("FP", "profile")])
def test_cfp(tmp_path, view, second):
    protocol = tmp_path / "Protocol"
    for fold in ("01", "02"):
        split = protocol / "Split" / view / fold
        split.mkdir(parents=True)
        (split / "same.txt").write_text("1,2\n2,1\n")
        (split / "diff.txt").write_text("1,3\n")
    for letter, folder in (("F", "frontal"), ("P", "profile")):
        rows = [
            "1 ../Data/Images/001/{0}/01.jpg",
            "2 ../Data/Images/001/{0}/02.jpg",
            "3 ../Data/Images/002/{0}/01.jpg",
        ]
        (protocol / f"Pair_list_{letter}.txt").write_text("\n".join(rows).format(folder))
    pairs = cfp.load(tmp_path, view)
    assert pairs.same.tolist() == [True, True, False] * 2
    assert pairs.fold.tolist() == [0, 0, 0, 1, 1, 1]
    assert pairs.pictures[pairs.left[0]].name == "001/frontal/01.jpg"
    assert pairs.pictures[pairs.right[2]].name == f"002/{second}/01.jpg"
    path = pairs.pictures[pairs.right[2]].source
    assert path.resolve() == (tmp_path / "Data" / "Images" / "002" / second / "01.jpg").resolve()
    (protocol / "Split" / view / "02" / "diff.txt").write_text("1,9\n")
    with pytest.raises(InputError, match="1,9 is not in the picture lists"):
        cfp.load(tmp_path, view)
    (protocol / "Split" / view / "02" / "diff.txt").write_text("1;2\n")
    with pytest.raises(InputError, match=r"diff\.txt: '1;2' is no pair"):
        cfp.load(tmp_path, view)
    for row in ("1 frontal/01.jpg", "one ../Data/Images/001/frontal/01.jpg", "1"):
        (protocol / "Pair_list_F.txt").write_text(row + "\n")
        with pytest.raises(InputError, match=r"Pair_list_F\.txt: '"):
            cfp.load(tmp_path, view)


@pytest.mark.parametrize("name", ["CALFW", "CPLFW"])
def test_calfw_and_cplfw(tmp_path, name):
    rows = []
    for i in range(10):  # CALFW labels genuine pairs with their fold, CPLFW with 1
        label = i + 1 if name == "CALFW" else 1
        rows += [f"Jo_Al_{i + 1:04d}.jpg {label}", f"Jo_Al_{i + 2:04d}.jpg {label}"]
    for i in range(10):
        rows += [f"Jo_Al_{i + 1:04d}.jpg 0", f"Zed_{i + 1}.jpg 0"]
    (tmp_path / f"pairs_{name}.txt").write_text("\n".join(rows))
    pairs = cross_lfw.load(tmp_path, name)
    assert pairs.same.sum() == 10
    assert sorted(pairs.fold.tolist()) == sorted(list(range(10)) * 2)
    assert {p.person for p in pairs.pictures} == {"Jo_Al", "Zed"}
    assert pairs.pictures[0].source == tmp_path / "images" / "Jo_Al_0001.jpg"
    crops = cross_lfw.load(tmp_path, name, aligned=True)
    assert crops.pictures[0].source == tmp_path / "aligned images" / "Jo_Al_0001.jpg"


def test_agedb(tmp_path):
    def name(text):
        return {"name": text}

    splits = np.empty((10, 1), object)
    for i in range(10):
        names = np.empty((2, 2), object)
        names[0, 0], names[1, 0] = name(f"{i}_MariaCallas_30_f"), name(f"{i + 100}_MariaCallas_60_f")
        names[0, 1], names[1, 1] = name(f"{i}_MariaCallas_30_f"), name(f"{i + 200}_JohnWayne_60_m")
        splits[i, 0] = {"pairs": names, "labels": np.array([[1, -1]])}
    savemat(tmp_path / "AgeDB_30_protocol.mat", {"splits": splits})
    pairs = agedb.load(tmp_path)
    assert pairs.same.tolist() == [True, False] * 10
    assert pairs.fold.tolist() == sorted(list(range(10)) * 2)
    assert pairs.pictures[pairs.right[1]].source == tmp_path / "200_JohnWayne_60_m.jpg"
    assert pairs.pictures[pairs.right[1]].person == "JohnWayne"


def test_agedb_refuses_other_files(tmp_path):
    file = tmp_path / "AgeDB_30_protocol.mat"
    savemat(file, {"splits": np.zeros((2, 2))})
    whole = file.read_bytes()
    for data in (b"", whole[:40], whole[: len(whole) // 2], whole):
        file.write_bytes(data)
        with pytest.raises(InputError, match=r"protocol\.mat: damaged, or not AgeDB's") as error:
            agedb.load(tmp_path)
        assert "\n" not in str(error.value)
    savemat(file, {"other": np.zeros(3)})
    with pytest.raises(InputError, match="KeyError"):
        agedb.load(tmp_path)


def pack(jpegs, labels, protocol=4):
    return pickle.dumps((jpegs, labels), protocol)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("wrap", [bytes, lambda b: np.frombuffer(b, np.uint8).copy()], ids=["bytes", "array"])
@pytest.mark.parametrize("label", [bool, np.bool_])
def test_packs(tmp_path, protocol, wrap, label):
    jpegs = [b"\xff\xd8" + bytes([i]) for i in range(40)]
    file = tmp_path / "cfp_fp.bin"
    file.write_bytes(pack([wrap(j) for j in jpegs], [label(i % 3 == 0) for i in range(20)], protocol))
    pairs = packs.load(file)
    assert [p.source for p in pairs.pictures] == jpegs
    assert pairs.same.tolist() == [i % 3 == 0 for i in range(20)]
    assert pairs.fold.tolist() == sorted(list(range(10)) * 2)
    assert pairs.aligned


def test_pack_of_python_2(tmp_path):
    # (lp0 ... as cPickle protocol 2 of Python 2 writes it: the JPEGs are str (SHORT_BINSTRING).
    jpeg = b"U\x03\xff\xd8\x01"
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x02](" + jpeg * 2 + b"e](\x88e\x86.")
    pairs = packs.load(tmp_path / "lfw.bin")
    assert pairs.pictures[1].source == b"\xff\xd8\x01"
    assert pairs.same.tolist() == [True]


class Attack:
    def __init__(self, callable_, *args):
        self.call = callable_, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("call", [("os", "system"), ("builtins", "eval"), ("numpy", "load")])
def test_packs_run_no_code(tmp_path, call, monkeypatch):
    module = __import__(call[0])
    target = tmp_path / "touched"
    file = tmp_path / "evil.bin"
    file.write_bytes(pack([Attack(getattr(module, call[1]), f"touch {target}")], [True]))
    with pytest.raises(InputError, match="which a pack does not need"):
        packs.load(file)
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"hello",
        pickle.dumps(3),
        pickle.dumps(([1, 2], [True])),
        pack([b""], []),
        b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.",  # a name of two lines
        b"\x80\x04\x8e" + b"\xff" * 8,  # bytes of a length that is no length
        b"\x80\x04\x8e" + (1 << 61).to_bytes(8, "little"),  # and one beyond any memory
    ],
)
def test_damaged_packs(tmp_path, data):
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.bin") as error:
        packs.load(tmp_path / "x.bin")
    assert "\n" not in str(error.value)


def test_heldout(shared):
    pairs = heldout.load(shared / "data" / "faces")
    assert len(pairs.pictures) == 4012
    assert 30_000 < pairs.same.sum() < 33_000
    assert pairs.relatives.sum() > 10_000
    kin = np.flatnonzero(pairs.relatives)[0]
    a, b = pairs.pictures[pairs.left[kin]], pairs.pictures[pairs.right[kin]]
    assert (a.family, a.person != b.person) == (b.family, True)
    groups = pairs.groups
    assert list(groups) == ["fiw", "pins", "thai-mps", "us-house"]
    assert groups["pins"].sum() == 1000 * 999 / 2


def test_heldout_refuses_other_manifests(tmp_path):
    manifest = tmp_path / "manifest.csv"
    for data, message in (
        (b"key,shard,source,identity\n1,a.tar,own,ann\n", "row 2 has no split"),
        (b"key,shard,source,identity,split\n1,a.tar\n", "row 2 has no source, identity, split"),
        (b"key,shard,source,identity,split\n1,a.tar,own,Jos\xe9,heldout\n", "cannot be read as CSV"),
    ):
        manifest.write_bytes(data)
        with pytest.raises(InputError, match=rf"manifest\.csv: {message}"):
            heldout.load(tmp_path)


def ijb_copy(root):
    (root / "meta").mkdir(parents=True)
    # template 1: two frames of medium 5 and a still, medium 6; templates 2 and 9: a still each
    rows = [("1.jpg", 1, 5), ("2.jpg", 1, 5), ("3.jpg", 1, 6), ("4.jpg", 2, 7), ("5.jpg", 9, 8)]
    (root / "meta" / "ijbc_face_tid_mid.txt").write_text("".join(f"{n} {t} {m}\n" for n, t, m in rows))
    points = " ".join(f"{v}.5" for v in range(10))
    (root / "meta" / "ijbc_name_5pts_score.txt").write_text(
        "".join(
            f"{row[0]} {points} {score}\n" for row, score in zip(rows, [1, 0.5, 1, 0.9, 0.8], strict=True)
        )
    )
    (root / "meta" / "ijbc_template_pair_label.txt").write_text("1 2 1\n1 9 0\n2 9 0\n")
    return root


def test_ijb(tmp_path):
    data = ijb.load(ijb_copy(tmp_path), "IJB-C")
    assert data.pictures[0].landmarks == ((0.5, 1.5), (2.5, 3.5), (4.5, 5.5), (6.5, 7.5), (8.5, 9.5))
    assert data.pictures[0].source == tmp_path / "loose_crop" / "1.jpg"
    e = np.eye(5, dtype=np.float32)[[0, 1, 2, 0, 3]]
    norms = np.array([2, 4, 1, 1, 1], np.float32)
    found = np.array([True, True, True, True, False])
    plain, score, both = (
        ijb.pool(data, e, norms, found, weighting=w)[1][0] for w in ("none", "score", "both")
    )
    # Frames of one video are averaged first, so a long video weighs no more than a still.
    assert plain == pytest.approx(np.array([0.5, 0.5, 1, 0, 0]) / np.sqrt(1.5))
    assert score == pytest.approx(np.array([0.5, 0.25, 1, 0, 0]) / np.linalg.norm([0.5, 0.25, 1]))
    assert both == pytest.approx(np.array([1, 1, 1, 0, 0]) / np.sqrt(3))
    numbers, templates = ijb.pool(data, e, norms, found)
    scores = ijb.score(data, numbers, templates)
    assert numbers.tolist() == [1, 2, 9]
    assert scores.score[0] == pytest.approx(score[0])
    assert np.isneginf(scores.score[1:]).all()  # template 9 has no face
    assert scores.same.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("template_pair_label", "1 2", "has 2 fields, 3 are expected"),
        ("face_tid_mid", "1.jpg 1", "has 2 fields, 3 are expected"),
        ("name_5pts_score", "1.jpg 0.5 1.5 0.9", "has 4 fields, 12 are expected"),
        ("template_pair_label", "1 two 0", "no list of numbers"),
        ("template_pair_label", f"1 2 {10**30}", "no list of numbers"),
        ("template_pair_label", "", "the list is empty"),
    ],
)
def test_ijb_refuses_damaged_lists(tmp_path, file, row, message):
    ijb_copy(tmp_path)
    (tmp_path / "meta" / f"ijbc_{file}.txt").write_text(row)
    with pytest.raises(InputError, match=rf"ijbc_{file}\.txt: .*{message}"):
        ijb.load(tmp_path, "IJB-C")


def every_pair(data):
    """All scores of MegaFace at once, which only a few features allow."""
    a, b = np.triu_indices(len(data.probes), 1)
    mates = data.person[a] == data.person[b]
    genuine = np.einsum("ij,ij->i", data.probes[a[mates]], data.probes[b[mates]])
    impostor = (data.probes @ data.distractors.T).ravel()
    nobody = np.zeros(len(genuine) + len(impostor), np.int64)
    same = np.repeat([True, False], [len(genuine), len(impostor)])
    return metrics.Scores(np.concatenate([genuine, impostor]).astype(np.float64), same, nobody, nobody)


def test_megaface(tmp_path):
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 16))
    ids = ["Adam_Brody"] * 3 + ["Alec_Baldwin"] * 2
    probes = {
        f"{name}/{name}_{i}.png": centres[int(name[1] == "l")] + random.normal(size=16) * 0.1
        for i, name in enumerate(ids)
    }
    others = {f"100/{i}@N03/{i}.jpg": random.normal(size=16) for i in range(50)}
    others["100/7@N03/twin.jpg"] = probes["Alec_Baldwin/Alec_Baldwin_3.png"] * 3
    for folder, features in (("facescrub", probes), ("megaface", others)):
        for path, vector in features.items():
            megaface.write_feature(tmp_path / folder / f"{path}_x.bin", vector.astype(np.float32))
    (tmp_path / "probes.json").write_text(json.dumps({"id": ids, "path": list(probes)}))
    (tmp_path / "distractors_51_1").write_text(json.dumps({"path": list(others)}))
    data = megaface.load(
        tmp_path / "probes.json",
        tmp_path / "facescrub",
        tmp_path / "distractors_51_1",
        tmp_path / "megaface",
        suffix="_x.bin",
    )
    # 6 ordered pairs of Brody found, both of Baldwin lost to the twin
    assert megaface.rank_one(data) == pytest.approx(6 / 8)
    found = megaface.verification(data)
    assert (found.genuine_pairs, found.impostor_pairs) == (4, 5 * 51)
    scores = every_pair(data)
    assert scores.score[~scores.same].max() == pytest.approx(1, abs=1e-6)
    assert found == metrics.summarise(scores, replicates=0)


@pytest.mark.parametrize(("noise", "eer_is_kept"), [(3, True), (12, False)])
def test_megaface_in_blocks_gives_the_figures_of_all_pairs(monkeypatch, noise, eer_is_kept):
    random = np.random.default_rng(1)
    centres = random.integers(-8, 9, (10, 16)).repeat(4, axis=0)
    # Eighths: their products are exact in any order, and many scores are equal.
    probes = (centres + random.integers(-noise, noise + 1, centres.shape)).astype(np.float32) / 8
    others = random.integers(-8, 9, (500, 16)).astype(np.float32) / 8
    data = megaface.Features(probes, np.arange(40) // 4, others)
    monkeypatch.setattr(megaface, "_KEPT", 0)
    monkeypatch.setattr(megaface, "_BLOCK", 64)
    found, whole = megaface.verification(data), metrics.summarise(every_pair(data), replicates=0)
    assert found.points == whole.points
    assert found.auc == whole.auc
    assert (found.eer == whole.eer) == eer_is_kept  # above FMR 0.1 it needs more scores than are kept
    assert np.isnan(found.eer) != eer_is_kept


def test_megaface_refuses_ids_of_several_kinds(tmp_path):
    for ids in (["ann", 1], [["ann"], ["ann"]]):
        (tmp_path / "probes.json").write_text(json.dumps({"id": ids, "path": ["a", "b"]}))
        (tmp_path / "others.json").write_text('{"path": ["c"]}')
        with pytest.raises(InputError, match=r"probes\.json: its ids"):
            megaface.load(
                tmp_path / "probes.json", tmp_path, tmp_path / "others.json", tmp_path, suffix=".bin"
            )


def test_megaface_refuses_other_files(tmp_path):
    file = tmp_path / "x.bin"
    file.write_bytes(np.array([128, 1, 4, 5], "<i4").tobytes() + bytes(4))
    with pytest.raises(InputError, match="not a float32 matrix"):
        megaface.read_feature(file)
