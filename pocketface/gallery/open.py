"""The storage engine for a URL: a path, `postgresql://...` or `qdrant://...`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pocketface.errors import GalleryError
from pocketface.gallery.encryption import Secret
from pocketface.gallery.gallery import Gallery, new_header
from pocketface.gallery.sqlite import SqliteStore

if TYPE_CHECKING:
    from pocketface.gallery.interface import Store
    from pocketface.gallery.records import Header
    from pocketface.recognizer import FaceRecognizer


def open_gallery(
    url: str | os.PathLike[str],
    recognizer: FaceRecognizer,
    *,
    passphrase: str | None = None,
    key_file: str | os.PathLike[str] | None = None,
    create: bool = True,
    fpir: float | None = None,
    threshold: float | None = None,
) -> Gallery:
    """Open a gallery, or make one.

    Args:
        url: path of a file; `postgresql://user@host/database` (extra `postgres`); or
            `qdrant://host:6333/collection`, `qdrant:///folder` for Qdrant's embedded mode (extra `qdrant`).
        recognizer: whose embeddings the gallery holds.
        passphrase: encrypts the templates of a file (extra `crypto`).
        key_file: the same with a file of at least 32 random bytes.
        create: make it when there is none; False makes that an error.
        fpir: see `Gallery`.
        threshold: see `Gallery`.

    Raises:
        GalleryError: it is missing, damaged, of another model, or encrypted with another key.
    """
    secret = None
    if passphrase is not None or key_file is not None:
        secret = Secret(passphrase=passphrase, key_file=key_file)
    url = os.fspath(url)
    new = None
    if create and not ("://" not in url and Path(url).exists()):
        new = new_header(recognizer, encryption=None if secret is None else secret.begin())
    store = open_store(url, secret, new)
    try:
        return Gallery(store, recognizer, fpir=fpir, threshold=threshold)
    except BaseException:
        store.close()
        raise


def open_store(url: str, secret: Secret | None = None, new: Header | None = None) -> Store:
    """The store alone, without a recogniser.

    Args:
        url: as for `open_gallery`.
        secret: key of an encrypted gallery.
        new: header of the gallery to make when there is none; without it that is an error.
    """
    if "://" not in url:
        return SqliteStore(url, new=new, secret=secret)
    if secret is not None:
        raise GalleryError(
            f"{url}: only gallery files can be encrypted; a server that searches must see the templates"
        )
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:  # not repeated: it may hold a password
        raise GalleryError(
            f"the gallery's URL cannot be read ({error}); in a password write [ as %5B, ] as %5D"
        ) from None
    if scheme in ("postgresql", "postgres"):
        from pocketface.gallery.postgres import PostgresStore

        return PostgresStore(url, new=new)
    if scheme == "qdrant":
        from pocketface.gallery.qdrant import QdrantStore

        return QdrantStore(url, new=new)
    raise GalleryError(f"{url}: a gallery is a file, postgresql://... or qdrant://...")
