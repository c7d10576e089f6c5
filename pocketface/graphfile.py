"""Looks at a model file's bytes before any engine does: is it what its name says, and all of it?"""

from __future__ import annotations

from collections.abc import Iterator

from pocketface.errors import ModelError

_LFS = b"version https://git-lfs.github.com/spec/"

# Field numbers of onnx.proto (ONNX 1.x) on the paths to every tensor.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION = range(7)
_CHILDREN = {
    _MODEL: {7: _GRAPH, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _FUNCTION: {7: _NODE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
}
_EXTERNAL_DATA = 13
_DATA_LOCATION = 14
_MAX_DEPTH = 32


def check(graph: bytes, suffix: str, name: str) -> None:
    """Refuse what is not a complete model file.

    Args:
        graph: the file's bytes.
        suffix: ".onnx" or ".tflite".
        name: what the message calls the file.

    Raises:
        ModelError: empty, a Git LFS pointer, a web page, truncated, another format, or an ONNX
            graph whose weights lie in other files.
    """
    head = graph[:512].lstrip().lower()
    if not graph:
        raise ModelError(f"{name}: the file is empty; get it again")
    if graph.startswith(_LFS):
        raise ModelError(
            f"{name}: a Git LFS pointer, not the model; run 'git lfs pull' or download the file itself"
        )
    if head.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        raise ModelError(
            f"{name}: a web page, not a model; the download was answered by a login or error page"
        )
    if suffix == ".tflite":
        if graph[4:8] != b"TFL3":
            raise ModelError(f"{name}: not a TFLite file (its identifier is missing); get it again")
    elif suffix == ".onnx":
        _check_onnx(graph, name)
    else:
        raise ModelError(f"{name}: models are .onnx or .tflite files")


def _check_onnx(graph: bytes, name: str) -> None:
    try:
        found = _walk(memoryview(graph), _MODEL, 0)
    except _MalformedError as error:
        raise ModelError(f"{name}: a truncated or damaged ONNX file ({error}); get it again") from error
    except _ExternalDataError as error:
        raise ModelError(f"{name}: {error}") from error
    if found is None:
        raise ModelError(f"{name}: not an ONNX file (it holds no graph)")


class _MalformedError(ValueError):
    pass


class _ExternalDataError(Exception):
    pass


def _walk(data: memoryview, kind: int, depth: int) -> bool | None:
    """True when the message holds a graph; raises on malformed bytes and external data."""
    if depth > _MAX_DEPTH:
        raise _MalformedError("nested too deeply")
    children = _CHILDREN.get(kind, {})
    found = None
    for field, value in _fields(data):
        if kind == _TENSOR and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value == 1)):
            raise _ExternalDataError(
                "the weights lie in another file (ONNX external data); save it as one file"
            )
        child = children.get(field)
        if child is not None:
            if not isinstance(value, memoryview):
                raise _MalformedError("a message is expected")
            _walk(value, child, depth + 1)
            found = True
    return found


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers and values of a protobuf message (protobuf.dev, "Encoding")."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            number, at = _varint(data, at)
            yield field, number
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _MalformedError(f"wire type {wire}")
        if field == 0 or at + size > end:
            raise _MalformedError(f"{at + size - end:,} bytes are missing" if field else "field number 0")
        yield field, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _MalformedError("it ends inside a number")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
