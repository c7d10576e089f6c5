"""Templates out of a gallery, as JSON or npz; no photos, nothing pickled."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketface.errors import GalleryError, InputError

if TYPE_CHECKING:
    from pocketface.gallery.interface import Store


def export(store: Store, path: str | os.PathLike[str]) -> int:
    """Write every template, in the clear even where the gallery is encrypted.

    `.npz` holds `names` (text), `ids` (text), `embeddings` (float32 `(n, dim)`) and `header` (JSON text);
    `.json` holds the same as lists. The file appears only when it is complete.

    Returns:
        The number of templates.

    Raises:
        InputError: the path ends neither in .json nor in .npz.
        GalleryError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".json", ".npz"):
        raise InputError(f"{path}: export to a file that ends in .json or .npz")
    rows = list(store.templates())
    header = store.header
    made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Readable by the owner alone: these are biometric data.
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            if path.suffix == ".npz":
                np.savez(
                    file,
                    names=np.array([name for name, _ in rows], dtype=np.str_),
                    ids=np.array([template.id for _, template in rows], dtype=np.str_),
                    embeddings=np.array([t.vector for _, t in rows], np.float32).reshape(-1, header.dim),
                    header=np.array(header.to_json()),
                )
            else:
                document = {
                    "header": asdict(header),
                    "templates": [
                        {"person": name, "id": t.id, "source": t.source, "embedding": t.vector.tolist()}
                        for name, t in rows
                    ],
                }
                file.write(json.dumps(document, indent=1).encode())
        os.replace(made, path)
    except OSError as error:
        raise GalleryError(f"{path}: cannot write the export: {error.strerror}") from None
    finally:
        made.unlink(missing_ok=True)
    return len(rows)
