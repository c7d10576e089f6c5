"""InsightFace's `.bin` packs (lfw, cfp_fp, agedb_30, calfw, cplfw): a pickle of pictures and labels.

A pickle can run any code when it is read. These need lists, bytes and truth values only, some of
them as numpy objects, so the reader below builds plain stand-ins for those few names itself and
refuses every other; nothing of numpy and nothing of mxnet is called.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.protocols.pairs import PairList, Pairs, Picture
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


class _Array:
    """Stands in for a numpy array of bytes: keeps its data."""

    data: bytes = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.data = _bytes(state[-1])


class _Dtype:
    """Stands in for `numpy.dtype`."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _scalar(_dtype: object, data: bytes = b"\0") -> bool:
    return any(_bytes(data))


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _frombuffer(data: bytes, *_: object) -> _Array:
    array = _Array()
    array.data = _bytes(data)
    return array


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not allowed")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which a pack does not need") from None


def load(file: Path) -> Pairs:
    """Read a pack: 112x112 JPEGs, two a pair, and one label a pair, in ten equal runs.

    A pack does not say who is who: the bootstrap of its figures draws pictures.

    Raises:
        InputError: the file is not such a pack, or asks for more than lists, bytes and truth values.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; expected an InsightFace .bin pack") from None
    # Packs written by Python 2 hold the JPEGs as str: keep them as bytes.
    reader = _Reader(io.BytesIO(data), encoding="bytes")
    try:
        content = reader.load()
        jpegs, labels = content
        pictures = [Picture(f"{i:05d}", _bytes(jpeg), f"{i:05d}") for i, jpeg in enumerate(jpegs)]
        same = [bool(label) for label in labels]
    # A damaged pickle fails in as many ways as there are opcodes.
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        why = " ".join(str(error).split()) or type(error).__name__  # it may quote a name of several lines
        raise InputError(f"{file}: not an InsightFace .bin pack: {why}") from None
    if len(pictures) != 2 * len(same) or not same:
        raise InputError(f"{file}: {len(pictures)} pictures for {len(same)} pairs")
    pairs = PairList()
    for i, label in enumerate(same):
        pairs.add(pictures[2 * i], pictures[2 * i + 1], same=label, fold=i * 10 // len(same))
    return pairs.build(file.stem, aligned=True)


def _bytes(value: Any) -> bytes:
    if isinstance(value, _Array):
        return value.data
    if isinstance(value, int | str):
        raise TypeError(f"expected bytes, not {type(value).__name__}")
    return bytes(value)
