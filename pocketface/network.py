"""A model that takes pictures: one session for each process, fed as its card says.

A session holds threads and memory of its process, so it neither pickles nor survives a fork. It is made
on first use in each process; what is pickled or inherited is the recipe.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface import engines
from pocketface.errors import EngineError, ModelError
from pocketface.threads import checked_threads, default_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.cards import ModelCard
    from pocketface.engines.protocol import Engine, Session
    from pocketface.registry import Model

_lock = threading.Lock()


def _renew_lock() -> None:
    """A lock that another thread held during a fork would stay locked in the child for ever."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Network:
    """Runs a model's graph on pictures. Safe to use from several threads, to pickle, and across forks.

    Args:
        model: card and path of the graph.
        engine: name of an engine, an engine object, or None for the one that runs the file's format.
        threads: threads for one call, 1 to 256; None takes what was tuned, or chooses for the device.

    Raises:
        InputError: there are less than 1 or more than 256 threads.
    """

    def __init__(
        self, model: Model, *, engine: str | Engine | None = None, threads: int | None = None
    ) -> None:
        self.model = model
        self.engine = engine
        self.threads = None if threads is None else checked_threads(threads)
        self._sessions: dict[int, Session] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sessions": {}}

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

    @property
    def session(self) -> Session:
        """This process's session, made on first use.

        Raises:
            ModelError: the file is missing, damaged, or does not fit its card.
            EngineError: no engine runs it.
        """
        session = self._sessions.get(os.getpid())
        if session is None:
            with _lock:
                session = self._sessions.get(os.getpid())
                if session is None:
                    session = self._load()
                    # Sessions inherited by a fork stay referenced: ending one would wait for lost threads.
                    self._sessions[os.getpid()] = session
        return session

    @property
    def batch(self) -> int | None:
        """The most pictures the graph takes in one call, None for any number."""
        return self.card.input.batch or self.session.inputs[0].shape[0]

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Run the graph on pictures of one size, at most `batch` of them.

        Args:
            pixels: uint8 `(n, h, w, 3)`, RGB.

        Returns:
            Each output by name, as the graph gives it.

        Raises:
            EngineError: the engine is missing or failed; the message names the model.
            ModelError: the file is missing, damaged, or does not fit its card.
        """
        session = self.session
        try:
            return session.run({self.card.input.name: self._tensor(pixels)})
        except EngineError as error:
            raise EngineError(f"{self.card.name}: {error}") from error

    def _tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Pixels as the card's input: order of channels, layout, mean and scale."""
        spec = self.card.input
        if spec.channels == "bgr":
            pixels = pixels[..., ::-1]
        nchw = spec.layout == "NCHW"
        if nchw:
            pixels = pixels.transpose(0, 3, 1, 2)
        if spec.dtype == "uint8":
            return np.ascontiguousarray(pixels)
        tensor = pixels.astype(np.float32, order="C")
        shape = (3, 1, 1) if nchw else (3,)
        if any(spec.mean):
            tensor -= np.array(spec.mean, np.float32).reshape(shape)
        if any(factor != 1.0 for factor in spec.scale):
            tensor *= np.array(spec.scale, np.float32).reshape(shape)
        return tensor

    def _load(self) -> Session:
        model = self.model
        if self.engine is None:
            engine = engines.for_format(model.path.suffix)
        else:
            engine = engines.get(self.engine) if isinstance(self.engine, str) else self.engine
        if model.path.suffix not in engine.formats:
            raise EngineError(f"{model.path}: {engine.name} runs {', '.join(sorted(engine.formats))} files")
        graph = model.read()
        threads = self.threads or model.threads() or default_threads()
        try:
            session = engine.load(graph, threads=threads)
        except ModelError as error:
            raise ModelError(f"{model.path}: {error}") from error
        names = [info.name for info in session.inputs]
        if names != [self.card.input.name]:
            raise ModelError(
                f"{model.path}: the card names the input {self.card.input.name!r}, the graph has {names}"
            )
        return session
