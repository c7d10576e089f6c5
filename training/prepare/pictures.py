"""Where pictures come from: a folder, or a bare git directory read without a work tree."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pocketface.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source: `path` inside it, and the object name when it lies in git."""

    source: str
    path: str
    blob: str = ""


def is_git(root: Path) -> bool:
    """Whether `root` is a bare git directory rather than a folder of pictures."""
    return (root / "HEAD").is_file() and (root / "objects").is_dir()


def listing(source: str, root: Path) -> list[Picture]:
    """All pictures under `root`, folder or bare git directory, in the order of their paths.

    Raises InputError where git cannot read it.
    """
    if not is_git(root):
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        return [Picture(source, p.relative_to(root).as_posix()) for p in paths]
    command = ["git", f"--git-dir={root}", "ls-tree", "-r", "-z", "HEAD"]
    try:
        lines = subprocess.run(command, check=True, capture_output=True).stdout.decode("utf-8", "replace")
    except subprocess.CalledProcessError as error:
        raise InputError(f"{root}: git cannot list its HEAD") from error
    found = []
    for line in lines.split("\0"):
        head, _, path = line.partition("\t")
        if path.lower().endswith(SUFFIXES):
            found.append(Picture(source, path, head.split()[2]))
    return found


def contents(root: Path, pictures: Sequence[Picture]) -> Iterator[tuple[Picture, bytes]]:
    """The bytes of each picture, in the order given; an empty answer for one that is not there."""
    if not is_git(root):
        for picture in pictures:
            yield picture, (root / picture.path).read_bytes()
        return
    command = ["git", f"--git-dir={root}", "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as git:
        assert git.stdin is not None
        assert git.stdout is not None
        for picture in pictures:
            git.stdin.write(picture.blob.encode() + b"\n")
            git.stdin.flush()
            head = git.stdout.readline().split()
            if len(head) != 3:
                yield picture, b""
                continue
            data = git.stdout.read(int(head[2]))
            git.stdout.read(1)
            yield picture, data
