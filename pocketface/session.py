"""A model's session: opened on first use in each process, shared by its threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pocketface import engines
from pocketface.engines.protocol import Engine, Session, TensorInfo
from pocketface.errors import EngineError, ModelError
from pocketface.registry import Model
from pocketface.threads import default_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ModelSession:
    """A graph ready to run; see `pocketface.engines.protocol.Session`.

    An engine's session neither pickles nor survives a fork (its threads stay behind). This one does
    both: it remembers the process it was opened in, and reads, checks and loads the file again in
    any other.

    Args:
        model: the graph.
        engine: an engine or its name; the one for the file's format when None.
        threads: threads for one call; tuned or chosen for the device when None.
    """

    def __init__(self, model: Model, engine: str | Engine | None = None, threads: int | None = None) -> None:
        self.model = model
        self.engine = engine
        self.threads = threads or model.threads() or default_threads()
        self._opened: tuple[int, Session] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ModelSession, (self.model, self.engine, self.threads)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The graph's inputs."""
        return self._session().inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The graph's outputs."""
        return self._session().outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph; opens it first when this process has not yet."""
        return self._session().run(feeds)

    def _session(self) -> Session:
        pid = os.getpid()
        opened = self._opened
        if opened is not None and opened[0] == pid:
            return opened[1]
        with _opening:
            if self._opened is None or self._opened[0] != pid:
                self._opened = pid, self._open()
            return self._opened[1]

    def _open(self) -> Session:
        model = self.model
        if self.engine is None:
            engine = engines.for_format(model.path.suffix)
        else:
            engine = engines.get(self.engine) if isinstance(self.engine, str) else self.engine
        if model.path.suffix not in engine.formats:
            raise EngineError(f"{model.path}: {engine.name} runs {', '.join(sorted(engine.formats))} files")
        graph = model.read()
        try:
            return engine.load(graph, threads=self.threads)
        except ModelError as error:
            raise ModelError(f"{model.path}: {error}") from error


_opening = threading.Lock()


def _unlock_after_fork() -> None:
    """A fork while another thread was opening a graph would leave the child's lock held for ever."""
    global _opening
    _opening = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)
