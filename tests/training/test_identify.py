"""People named in a set's manifest by the list that came with the set."""

from pathlib import Path

import pytest
from synthetic_faces import write_shards

from training.identify import main
from training.shards import read_faces

MANIFEST = """key,shard,source,identity,split,face_px,original
a,s.tar,celeba-test,,train,90,000001.jpg
b,s.tar,celeba-wild,,train,90,Celeb/000002.jpg
c,s.tar,celeba-wild,,train,90,Celeb/000009.jpg
d,s.tar,celeba-wild,,heldout,90,Celeb/000001.jpg
e,s.tar,pins,pins:Somebody,train,90,000001.jpg
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.csv").write_text(MANIFEST)
    (tmp_path / "list.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n\n")
    return tmp_path


def _identities(folder: Path) -> list[str]:
    lines = (folder / "set" / "manifest.csv").read_text().splitlines()[1:]
    return [line.split(",")[3] for line in lines]


def test_training_faces_of_the_set_get_their_numbers_and_others_stay(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main([str(folder / "list.txt"), str(folder / "set")]) == 0
        assert _identities(folder) == ["celeba:2880", "celeba:2937", "", "", "pins:Somebody"]
        assert "2 of 3 faces of celeba have a person" in capsys.readouterr().out
    assert not list((folder / "set").glob("*.part"))


def test_shards_are_read_with_the_people_named(tmp_path: Path) -> None:
    write_shards(tmp_path, train=6, heldout=0)
    manifest = tmp_path / "manifest.csv"
    header, *rows = manifest.read_text().splitlines()
    rows = [f"{row.rpartition(',')[0]},{index % 3:06d}.jpg" for index, row in enumerate(rows)]
    rows = [row.replace(",test,", ",celeba-test,") for row in rows]
    manifest.write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "list.txt").write_text("".join(f"{index:06d}.jpg {index + 7}\n" for index in range(3)))
    assert main([str(tmp_path / "list.txt"), str(tmp_path)]) == 0
    people = sorted(face.identity for face in read_faces([tmp_path], "train"))
    assert people == sorted(f"celeba:{number}" for number in (7, 8, 9) * 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"000001.jpg 2880\n000002.jpg\n", "list.txt:2: expected a line like '000001.jpg 2880'"),
        (b"\xff\xd8\xff\xe0", "list.txt: no text"),
        (None, "list.txt: no such file"),
    ],
)
def test_a_list_that_is_none_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], text: bytes | None, said: str
) -> None:
    (folder / "list.txt").unlink()
    if text is not None:
        (folder / "list.txt").write_bytes(text)
    assert main([str(folder / "list.txt"), str(folder / "set")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert (folder / "set" / "manifest.csv").read_text() == MANIFEST


def test_a_folder_without_a_manifest_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "list.txt"), str(folder / "nowhere")]) == 2
    assert "nowhere: no manifest.csv" in capsys.readouterr().err
